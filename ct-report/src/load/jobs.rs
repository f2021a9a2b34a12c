//! Records of jobs from the ledger and from log directories, no job twice.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::config::Config;
use ct_core::ledger::reader::{Entries, Entry, ledger_files};
use ct_core::record::{Record, RecordKey};

use crate::diagnostic::{Hint, Outcome};
use crate::load::Loaded;
use crate::load::groups::{self, Part};
use crate::load::logs::{self, LogSet, LogSets};

/// Where a record stands, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// Where records come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// Directory of the ledger, if it is to be read.
    pub(crate) ledger: Option<PathBuf>,
    /// Log directories and log files.
    pub(crate) logs: Vec<PathBuf>,
    /// Whether directories below are read, too.
    pub(crate) is_recursive: bool,
    /// Jobs that ended before this time are not asked for.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// The directory of the ledger: as named, else as configured.
///
/// # Errors
///
/// A configuration that cannot be read.
pub(crate) fn ledger_dir(named: Option<&Path>, config: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None => Ok(Config::load(config)?.ledger.dir),
    }
}

/// Gives every record to `add`, and adds up with `merge` what comes of it: those of the ledger on
/// all processors, then those of the logs. Of copies the first is taken, and the ledger's before
/// that of a log.
///
/// # Errors
///
/// A directory that cannot be read. Files and lines that cannot be read are reported in `outcome`.
pub(crate) fn fold<T: Default + Send>(
    sources: &Sources,
    outcome: &mut Outcome,
    add: impl Fn(&mut T, &Record, Place<'_>, &mut Outcome) + Sync,
    merge: impl Fn(&mut T, T),
) -> Result<T> {
    let sets = logs::find(&sources.logs, sources.is_recursive, outcome)?;
    let mut all = T::default();
    // Of the logs' records, whether the ledger has them.
    let mut in_ledger = HashMap::new();
    if let Some(dir) = &sources.ledger {
        let mut files = ledger_files(dir).map_err(|error| no_ledger(dir, error))?;
        files.retain(|file| is_asked_for(file, sources.since));
        // What cannot be read is noted when it is read to be counted.
        let mut known = |record: &Record, _: Place<'_>, _: &mut Outcome| {
            in_ledger.insert(identity(record), AtomicBool::new(false));
        };
        for_each_log(&sets, &mut Outcome::default(), &mut known);
        let read = |files: &[PathBuf], outcome: &mut Outcome| {
            read_ledger_files(files, outcome, &in_ledger, &add)
        };
        all = groups::fold(files, outcome, read, merge);
    }
    let mut seen = HashSet::new();
    for_each_log(&sets, outcome, &mut |record, place, outcome| {
        let identity = identity(record);
        let is_in_ledger = in_ledger.get(&identity).is_some_and(|is| is.load(Ordering::Relaxed));
        if !is_in_ledger && seen.insert(identity) {
            add(&mut all, record, place, outcome);
        }
    });
    Ok(all)
}

/// Gives the record beside each pair of logs to `take`.
fn for_each_log(
    sets: &LogSets,
    outcome: &mut Outcome,
    take: &mut impl FnMut(&Record, Place<'_>, &mut Outcome),
) {
    let mut loaded = Loaded::default();
    for set in sets.iter() {
        // The logs themselves are not read here: they do not say whose they are.
        let set = LogSet { standard: None, output: None, ..set };
        loaded.read(&set, outcome);
        if let Some(record) = loaded.record(&set, outcome) {
            let path = set.record.as_deref().unwrap_or(&set.dir);
            take(&record, Place { path, line: 1 }, outcome);
        }
    }
}

/// Whether a ledger file's month, in which its jobs ended, is not over before `since`.
pub(super) fn is_asked_for(file: &Path, since: Option<DateTime<Utc>>) -> bool {
    let month = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let since = since.map(|since| since.format("%Y-%m").to_string());
    month.is_none_or(|month| since.is_none_or(|since| *month >= *since))
}

/// What tells records apart.
type Identity = (RecordKey, i64);

/// The identity of a record: Slurm gives an id again once its numbers are used up, or its state was
/// lost, but copies of one record have one start.
fn identity(record: &Record) -> Identity {
    (record.key(), record.start.timestamp_millis())
}

pub(super) fn no_ledger(dir: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow!(error)
        .context(format!("cannot read ledger {}", dir.display()))
        .context(Hint("name its directory with --ledger, or a configuration with --config"))
}

fn read_ledger_files<T: Default>(
    files: &[PathBuf],
    outcome: &mut Outcome,
    in_ledger: &HashMap<Identity, AtomicBool>,
    add: &impl Fn(&mut T, &Record, Place<'_>, &mut Outcome),
) -> Part<T> {
    let (mut done, mut seen, mut nodes) = (T::default(), HashSet::new(), BTreeSet::new());
    for file in files {
        let mut once = |record: &Record, place: Place<'_>, outcome: &mut Outcome| {
            let identity = identity(record);
            if let Some(is_in_ledger) = in_ledger.get(&identity) {
                is_in_ledger.store(true, Ordering::Relaxed);
            }
            if seen.insert(identity) {
                let node = (record.cluster.clone(), record.node.clone());
                nodes.insert(node);
                add(&mut done, record, place, outcome);
            }
        };
        read_ledger_file(file, outcome, &mut once);
    }
    Part { nodes: nodes.into_iter().collect(), done }
}

fn read_ledger_file(
    file: &Path,
    outcome: &mut Outcome,
    once: &mut impl FnMut(&Record, Place<'_>, &mut Outcome),
) {
    let mut entries = match File::open(file) {
        Ok(open) => Entries::of_jobs(BufReader::new(open)),
        Err(error) => return outcome.skip_file(file, &error),
    };
    while let Some(entry) = entries.next() {
        match entry {
            Ok(Entry::Job(record)) => {
                once(&record, Place { path: file, line: entries.line() }, outcome);
            }
            Ok(Entry::Node(_) | Entry::Other) => {}
            Ok(Entry::Skipped(skipped)) => outcome.skip(file, &skipped),
            Err(error) => return outcome.skip_file(file, &error),
        }
    }
}
