//! Why a reading failed, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a counter could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open energy counter {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read energy counter {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("energy counter {} holds {text:?}, expected a decimal integer", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What it holds, cut at 60 characters.
        text: String,
    },
    /// The file is gone.
    #[error("energy counter {} vanished", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// The file is gone, and the one in its place cannot be opened.
    #[error(
        "energy counter {} vanished and cannot be opened again: {source}; restart ct-noded",
        path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A counter does not say what a meter needs.
    #[error("{} is {text:?}, expected {expected}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// What would be understood.
        expected: &'static str,
    },
    /// The meter began anew: what it counted before has nothing to do with what it counts now.
    #[error("{meter} started anew")]
    Restarted {
        /// The meter.
        meter: String,
    },
    /// A library or driver says no.
    #[error("{device}: {message}")]
    Driver {
        /// The device asked.
        device: String,
        /// The driver's words.
        message: String,
    },
    /// No answer in time.
    #[error("{meter} did not answer within {} s", waited.as_secs())]
    Silent {
        /// The meter.
        meter: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl ReadError {
    /// Turns an error of reading `path` into ours: a vanished file is not a failed read.
    pub(super) fn from_io(path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        // ENODEV: sysfs and cgroup files answer so once their object is gone.
        match source.raw_os_error() {
            Some(code) if code == rustix::io::Errno::NODEV.raw_os_error() => Self::Gone { path },
            _ if source.kind() == io::ErrorKind::NotFound => Self::Gone { path },
            _ => Self::Read { path, source },
        }
    }
}
