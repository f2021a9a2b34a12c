//! Upstream's choice of files: which output log it reads with which standard log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;

use super::python::regex;
use super::raise;
use crate::cli::LogPaths;
use crate::diagnostic::Outcome;
use crate::load::paths;

static OUTPUT: LazyLock<Regex> = LazyLock::new(|| regex(r"\A.*carbontracker_output.log"));
static STANDARD: LazyLock<Regex> = LazyLock::new(|| regex(r"\A.*carbontracker.log"));

/// A file as upstream sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogFile {
    /// Path as text, by which upstream sorts and pairs.
    pub(super) name: String,
    /// The same to open.
    pub(super) path: PathBuf,
}

/// Two files that upstream reads as one run; they need not belong together.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) output: LogFile,
    pub(super) standard: LogFile,
}

/// What one call of upstream's parser is given: the files of a directory.
#[derive(Debug, Default)]
pub(crate) struct LogDir(Vec<LogFile>);

/// The directories to read, and for files that are named one directory of them alone.
///
/// # Errors
///
/// A path that cannot be read.
pub(crate) fn dirs(args: &LogPaths, outcome: &mut Outcome) -> Result<Vec<LogDir>> {
    let (mut dirs, mut named_files) = (Vec::new(), LogDir::default());
    for named in paths::expand(&args.paths, outcome)? {
        let path = named.path;
        let meta =
            fs::metadata(&path).with_context(|| format!("cannot open {}", path.display()))?;
        if meta.is_dir() {
            let cannot_read = || format!("cannot read directory {}", path.display());
            list(&path, args.recursive, &mut dirs).with_context(cannot_read)?;
        } else {
            named_files.push(path);
        }
    }
    if !named_files.0.is_empty() {
        dirs.push(named_files);
    }
    Ok(dirs)
}

fn list(top: &Path, is_recursive: bool, dirs: &mut Vec<LogDir>) -> std::io::Result<()> {
    let mut open = vec![top.to_owned()];
    while let Some(dir) = open.pop() {
        let mut files = LogDir::default();
        let readable = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
        for entry in fs::read_dir(readable)? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if is_recursive && entry.file_type()?.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
        dirs.push(files);
    }
    Ok(())
}

impl LogDir {
    /// Takes a file, if upstream would: it is regular and not empty.
    fn push(&mut self, path: PathBuf) {
        if fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() > 0) {
            self.0.push(LogFile { name: path.to_string_lossy().into_owned(), path });
        }
    }
}

/// Upstream's `get_all_logs`: orphans are left out where one kind has more files, and where both
/// have as many, strangers are paired.
pub(super) fn get_all_logs(dir: &LogDir) -> Result<Vec<Pair>> {
    let matching = |regex: &Regex| {
        let mut files: Vec<_> = dir.0.iter().filter(|f| regex.is_match(&f.name)).cloned().collect();
        files.sort();
        files
    };
    let (mut outputs, mut standards) = (matching(&OUTPUT), matching(&STANDARD));
    if standards.len() > outputs.len() {
        remove_orphans(&mut standards, &outputs, "_carbontracker.log")?;
    } else if standards.len() < outputs.len() {
        remove_orphans(&mut outputs, &standards, "_carbontracker_output.log")?;
    }
    if outputs.len() != standards.len() {
        return Err(raise(&format!(
            "MismatchedLogFilesError: Found {} output logs and {} standard logs. \
             Expected equal number of logs.",
            outputs.len(),
            standards.len()
        )));
    }
    let pair = |(output, standard)| Pair { output, standard };
    Ok(outputs.into_iter().zip(standards).map(pair).collect())
}

fn remove_orphans(more: &mut Vec<LogFile>, fewer: &[LogFile], suffix: &str) -> Result<()> {
    let known: BTreeSet<_> = fewer.iter().map(|file| stem(&file.name)).collect();
    let all: BTreeSet<_> = more.iter().map(|file| stem(&file.name).to_owned()).collect();
    let orphans = all.iter().filter(|stem| !known.contains(stem.as_str()));
    let mut names: BTreeSet<_> = orphans.map(|stem| format!("{stem}{suffix}")).collect();
    more.retain(|file| !names.remove(&file.name));
    if names.is_empty() { Ok(()) } else { Err(raise("ValueError: list.remove(x): x not in list")) }
}

/// The path up to its first `_carbontracker`, be that in a directory's name.
fn stem(name: &str) -> &str {
    name.split_once("_carbontracker").map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(names: &[&str]) -> Option<Vec<(String, String)>> {
        let file = |name: &&str| LogFile { name: (*name).to_owned(), path: PathBuf::from(name) };
        let pairs = get_all_logs(&LogDir(names.iter().map(file).collect())).ok()?;
        Some(pairs.into_iter().map(|pair| (pair.output.name, pair.standard.name)).collect())
    }

    #[test]
    fn orphans_of_one_kind_are_left_out_and_of_both_are_paired() {
        let both = ("d/a_carbontracker_output.log".to_owned(), "d/a_carbontracker.log".to_owned());
        let (output, standard) = (both.0.as_str(), both.1.as_str());
        let more = [output, standard, "d/b_carbontracker.log"];
        assert_eq!(pairs(&more), Some(vec![both.clone()]));
        let strangers = pairs(&["d/0_carbontracker_output.log", standard]).unwrap();
        assert_eq!(strangers[0].1, standard);
    }

    #[test]
    fn names_that_only_begin_like_a_log_make_it_fail() {
        assert_eq!(pairs(&["d/a_carbontracker.log.gz"]), None);
        assert_eq!(pairs(&["my_carbontracker_runs/a_carbontracker.log"]), None);
    }
}
