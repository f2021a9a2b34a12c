//! Finds logs: files of equal stem belong together.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rayon::slice::ParallelSliceMut;

use crate::diagnostic::{Hint, Outcome};
use crate::load::paths::{self, Named};

/// What a file of a stem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// `…_carbontracker.log`, or the same with `.gz`.
    Standard,
    /// `…_carbontracker_output.log`, or the same with `.gz`.
    Output,
    /// `…_carbontracker.json`, or the same with `.gz`.
    Record,
}

/// The files of one stem in one directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSet<'a> {
    /// Directory, as given.
    pub(crate) dir: &'a Path,
    /// File name without `_carbontracker….log`.
    stem: &'a [u8],
    files: [Form; 3],
}

impl<'a> LogSet<'a> {
    /// File name without `_carbontracker….log`.
    pub(crate) fn stem(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.stem)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, file: LogFile) -> bool {
        self.files[file as usize] != Form::Missing
    }

    /// Writes the name of a file into `name`; says whether there is such a file.
    pub(crate) fn name(&self, file: LogFile, name: &mut Vec<u8>) -> bool {
        name.clear();
        name.extend_from_slice(self.stem);
        name.extend_from_slice(SUFFIXES[file as usize]);
        if self.files[file as usize] == Form::Gzip {
            name.extend_from_slice(GZIP);
        }
        self.has(file)
    }

    /// Path of a file, if there is one.
    pub(crate) fn path(&self, file: LogFile) -> Option<PathBuf> {
        let mut name = Vec::new();
        self.name(file, &mut name).then(|| self.dir.join(OsStr::from_bytes(&name)))
    }

    /// Whether a file is compressed.
    pub(crate) fn is_gzip(&self, file: LogFile) -> bool {
        self.files[file as usize] == Form::Gzip
    }
}

/// How a file is there; of two, the greater is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    #[default]
    Missing,
    Gzip,
    Plain,
}

const SUFFIXES: [&[u8]; 3] =
    [b"_carbontracker.log", b"_carbontracker_output.log", b"_carbontracker.json"];
const GZIP: &[u8] = b".gz";

/// Stem, index of the suffix and form of a log's or record's name.
fn split_name(name: &OsStr) -> Option<(&[u8], usize, Form)> {
    let name = name.as_bytes();
    let (plain, form) = match name.strip_suffix(GZIP) {
        Some(plain) => (plain, Form::Gzip),
        None => (name, Form::Plain),
    };
    let split = |(kind, suffix): (usize, &&[u8])| Some((plain.strip_suffix(*suffix)?, kind, form));
    SUFFIXES.iter().enumerate().find_map(split)
}

/// Logs that were found, in the order of their paths; a million of them fit into memory.
#[derive(Debug, Default)]
pub(crate) struct LogSets {
    dirs: Vec<PathBuf>,
    /// Directories by their canonical paths: one may be named twice, in two spellings.
    by_path: HashMap<PathBuf, u32>,
    /// Stems, one after the other.
    stems: Vec<u8>,
    entries: Vec<Entry>,
}

/// One stem; while looking for files, one file.
#[derive(Clone, Copy, Debug)]
struct Entry {
    dir: u32,
    stem_len: u16,
    files: [Form; 3],
    stem_at: usize,
}

