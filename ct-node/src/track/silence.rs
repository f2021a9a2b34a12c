//! Remembers from one mark to the next that ct-noded is silent, so that a job waits for it once.
//!
//! Hooks note it in the run directory, which no user may write; what a user's own mark has seen is a
//! file of the user's in the temporary directory.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ct_core::protocol::SILENCE_NAME;

use super::client::Tracker;

/// How long it is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Where it is noted that ct-noded is silent.
pub(super) struct Silence {
    hooks: PathBuf,
    own: PathBuf,
    uid: u32,
}

impl Silence {
    pub(super) fn of(tracker: &Tracker) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let name = format!(".ct-track-{uid}-{}.silent", tracker.job_id);
        Self {
            hooks: tracker.socket.with_file_name(SILENCE_NAME),
            own: env::temp_dir().join(name),
            uid,
        }
    }

    /// Whether a hook or an earlier mark has waited in vain.
    pub(super) fn is_known(&self) -> bool {
        is_young(&self.hooks, None) || is_young(&self.own, Some(self.uid))
    }

    /// A mark has waited in vain.
    pub(super) fn remember(&self) {
        if is_young(&self.own, None) {
            return;
        }
        let _ = fs::remove_file(&self.own);
        // Where it cannot be made, the next mark waits as well.
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.own);
    }

    /// It has answered.
    pub(super) fn forget(&self) {
        if fs::symlink_metadata(&self.own).is_ok() {
            let _ = fs::remove_file(&self.own);
        }
    }
}

/// Whether there is such a file, of this owner, that is not too old. Anybody may make one in the
/// temporary directory: somebody else's says nothing.
fn is_young(path: &Path, uid: Option<u32>) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let age = metadata.modified().ok().and_then(|at| at.elapsed().ok());
    uid.is_none_or(|uid| metadata.uid() == uid) && age.is_some_and(|age| age < REMEMBERED_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mark_has_seen_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let path = |name: &str| dir.path().join(name);
        let silence = Silence { hooks: path("hooks"), own: path("own"), uid };
        assert!(!silence.is_known());
        silence.remember();
        assert!(silence.is_known());
        let of_another = Silence { uid: uid + 1, hooks: path("hooks"), own: path("own") };
        assert!(!of_another.is_known());
        silence.forget();
        assert!(!silence.is_known());
        fs::write(path("hooks"), "").unwrap();
        assert!(silence.is_known() && of_another.is_known());
    }
}
