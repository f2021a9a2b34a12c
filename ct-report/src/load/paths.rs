//! The paths a command was given: as they are, patterns, and `-` for a list on stdin.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::diagnostic::{Outcome, note};

/// A path to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The path.
    pub(crate) path: PathBuf,
    /// Whether it came from a pattern, which may match files that are no logs.
    pub(crate) is_match: bool,
}

/// Expands arguments into paths.
///
/// # Errors
///
/// A pattern that is none, or a list that cannot be read.
pub(crate) fn expand(args: &[PathBuf], outcome: &mut Outcome) -> Result<Vec<Named>> {
    let mut all = Vec::new();
    for arg in args {
        if arg == Path::new("-") {
            let mut list = Vec::new();
            io::stdin().read_to_end(&mut list).context("cannot read the list on stdin")?;
            all.extend(paths_of(&list).map(|path| Named { path, is_match: false }));
        } else if is_pattern(arg) {
            expand_pattern(arg, &mut all, outcome)?;
        } else {
            all.push(Named { path: arg.clone(), is_match: false });
        }
    }
    Ok(all)
}

/// The paths of a list, one a line; between NULs where there are any, as `find -print0` writes.
fn paths_of(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    let separator = if list.contains(&0) { 0 } else { b'\n' };
    let paths = list.split(move |b| *b == separator);
    let paths = paths.map(move |p| if separator == 0 { p } else { p.trim_ascii_end() });
    paths.filter(|path| !path.is_empty()).map(|path| PathBuf::from(OsStr::from_bytes(path)))
}

/// Whether a path that does not exist as such is a pattern.
fn is_pattern(path: &Path) -> bool {
    let has_wildcard = path.as_os_str().as_bytes().iter().any(|b| b"*?[".contains(b));
    has_wildcard && path.symlink_metadata().is_err()
}

fn expand_pattern(arg: &Path, all: &mut Vec<Named>, outcome: &mut Outcome) -> Result<()> {
    let text = arg.to_str().context("a pattern is not UTF-8")?;
    let before = all.len();
    for found in glob::glob(text).with_context(|| format!("{text:?} is no pattern"))? {
        match found {
            Ok(path) => all.push(Named { path, is_match: true }),
            Err(error) => outcome.skip_file(error.path(), error.error()),
        }
    }
    if all.len() == before {
        note(&format!("no file matches {text}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lists_are_by_line_or_by_nul() {
        let paths = |list: &[u8]| paths_of(list).collect::<Vec<_>>();
        assert_eq!(paths(b"a b\r\n\n./c\n"), [PathBuf::from("a b"), "./c".into()]);
        assert_eq!(paths(b"a\nb\0c\0"), [PathBuf::from("a\nb"), "c".into()]);
        assert!(paths(b"").is_empty());
    }

    #[test]
    fn patterns_are_expanded_in_order_and_names_with_brackets_are_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "[a].log", "x.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut outcome = Outcome::default();
        let names = |arg: &str, outcome: &mut Outcome| -> Vec<(String, bool)> {
            let all = expand(&[dir.path().join(arg)], outcome).unwrap();
            let name = |n: &Named| n.path.file_name().unwrap().to_str().unwrap().to_owned();
            all.iter().map(|n| (name(n), n.is_match)).collect()
        };
        let matches = [("a.log".to_owned(), true), ("b.log".to_owned(), true)];
        assert_eq!(names("[ab]*.log", &mut outcome), matches);
        assert_eq!(names("[a].log", &mut outcome), [("[a].log".to_owned(), false)]);
        assert!(names("*.nothing", &mut outcome).is_empty());
        assert!(expand(&[dir.path().join("[")], &mut outcome).is_err());
    }
}
