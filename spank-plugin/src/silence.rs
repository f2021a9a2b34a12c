//! Remembers that ct-noded is silent, so that a job waits for it once and not at each hook.
//!
//! A file beside the socket tells the hooks of other processes. A hook that finds it says what it has
//! to say and waits for no answer: what was said is read when ct-noded runs again, and the first
//! thing a ct-noded that runs does is to remove the file. A second file does the same for one that
//! was started and did not come up.
//!
//! Both say since when, by the clock that nobody sets: the one on the wall may be set meanwhile.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ct_core::protocol::{SILENCE_NAME, START_NAME};

use crate::os;
use crate::site::Service;

/// How long the file counts: a ct-noded of another version may not know that it should remove it.
const SILENT_FOR: Duration = Duration::from_secs(600);
/// Time between two starts of a ct-noded that does not come up.
const START_PAUSE: Duration = Duration::from_secs(10);
/// How long this process remembers what it may not write down.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// Most bytes that a note has.
const MOST_BYTES: u64 = 24;

/// What hooks of root's and those of the user's in this process have waited for in vain: the user's
/// patience is short, and says little.
static SINCE: [OnceLock<Instant>; 2] = [OnceLock::new(), OnceLock::new()];

fn own() -> &'static OnceLock<Instant> {
    &SINCE[usize::from(os::effective_uid() != 0)]
}

/// Whether ct-noded was silent a moment ago, and nothing says that it runs again.
pub(crate) fn is_known(service: &Service) -> bool {
    own().get().is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
        || is_younger(&path(service, SILENCE_NAME), SILENT_FOR)
}

/// Whether a start in vain was a moment ago.
pub(crate) fn is_starting(service: &Service) -> bool {
    is_younger(&path(service, START_NAME), START_PAUSE)
}

/// Ct-noded did not answer.
pub(crate) fn remember(service: &Service) {
    own().get_or_init(Instant::now);
    note(&path(service, SILENCE_NAME));
}

/// Ct-noded was started and does not listen yet.
pub(crate) fn remember_start(service: &Service) {
    note(&path(service, START_NAME));
}

fn path(service: &Service, name: &str) -> PathBuf {
    service.socket.with_file_name(name)
}

fn is_younger(path: &Path, limit: Duration) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let age = match noted_at_ms(path) {
        Some(noted) => age_by_boot(noted),
        // Of an earlier version, or on a full file system: there is only the clock on the wall.
        None => metadata.modified().ok().and_then(|at| at.elapsed().ok()),
    };
    // One of an earlier boot may be of the future: that counts as old.
    age.is_some_and(|age| age < limit)
}

fn age_by_boot(noted_ms: u64) -> Option<Duration> {
    os::since_boot_ms()?.checked_sub(noted_ms).map(Duration::from_millis)
}

/// What a note says; nothing where it is no note.
fn noted_at_ms(path: &Path) -> Option<u64> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    text.trim_end().parse().ok()
}

/// Makes the file anew, so that it says now and is no link of somebody else's.
fn note(path: &Path) {
    if os::effective_uid() != 0 {
        return;
    }
    let now = os::since_boot_ms().map(|ms| ms.to_string()).unwrap_or_default();
    let _ = fs::remove_file(path);
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC)
        .open(path);
    let _ = made.and_then(|mut file| file.write_all(now.as_bytes()));
}