impl LogSets {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The one at `index`.
    pub(crate) fn get(&self, index: usize) -> LogSet<'_> {
        let entry = &self.entries[index];
        let dir = &self.dirs[entry.dir as usize];
        LogSet { dir, stem: self.stem(entry), files: entry.files }
    }

    /// All of them, one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = LogSet<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Leaves those with a log, and not only a record.
    pub(crate) fn retain_with_log(&mut self) {
        self.entries.retain(|e| e.files[0] != Form::Missing || e.files[1] != Form::Missing);
    }

    fn stem(&self, entry: &Entry) -> &[u8] {
        &self.stems[entry.stem_at..entry.stem_at + usize::from(entry.stem_len)]
    }

    fn push(&mut self, dir: u32, stem: &[u8], kind: usize, form: Form) {
        let (Ok(stem_len), stem_at) = (u16::try_from(stem.len()), self.stems.len()) else { return };
        let mut files = [Form::Missing; 3];
        files[kind] = form;
        self.stems.extend_from_slice(stem);
        self.entries.push(Entry { dir, stem_len, files, stem_at });
    }

    /// The number of a directory, by whichever spelling came first.
    fn dir_id(&mut self, dir: &Path) -> u32 {
        if let Some(id) = self.by_path.get(dir) {
            return *id;
        }
        let canonical = fs::canonicalize(readable(dir)).unwrap_or_else(|_| dir.to_owned());
        let next = u32::try_from(self.dirs.len()).unwrap_or(u32::MAX);
        let id = *self.by_path.entry(canonical).or_insert(next);
        if id == next {
            self.dirs.push(dir.to_owned());
        }
        self.by_path.insert(dir.to_owned(), id);
        id
    }

    /// Sorts by path and puts the files of a stem together.
    fn settle(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.par_sort_unstable_by(|a, b| self.order(a, b));
        entries.dedup_by(|next, kept| {
            let is_same = next.dir == kept.dir && self.stem(next) == self.stem(kept);
            if is_same {
                for (kept, next) in kept.files.iter_mut().zip(next.files) {
                    *kept = next.max(*kept);
                }
            }
            is_same
        });
        entries.shrink_to_fit();
        self.entries = entries;
    }

    /// Byte order of the paths, as upstream sorts them.
    fn order(&self, a: &Entry, b: &Entry) -> Ordering {
        // What follows a stem in every name; `a_b_…` comes before `a_carbontracker…`.
        let name = |e: &Entry| self.stem(e).iter().chain(b"_carbontracker").copied();
        let dir = |e: &Entry| {
            let dir = self.dirs[e.dir as usize].as_os_str().as_bytes();
            let slash = !dir.is_empty() && !dir.ends_with(b"/");
            dir.iter().copied().chain(slash.then_some(b'/'))
        };
        if a.dir == b.dir {
            let (a_stem, b_stem) = (self.stem(a), self.stem(b));
            let n = a_stem.len().min(b_stem.len());
            // Where one begins with the other, it matters what follows.
            return a_stem[..n].cmp(&b_stem[..n]).then_with(|| name(a).cmp(name(b)));
        }
        dir(a).chain(name(a)).cmp(dir(b).chain(name(b)))
    }
}

/// Finds the logs in directories, and those that are named, in the order of their paths.
///
/// Only regular files of the exact names count; a named file brings the others of its stem along.
/// A path that cannot be looked at hides no other: it is reported in `outcome`.
///
/// # Errors
///
/// Where no path at all can be looked at, or is a log.
pub(crate) fn find(args: &[PathBuf], is_recursive: bool, outcome: &mut Outcome) -> Result<LogSets> {
    let mut sets = LogSets::default();
    let mut errors = Vec::new();
    let named = paths::expand(args, outcome)?;
    for named in &named {
        if let Err(error) = look_at(named, is_recursive, &mut sets, outcome) {
            errors.push((named, error));
        }
    }
    if errors.len() == named.len() && !errors.is_empty() {
        return Err(errors.swap_remove(0).1);
    }
    for (named, error) in errors {
        outcome.skip_path(&named.path, &error);
    }
    sets.settle();
    outcome.look(named.iter().map(|named| named.path.clone()), is_recursive, sets.len());
    Ok(sets)
}

fn look_at(
    named: &Named,
    is_recursive: bool,
    sets: &mut LogSets,
    outcome: &mut Outcome,
) -> Result<()> {
    let path = &named.path;
    let meta = fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    if meta.is_dir() {
        return scan(path, is_recursive, sets, outcome)
            .with_context(|| format!("cannot read directory {}", path.display()));
    }
    let name = path.file_name().unwrap_or_default();
    match split_name(name) {
        Some((stem, _, _)) if meta.is_file() => take_siblings(path, stem, sets),
        _ if named.is_match || is_error_log(name) => {}
        _ => return Err(no_log(path)),
    }
    Ok(())
}

/// Whether a name is that of the third log of a tracker, which holds no consumption.
fn is_error_log(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.strip_suffix(GZIP).unwrap_or(name).ends_with(b"_carbontracker_err.log")
}

fn no_log(path: &Path) -> anyhow::Error {
    anyhow!("{} is no log of carbontracker", path.display()).context(Hint(
        "name a directory, or a file that ends in _carbontracker.log, _carbontracker_output.log or _carbontracker.json",
    ))
}

/// Takes all files of one stem.
fn take_siblings(path: &Path, stem: &[u8], sets: &mut LogSets) {
    let dir = path.parent().unwrap_or(Path::new(""));
    let id = sets.dir_id(dir);
    for (kind, suffix) in SUFFIXES.iter().enumerate() {
        for (form, end) in [(Form::Plain, &b""[..]), (Form::Gzip, GZIP)] {
            let name = [stem, suffix, end].concat();
            if dir.join(OsStr::from_bytes(&name)).is_file() {
                sets.push(id, stem, kind, form);
            }
        }
    }
}

