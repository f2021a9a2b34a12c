//! Records of jobs from the ledger and from log directories, no job twice.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::config::Config;
use ct_core::ledger::reader::{Entries, Entry, ledger_files};
use ct_core::record::{Record, RecordKey};

use crate::diagnostic::{Hint, Outcome};
use crate::load::Loaded;
use crate::load::logs::{self, LogSet};

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

/// Gives every record to `take`, those of the ledger first: of copies the first is taken.
///
/// # Errors
///
/// A directory that cannot be read. Files and lines that cannot be read are reported in `outcome`.
pub(crate) fn for_each(
    sources: &Sources,
    outcome: &mut Outcome,
    mut take: impl FnMut(&Record, Place<'_>, &mut Outcome),
) -> Result<()> {
    let mut seen = HashSet::new();
    let mut once = |record: &Record, place: Place<'_>, outcome: &mut Outcome| {
        if seen.insert(identity(record)) {
            take(record, place, outcome);
        }
    };
    if let Some(dir) = &sources.ledger {
        let mut files = ledger_files(dir).map_err(|error| no_ledger(dir, error))?;
        files.retain(|file| is_asked_for(file, sources.since));
        for file in files {
            read_ledger_file(&file, outcome, &mut once);
        }
    }
    let mut loaded = Loaded::default();
    for set in logs::find(&sources.logs, sources.is_recursive, outcome)?.iter() {
        // The logs themselves are not read here: they do not say whose they are.
        let set = LogSet { standard: None, output: None, ..set };
        loaded.read(&set, outcome);
        if let Some(record) = loaded.record(&set, outcome) {
            let path = set.record.as_deref().unwrap_or(&set.dir);
            once(&record, Place { path, line: 1 }, outcome);
        }
    }
    Ok(())
}

/// Whether a ledger file's month, in which its jobs ended, is not over before `since`.
pub(super) fn is_asked_for(file: &Path, since: Option<DateTime<Utc>>) -> bool {
    let month = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let since = since.map(|since| since.format("%Y-%m").to_string());
    month.is_none_or(|month| since.is_none_or(|since| *month >= *since))
}

/// What tells records apart: Slurm gives an id again once its numbers are used up, or its state was
/// lost, but copies of one record have one start.
fn identity(record: &Record) -> (RecordKey, i64) {
    (record.key(), record.start.timestamp_millis())
}

pub(super) fn no_ledger(dir: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow!(error)
        .context(format!("cannot read ledger {}", dir.display()))
        .context(Hint("name its directory with --ledger, or a configuration with --config"))
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
