//! Says once on a node, not once for each hook of each job, that ct-noded is not there or silent.
//!
//! A file beside its socket remembers that it was said; ct-noded removes it when it starts.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use ct_core::protocol::ABSENCE_NAME;

use crate::client::ClientError;
use crate::logging::{Kind, Log};
use crate::os;
use crate::silence;
use crate::site::Service;

/// After this time it is said again.
const SAID_FOR: Duration = Duration::from_secs(3600);

/// Logs why a request was not answered.
pub(crate) fn report(log: &Log, service: &Service, error: &ClientError) {
    match error {
        ClientError::Absent { .. } => say(log, service, &error.to_string()),
        // The hook that waited has said it.
        ClientError::NotAwaited { .. } => {}
        ClientError::Silent { .. } => {
            silence::remember(service);
            log.error(Kind::Request, &error.to_string());
        }
        _ => log.error(Kind::Request, &error.to_string()),
    }
}

/// Logs that ct-noded is not there, and why, unless that was said already.
pub(crate) fn say(log: &Log, service: &Service, text: &str) {
    // A hook that runs as the job's user comes after one of root's, which has said it.
    let is_new =
        os::effective_uid() == 0 && !was_said(&service.socket.with_file_name(ABSENCE_NAME));
    if is_new {
        log.error(Kind::Absent, text);
    }
}

fn was_said(marker: &Path) -> bool {
    let age = fs::symlink_metadata(marker).and_then(|m| m.modified()).map(|t| t.elapsed());
    if let Ok(Ok(age)) = age {
        if age < SAID_FOR {
            return true;
        }
        // Where it cannot be removed, it cannot be made anew either, and is said to have been said.
        let _ = fs::remove_file(marker);
    }
    if let Some(dir) = marker.parent() {
        // Before the first ct-noded there is no run directory.
        let _ = fs::create_dir_all(dir);
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC)
        .open(marker);
    made.is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists)
}