/// Takes the logs of a directory and of those below it; one below that cannot be read is reported.
fn scan(
    top: &Path,
    is_recursive: bool,
    sets: &mut LogSets,
    outcome: &mut Outcome,
) -> io::Result<()> {
    let mut below = Vec::new();
    scan_one(top, is_recursive, sets, &mut below)?;
    while let Some(dir) = below.pop() {
        if let Err(error) = scan_one(&dir, true, sets, &mut below) {
            outcome.skip_file(&dir, &error);
        }
    }
    Ok(())
}

fn scan_one(
    dir: &Path,
    is_recursive: bool,
    sets: &mut LogSets,
    below: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let id = sets.dir_id(dir);
    for entry in fs::read_dir(readable(dir))? {
        let entry = entry?;
        let (name, file_type) = (entry.file_name(), entry.file_type()?);
        // A link to a directory is not followed: it may lead in a circle.
        if file_type.is_dir() {
            below.extend(is_recursive.then(|| dir.join(&name)));
            continue;
        }
        let Some((stem, kind, form)) = split_name(&name) else { continue };
        if file_type.is_file() || (file_type.is_symlink() && dir.join(&name).is_file()) {
            sets.push(id, stem, kind, form);
        }
    }
    Ok(())
}

fn readable(dir: &Path) -> Cow<'_, Path> {
    Cow::Borrowed(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
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

    /// Stems with their paths.
    fn sets(paths: &[PathBuf], is_recursive: bool) -> Vec<(String, [Option<PathBuf>; 3])> {
        let mut outcome = Outcome::default();
        let sets = find(paths, is_recursive, &mut outcome).unwrap();
        let files = [LogFile::Standard, LogFile::Output, LogFile::Record];
        let own = |set: LogSet<'_>| (set.stem().into_owned(), files.map(|file| set.path(file)));
        sets.iter().map(own).collect()
    }

    fn stems(paths: &[PathBuf], is_recursive: bool) -> Vec<String> {
        sets(paths, is_recursive).into_iter().map(|(stem, _)| stem).collect()
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
        let short = |(stem, paths): (String, [Option<PathBuf>; 3])| {
            (stem, paths.map(|path| path.is_some()))
        };
        let expected = [
            ("a".to_owned(), [false, true, false]),
            ("b".to_owned(), [true, true, false]),
            ("c".to_owned(), [false, false, true]),
        ];
        let found: Vec<_> = sets(&[dir.path().to_owned()], false).into_iter().map(short).collect();
        assert_eq!(found, expected);
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
        let found = sets(&[dir.path().join("a_carbontracker.log")], false);
        assert_eq!(found.len(), 1);
        assert!(found[0].1[1].is_some());
        let mut outcome = Outcome::default();
        assert!(find(&[dir.path().join("a.txt")], false, &mut outcome).is_err());
    }

    #[test]
    fn a_compressed_log_belongs_to_its_stem_and_a_plain_one_comes_first() {
        let dir = tree(&[
            "a_carbontracker.log.gz",
            "a_carbontracker_output.log",
            "b_carbontracker.log",
            "b_carbontracker.log.gz",
        ]);
        let found = sets(&[dir.path().to_owned()], false);
        let standard = |at: usize| found[at].1[0].clone().unwrap();
        assert_eq!(standard(0), dir.path().join("a_carbontracker.log.gz"));
        assert_eq!(standard(1), dir.path().join("b_carbontracker.log"));
        let named = sets(&[dir.path().join("a_carbontracker.log.gz")], false);
        assert_eq!(named, found[..1]);
    }

    #[test]
    fn paths_are_in_byte_order() {
        let dir = tree(&["a_carbontracker.log", "a_b_carbontracker.log", "a.5_carbontracker.log"]);
        assert_eq!(stems(&[dir.path().to_owned()], false), ["a.5", "a_b", "a"]);
    }

    #[test]
    fn a_bad_path_hides_no_other() {
        let dir = tree(&["a_carbontracker.log", "a_carbontracker_err.log", "notes.txt"]);
        let names = ["a_carbontracker.log", "a_carbontracker_err.log", "notes.txt", "gone"];
        let mut outcome = Outcome::default();
        let sets = find(&names.map(|name| dir.path().join(name)), false, &mut outcome).unwrap();
        assert_eq!(sets.len(), 1);
        let reasons: Vec<_> = outcome.skipped.iter().map(|part| &part.reason).collect();
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(reasons[0].ends_with("is no log of carbontracker"), "{reasons:?}");
        assert!(reasons[1].contains("No such file"), "{reasons:?}");
    }
}
