//! Appends records to the ledger: one write of one line, then fdatasync.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// The file of a month and node below the ledger's directory: `2026-11/n1.jsonl`.
pub fn file_path(dir: &Path, node: &str, end: DateTime<Utc>) -> PathBuf {
    dir.join(end.format("%Y-%m").to_string()).join(format!("{node}.jsonl"))
}

/// Appends `line`, newline included, to the file of its month and node.
///
/// A file whose last line was torn (a crash, a full disk) is given a newline first, so that the
/// torn line stays one line and this one is whole.
///
/// # Errors
///
/// What the file system says; the line may then be missing or torn, and is to be appended again.
pub fn append(dir: &Path, node: &str, end: DateTime<Utc>, line: &str) -> io::Result<()> {
    let path = file_path(dir, node, end);
    if let Some(month) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(month)?;
    }
    let mut file =
        OpenOptions::new().create(true).append(true).read(true).mode(0o640).open(&path)?;
    let len = file.metadata()?.size();
    let mut text = String::with_capacity(line.len() + 1);
    if len > 0 {
        let mut last = [0_u8];
        file.read_exact_at(&mut last, len - 1)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    if file.write(text.as_bytes())? != text.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the line was written in part"));
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_by_month_and_a_torn_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let end = "2026-11-30T23:59:59.999Z".parse().unwrap();
        append(dir.path(), "n1", end, "{\"a\":1}\n").unwrap();
        let path = dir.path().join("2026-11/n1.jsonl");
        fs::write(&path, "{\"a\":1}\n{\"torn").unwrap();
        append(dir.path(), "n1", end, "{\"b\":2}\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "{\"a\":1}\n{\"torn\n{\"b\":2}\n");
    }
}
