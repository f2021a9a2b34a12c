//! System calls that std does not offer, each behind a safe function.
//!
//! std's Unix sockets cannot pass file handles, wait with a limit while connecting, or tell who is
//! at the other end; std's processes cannot leave a session and a set of inherited descriptors
//! behind without a thread or an allocation between fork and exec. So these few calls are made
//! through libc here and nowhere else.

mod file;
mod process;
mod socket;

pub(crate) use file::{effective_uid, make_file, make_new_file};
pub(crate) use process::{Daemon, Started, start_daemon};
pub(crate) use socket::{connect, pair, peer_uid, receive, receive_handles, send};

use std::io;
use std::time::{Duration, Instant};

/// The moment at which a hook stops waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    waits: bool,
}

impl Deadline {
    /// So many milliseconds from now.
    pub(crate) fn in_ms(ms: u64) -> Self {
        Self { at: Instant::now() + Duration::from_millis(ms), waits: true }
    }

    /// For who does what can be done at once, and waits for nothing.
    pub(crate) fn at_once() -> Self {
        Self { at: Instant::now(), waits: false }
    }

    /// The earlier of the two.
    pub(crate) fn or_in_ms(self, ms: u64) -> Self {
        Self { at: self.at.min(Self::in_ms(ms).at), ..self }
    }

    /// Whether there is any waiting.
    pub(crate) fn waits(self) -> bool {
        self.waits
    }

    /// Whether it has passed.
    pub(crate) fn is_over(self) -> bool {
        self.remaining_ms() == 0
    }

    fn remaining_ms(self) -> i32 {
        let left = self.at.saturating_duration_since(Instant::now());
        i32::try_from(left.as_millis()).unwrap_or(i32::MAX)
    }
}

/// Milliseconds since boot, suspend included, by a clock that nobody sets and all processes share.
pub(crate) fn since_boot_ms() -> Option<u64> {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is one timespec, which the call fills in.
    check_int(unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut at) }).ok()?;
    let (seconds, nanos) = (u64::try_from(at.tv_sec).ok()?, u64::try_from(at.tv_nsec).ok()?);
    Some(seconds * 1000 + nanos / 1_000_000)
}

/// The result of a call that gives -1 for an error.
fn check(rc: isize) -> io::Result<usize> {
    usize::try_from(rc).map_err(|_| io::Error::last_os_error())
}

/// The result of a call that gives -1 for an error and a small number else.
fn check_int(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}
