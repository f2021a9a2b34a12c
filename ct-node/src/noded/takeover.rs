//! Taking the place of a ct-noded that the plugin started.
//!
//! While the unit's ct-noded is not there yet, at boot or in a restart, a hook finds nobody and starts
//! another, which neither the unit watches nor its lines confine. It gives way once the unit's comes.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ct_core::protocol::Request;
use serde_json::Value;

use crate::exchange::exchange;

/// How long the other may take to come up, write its state and end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock, from one that gives way; `None` where one holds it that does not.
///
/// # Errors
///
/// Those of `lock`.
pub(super) fn lock_in_turn(
    socket: &Path,
    mut lock: impl FnMut() -> anyhow::Result<Option<File>>,
) -> anyhow::Result<Option<File>> {
    let end = Instant::now() + PATIENCE;
    let mut has_yielded = false;
    loop {
        let taken = lock()?;
        if taken.is_some() {
            if has_yielded {
                log::info!("took the place of the ct-noded that the plugin had started");
            }
            return Ok(taken);
        }
        // Where none comes it does not listen yet, or no more.
        if let Ok(reply) = exchange(socket, &Request::Yield {}, ANSWER) {
            if is_refusal(&reply) {
                return Ok(None);
            }
            has_yielded = true;
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Whether a reply is an error. Nothing else of it is asked, so the daemon has no parser of replies: its
/// code is memory of the node's.
fn is_refusal(reply: &[u8]) -> bool {
    serde_json::from_slice::<Value>(reply).is_ok_and(|reply| reply["reply"] == "error")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use ct_core::protocol::{Reply, parse_request, to_line};

    use super::super::run_dir::lock;
    use super::*;

    /// Holds the lock, and says `reply` once it is asked to end; then lets go of the lock.
    fn takes_the_lock_of_one_that_says(reply: &Reply) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("noded.sock");
        let other = lock(dir.path()).unwrap().unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = Vec::new();
                BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
                assert_eq!(parse_request(&line).unwrap(), Request::Yield {});
                stream.write_all(to_line(reply).unwrap().as_bytes()).unwrap();
                drop((listener, other));
            });
            lock_in_turn(&socket, || lock(dir.path())).unwrap().is_some()
        })
    }

    #[test]
    fn the_lock_is_taken_from_one_that_gives_way_alone() {
        assert!(takes_the_lock_of_one_that_says(&Reply::Ok {}));
        let refusal = Reply::Error { message: "no".to_owned() };
        assert!(!takes_the_lock_of_one_that_says(&refusal));
    }
}
