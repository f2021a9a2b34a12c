//! Reads files: logs by stem, records beside them, the ledger and its dataset.

pub(crate) mod beside;
#[cfg(feature = "parquet")]
pub(crate) mod compacted;
mod file;
pub(crate) mod groups;
#[cfg(feature = "parquet")]
pub(crate) mod hours;
pub(crate) mod jobs;
pub(crate) mod live;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod paths;
pub(crate) mod pieces;
pub(crate) mod shares;
mod whole_job;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Result;
use ct_core::ledger::reader::parse_record;
use ct_core::log::parser::{Run, Skipped, StandardLog, parse_output, parse_standard, sum_standard};
use ct_core::record::Record;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::diagnostic::Outcome;
use crate::load::file::{Buffer, LastDir};
use crate::load::logs::{LogFile, LogSet, LogSets};
use crate::progress::Progress;

/// The bytes of one stem's files, and where they lie.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    standard: Buffer,
    output: Buffer,
    record: Buffer,
    last_dir: LastDir,
    /// The name of the file that is read.
    name: Vec<u8>,
}

impl Loaded {
    /// Reads the files of a stem; what cannot be read counts as missing and is reported.
    pub(crate) fn read(&mut self, set: LogSet<'_>, outcome: &mut Outcome) {
        self.clear();
        for file in [LogFile::Standard, LogFile::Output, LogFile::Record] {
            self.read_file(set, file, outcome);
        }
    }

    /// Reads the record of a stem, and not its logs.
    pub(crate) fn read_record(&mut self, set: LogSet<'_>, outcome: &mut Outcome) {
        self.clear();
        self.read_file(set, LogFile::Record, outcome);
    }

    fn read_file(&mut self, set: LogSet<'_>, file: LogFile, outcome: &mut Outcome) {
        if !set.name(file, &mut self.name) {
            return;
        }
        let opened = self.last_dir.open(set.dir, OsStr::from_bytes(&self.name));
        let buffer = match file {
            LogFile::Standard => &mut self.standard,
            LogFile::Output => &mut self.output,
            LogFile::Record => &mut self.record,
        };
        for problem in buffer.read(opened, set.is_gzip(file)) {
            let path = set.path(file).unwrap_or_default();
            outcome.skip_part(&path, problem.line, problem.reason);
        }
    }

    /// Forgets the files.
    fn clear(&mut self) {
        self.standard.clear();
        self.output.clear();
        self.record.clear();
    }

    /// The pair of logs, read.
    pub(crate) fn run<'a>(&'a self, set: LogSet<'_>, outcome: &mut Outcome) -> Run<'a> {
        self.run_of(parse_standard(self.standard.bytes()), set, outcome)
    }

    /// The pair of logs without its epochs: what they come to.
    pub(crate) fn sum<'a>(&'a self, set: LogSet<'_>, outcome: &mut Outcome) -> Run<'a> {
        self.run_of(sum_standard(self.standard.bytes()), set, outcome)
    }

    fn run_of<'a>(
        &'a self,
        standard: StandardLog<'a>,
        set: LogSet<'_>,
        outcome: &mut Outcome,
    ) -> Run<'a> {
        let run = Run::new(standard, parse_output(self.output.bytes()));
        for (file, skipped) in
            [(LogFile::Standard, &run.standard.skipped), (LogFile::Output, &run.output.skipped)]
        {
            for skipped in skipped {
                outcome.skip(&set.path(file).unwrap_or_default(), skipped);
            }
        }
        run
    }

    /// The text of the record beside the logs.
    pub(crate) fn record_text(&self) -> &[u8] {
        self.record.bytes().trim_ascii()
    }

    /// The record beside the logs, if there is one.
    pub(crate) fn record(&self, set: LogSet<'_>, outcome: &mut Outcome) -> Option<Record> {
        let path = set.path(LogFile::Record)?;
        match parse_record(self.record_text()) {
            _ if self.record.bytes().is_empty() => None,
            Ok(record) => record,
            Err(error) => {
                let reason = error.to_string().into();
                outcome.skip(&path, &Skipped { line: 1, reason });
                None
            }
        }
    }
}

/// Stems that are read at once; their results and those of as many before them are in memory.
const STEMS_AT_ONCE: usize = 1024;

thread_local! {
    /// Memory for files, used again for every stem of a thread.
    static LOADED: RefCell<Loaded> = RefCell::default();
}

/// Reads every stem's files on all processors, gives them to `work`, and what that returns to
/// `take`, in the order of the stems, while the next ones are read.
///
/// Memory holds the files of as many stems as there are processors.
///
/// # Errors
///
/// Those of `take`.
pub(crate) fn for_each<T: Send>(
    sets: &LogSets,
    outcome: &mut Outcome,
    work: impl Fn(LogSet<'_>, &Loaded, &mut Outcome) -> T + Sync,
    mut take: impl FnMut(T, &mut Outcome) -> Result<()>,
) -> Result<()> {
    let progress = Progress::new("logs", sets.len());
    let one = |index: usize| {
        let (set, mut outcome) = (sets.get(index), Outcome::default());
        let done = LOADED.with_borrow_mut(|loaded| {
            loaded.read(set, &mut outcome);
            let done = work(set, loaded, &mut outcome);
            loaded.clear();
            done
        });
        progress.step();
        (done, outcome)
    };
    let mut take_all = |read: Vec<(T, Outcome)>| {
        read.into_iter().try_for_each(|(done, own)| {
            outcome.append(own);
            take(done, outcome)
        })
    };
    let mut read = Vec::new();
    for from in (0..sets.len()).step_by(STEMS_AT_ONCE) {
        let to = sets.len().min(from + STEMS_AT_ONCE);
        let before = std::mem::take(&mut read);
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| read = (from..to).into_par_iter().map(one).collect());
            take_all(before)
        })?;
    }
    take_all(read)
}

/// A path as given, for messages and dictionaries.
pub(crate) fn path_text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}
