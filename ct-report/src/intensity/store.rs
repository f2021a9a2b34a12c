//! The series file on disk: one writer at a time, replaced whole or not at all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::diagnostic::Hint;

/// ETags that are remembered.
const MOST_ETAGS: usize = 32;

/// A file beside the series, whose name says what for.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

/// Keeps every other fetch of a file away while it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a series file.
    ///
    /// # Errors
    ///
    /// Where another fetch has it, or its directory cannot be written.
    pub(super) fn take(series: &Path) -> Result<Self> {
        let path = beside(series, ".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
            .context(Hint(
                "the directory and this file are to be those of the user who fetches; as root: runuser \
                 -u carbontracker -- ct-report intensity fetch",
            ))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let error = anyhow!("another fetch of {} is running", series.display());
                Err(error.context(Hint("wait for it; the timer alone is enough")))
            }
            Err(e) => Err(anyhow!(e).context(format!("cannot lock {}", path.display()))),
        }
    }
}

/// Replaces a file in one step: whoever reads it sees the old one or the new one, whole, also after a
/// crash. Everybody may read it: ct-noded is another user.
///
/// # Errors
///
/// Those of writing; the old file is then as it was.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path, ".new");
    let written = (|| {
        // What a killed fetch left is no longer of use.
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o644).open(&new)?;
        // Whatever the umask says.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        write(&mut file)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    // The new name is in the directory: that must last, too.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

/// The ETag of each address, as of its last answer that is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Etags(BTreeMap<String, String>);

impl Etags {
    /// Those beside a series file; none where there are none, or where the file is gone.
    pub(super) fn load(series: &Path) -> Self {
        if !series.exists() {
            return Self::default();
        }
        let text = fs::read(beside(series, ".etags")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The ETag of an address.
    pub(super) fn get(&self, url: &str) -> Option<&str> {
        self.0.get(url).map(String::as_str)
    }

    /// Writes down the ETags of the last answers, and no others.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(super) fn save(series: &Path, mut etags: BTreeMap<String, String>) -> io::Result<()> {
        while etags.len() > MOST_ETAGS {
            etags.pop_first();
        }
        let text = serde_json::to_vec(&Self(etags))?;
        replace(&beside(series, ".etags"), |out| out.write_all(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_anywhere_leaves_the_old_file_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.csv");
        let (old, new) = ("time,zone,g_per_kwh,source\nold\n", "time,zone,g_per_kwh,source\nnew\n");
        fs::write(&path, old).unwrap();
        for n in 0..=new.len() {
            let error = replace(&path, |out| {
                out.write_all(&new.as_bytes()[..n])?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            });
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!(fs::read_to_string(&path).unwrap(), old, "after {n} bytes");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left behind");
        }
        // A fetch that was killed while it wrote leaves its part; the next one is not held up by it.
        fs::write(dir.path().join(".series.csv.new"), &new[..9]).unwrap();
        replace(&path, |out| out.write_all(new.as_bytes())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), new);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_fetch_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.csv");
        let lock = Lock::take(&path).unwrap();
        let error = format!("{:#}", Lock::take(&path).unwrap_err());
        assert!(error.contains("another fetch of"), "{error}");
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
