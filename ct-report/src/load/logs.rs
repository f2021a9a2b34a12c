//! Finds logs: files of equal stem belong together.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::diagnostic::Hint;

/// The files of one stem in one directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogSet {
    /// Directory, as given.
    pub(crate) dir: PathBuf,
    /// File name without `_carbontracker….log`.
    pub(crate) stem: String,
    /// `…_carbontracker.log`
    pub(crate) standard: Option<PathBuf>,
    /// `…_carbontracker_output.log`
    pub(crate) output: Option<PathBuf>,
    /// `…_carbontracker.json`
    pub(crate) record: Option<PathBuf>,
}

impl LogSet {
    /// Whether there is a log, and not only a record.
    pub(crate) fn has_log(&self) -> bool {
        self.standard.is_some() || self.output.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Standard,
    Output,
    Record,
}

const SUFFIXES: [(&[u8], Kind); 3] = [
    (b"_carbontracker.log", Kind::Standard),
    (b"_carbontracker_output.log", Kind::Output),
    (b"_carbontracker.json", Kind::Record),
];

/// The stem of a log or record, as bytes, and which of the files it is.
fn split_name(name: &OsStr) -> Option<(&[u8], Kind)> {
    let name = name.as_encoded_bytes();
    SUFFIXES.iter().find_map(|(suffix, kind)| Some((name.strip_suffix(*suffix)?, *kind)))
}

/// Finds the logs in directories, and those that are named, in the order of their paths.
///
/// Only regular files of the exact names count; a named file brings the others of its stem along.
///
/// # Errors
///
/// A path that does not exist, is no log, or is a directory that cannot be read.
pub(crate) fn find(paths: &[PathBuf], is_recursive: bool) -> Result<Vec<LogSet>> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        let meta = fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
        if meta.is_dir() {
            scan(path, is_recursive, None, &mut found)?;
        } else {
            let name = path.file_name().unwrap_or_default();
            let (stem, _) = split_name(name).ok_or_else(|| no_log(path))?;
            let dir = path.parent().unwrap_or(Path::new(""));
            scan(dir, false, Some(stem), &mut found)?;
        }
    }
    // The same directory may be named twice, in two spellings.
    found.retain(|_, set: &mut LogSet| {
        let dir = if set.dir.as_os_str().is_empty() { Path::new(".") } else { &set.dir };
        seen.insert((fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()), set.stem.clone()))
    });
    Ok(found.into_values().collect())
}

fn no_log(path: &Path) -> anyhow::Error {
    anyhow!("{} is no log of carbontracker", path.display()).context(Hint(
        "name a directory, or a file that ends in _carbontracker.log, _carbontracker_output.log or _carbontracker.json",
    ))
}

fn scan(
    dir: &Path,
    is_recursive: bool,
    only: Option<&[u8]>,
    found: &mut BTreeMap<PathBuf, LogSet>,
) -> Result<()> {
    let readable = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let cannot_read = || format!("cannot read directory {}", readable.display());
    for entry in fs::read_dir(readable).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        let path = dir.join(entry.file_name());
        // A link to a directory is not followed: it may lead in a circle.
        if is_recursive && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            scan(&path, true, None, found)?;
            continue;
        }
        let name = entry.file_name();
        let Some((stem, kind)) = split_name(&name) else { continue };
        if only.is_some_and(|only| only != stem) || !path.is_file() {
            continue;
        }
        let stem = String::from_utf8_lossy(stem).into_owned();
        let set = found.entry(dir.join(&stem)).or_insert_with(|| LogSet {
            dir: dir.to_owned(),
            stem,
            ..LogSet::default()
        });
        match kind {
            Kind::Standard => set.standard = Some(path),
            Kind::Output => set.output = Some(path),
            Kind::Record => set.record = Some(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn stems(paths: &[PathBuf], is_recursive: bool) -> Vec<String> {
        find(paths, is_recursive).unwrap().into_iter().map(|set| set.stem).collect()
    }

    #[test]
    fn only_exact_names_count_and_pairs_are_of_one_stem() {
        let dir = tree(&[
            "b_carbontracker.log",
            "b_carbontracker_output.log",
            "b_carbontracker_err.log",
            "a_carbontracker_output.log",
            "b_carbontracker.log.1",
            "b_carbontracker.log~",
            "c_carbontracker.json",
            "notes.log",
            "d_carbontracker.log/keep",
        ]);
        let sets = find(&[dir.path().to_owned()], false).unwrap();
        let short = |s: &LogSet| {
            let has = [&s.standard, &s.output, &s.record].map(Option::is_some);
            (s.stem.clone(), has)
        };
        let expected = [
            ("a".to_owned(), [false, true, false]),
            ("b".to_owned(), [true, true, false]),
            ("c".to_owned(), [false, false, true]),
        ];
        assert_eq!(sets.iter().map(short).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn directories_below_are_read_when_asked_and_nothing_is_read_twice() {
        let dir = tree(&["a_carbontracker.log", "sub/deep/b_carbontracker.log"]);
        let path = dir.path().to_owned();
        assert_eq!(stems(std::slice::from_ref(&path), false), ["a"]);
        assert_eq!(stems(&[path.clone(), path.join("sub/..")], true), ["a", "b"]);
    }

    #[test]
    fn a_named_file_brings_its_stem_along() {
        let dir =
            tree(&["a_carbontracker.log", "a_carbontracker_output.log", "b_carbontracker.log"]);
        let sets = find(&[dir.path().join("a_carbontracker.log")], false).unwrap();
        assert_eq!(sets.len(), 1);
        assert!(sets[0].output.is_some());
        assert!(find(&[dir.path().join("a.txt")], false).is_err());
    }
}
