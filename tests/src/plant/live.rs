//! Files that are kept current.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file that is overwritten in place, always with as many bytes.
///
/// The file is never truncated but on purpose, so a reader that keeps it open finds a whole text
/// whenever it reads, the former one or the new one.
#[derive(Debug)]
pub(super) struct LiveFile {
    file: File,
    path: PathBuf,
    mode: u32,
}

impl LiveFile {
    pub(super) fn create(path: &Path, text: &str) -> Result<Self> {
        write(path, text)?;
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        Ok(Self { file: open(path)?, path: path.to_owned(), mode })
    }

    /// A file that holds one number.
    pub(super) fn number(path: &Path) -> Result<Self> {
        Self::create(path, &fixed_width(0))
    }

    /// Lets those read it whom `mode` names.
    pub(super) fn with_mode(mut self, mode: u32) -> Result<Self> {
        self.mode = mode;
        self.chmod(mode)?;
        Ok(self)
    }

    pub(super) fn set_number(&self, number: u64) -> Result<()> {
        anyhow::ensure!(number < MOST, "{}: {number} is too large", self.path.display());
        self.set(&fixed_width(number))
    }

    pub(super) fn set(&self, text: &str) -> Result<()> {
        self.file
            .write_all_at(text.as_bytes(), 0)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Leaves nothing in it.
    pub(super) fn empty(&self) -> Result<()> {
        self.file.set_len(0).with_context(|| format!("cannot empty {}", self.path.display()))
    }

    /// Takes it away. Who has it open reads nothing from now on.
    pub(super) fn vanish(&self) -> Result<()> {
        self.empty()?;
        fs::remove_file(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))
    }

    /// Lets nobody read it, but root.
    pub(super) fn deny(&self) -> Result<()> {
        self.chmod(0)
    }

    /// Brings it back as it was, with whatever is set next. Who had it open before it vanished has
    /// to open it again.
    pub(super) fn restore(&mut self) -> Result<()> {
        if !self.path.exists() {
            write(&self.path, "")?;
            self.file = open(&self.path)?;
        }
        self.chmod(self.mode)
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
            .with_context(|| format!("cannot change {}", self.path.display()))
    }
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// Numbers are below this: a gigajoule in microjoules.
const MOST: u64 = 1_000_000_000_000_000;

/// Sixteen bytes with the line feed: the processor copies so many at once, and what is longer was
/// seen half written.
pub(super) fn fixed_width(number: u64) -> String {
    format!("{number:015}\n")
}

/// Writes a file that stays, with the directories above it.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes files that stay: names and texts, each with a line feed behind it.
pub(super) fn write_all<'a>(
    dir: &Path,
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<()> {
    texts.into_iter().try_for_each(|(name, text)| write(&dir.join(name), &format!("{text}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_vanished_comes_back_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        let mut file = LiveFile::number(&path).unwrap().with_mode(0o400).unwrap();
        let reader = File::open(&path).unwrap();
        file.vanish().unwrap();
        assert!(!path.exists());
        assert_eq!(reader.read_at(&mut [0; 64], 0).unwrap(), 0);
        file.restore().unwrap();
        file.set_number(42).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "000000000000042\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        file.deny().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0);
    }
}
