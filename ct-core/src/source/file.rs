//! A file that holds one decimal integer, opened once and read many times.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ReadError;

/// An open counter file. It stays readable after root was given up.
#[derive(Debug)]
pub struct CounterFile {
    path: PathBuf,
    file: File,
}

impl CounterFile {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file =
            File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Reads the integer.
    ///
    /// # Errors
    ///
    /// [`ReadError::Read`], [`ReadError::Gone`] or [`ReadError::Parse`].
    pub fn read(&self) -> Result<u64, ReadError> {
        let mut buffer = [0_u8; 64];
        let n = self
            .file
            .read_at(&mut buffer, 0)
            .map_err(|source| ReadError::from_io(&self.path, source))?;
        let text = String::from_utf8_lossy(&buffer[..n]);
        parse_integer(&text)
            .ok_or_else(|| ReadError::Parse { path: self.path.clone(), text: shorten(&text) })
    }
}

/// Reads a file that holds one decimal integer.
///
/// # Errors
///
/// Those of [`CounterFile::open`] and [`CounterFile::read`].
pub(super) fn read_integer(path: &Path) -> Result<u64, ReadError> {
    CounterFile::open(path)?.read()
}

fn parse_integer(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        std::fs::write(&path, "00000000000000000042\n").unwrap();
        let counter = CounterFile::open(&path).unwrap();
        assert_eq!(counter.read().unwrap(), 42);
        std::fs::write(&path, "43\n").unwrap();
        assert_eq!(counter.read().unwrap(), 43);
    }

    #[test]
    fn missing_empty_and_garbled_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        assert!(matches!(CounterFile::open(&path), Err(ReadError::Open { .. })));
        for text in ["", "-1\n", "1.5\n", "x", "99999999999999999999999\n"] {
            std::fs::write(&path, text).unwrap();
            let error = read_integer(&path).unwrap_err();
            assert!(matches!(error, ReadError::Parse { .. }), "{text:?}: {error}");
        }
    }
}
