//! Remembers that ct-noded is silent, so that a job waits for it once and not at each hook.
//!
//! A file beside the socket tells the hooks of other processes. A hook that finds it says what it has
//! to say and waits for no answer: what was said is read when ct-noded runs again, and the first
//! thing a ct-noded that runs does is to remove the file. A second file does the same for one that
//! was started and did not come up.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ct_core::protocol::{SILENCE_NAME, START_NAME};

use crate::os;
use crate::site::Service;

/// How long the file counts: a ct-noded of another version may not know that it should remove it.
const SILENT_FOR: Duration = Duration::from_secs(600);
/// Time between two starts of a ct-noded that does not come up.
const START_PAUSE: Duration = Duration::from_secs(10);
/// How long this process remembers what it may not write down, being the job's user.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

static SINCE: OnceLock<Instant> = OnceLock::new();

/// Whether ct-noded was silent a moment ago, and nothing says that it runs again.
pub(crate) fn is_known(service: &Service) -> bool {
    SINCE.get().is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
        || is_younger(&path(service, SILENCE_NAME), SILENT_FOR)
}

/// Whether a start in vain was a moment ago.
pub(crate) fn is_starting(service: &Service) -> bool {
    is_younger(&path(service, START_NAME), START_PAUSE)
}

/// Ct-noded did not answer.
pub(crate) fn remember(service: &Service) {
    SINCE.get_or_init(Instant::now);
    note(&path(service, SILENCE_NAME));
}

/// Ct-noded was started and does not listen yet.
pub(crate) fn remember_start(service: &Service) {
    note(&path(service, START_NAME));
}

fn path(service: &Service, name: &str) -> PathBuf {
    service.socket.with_file_name(name)
}

fn is_younger(path: &PathBuf, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|m| m.modified());
    // A clock that was set back makes it of the future: that counts as old.
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed < age))
}

/// Makes the file anew, so that its time is now and it is no link of somebody else's.
fn note(path: &PathBuf) {
    if os::effective_uid() != 0 {
        return;
    }
    let _ = fs::remove_file(path);
    let _ = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC)
        .open(path);
}
