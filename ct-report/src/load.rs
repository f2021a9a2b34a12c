//! Reads files: logs by stem, records beside them, the ledger and its dataset.

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
use std::path::{Path, PathBuf};

use anyhow::Result;
use ct_core::ledger::reader::parse_record;
use ct_core::log::parser::{Run, Skipped, StandardLog, parse_output, parse_standard, sum_standard};
use ct_core::record::Record;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::diagnostic::Outcome;
use crate::load::file::Buffer;
use crate::load::logs::{LogSet, LogSets};
use crate::progress::Progress;

/// The bytes of one stem's files.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    standard: Buffer,
    output: Buffer,
    record: Buffer,
}

impl Loaded {
    /// Reads the files of a stem; what cannot be read counts as missing and is reported.
    pub(crate) fn read(&mut self, set: &LogSet, outcome: &mut Outcome) {
        self.clear();
        self.standard.read_if(set.standard.as_deref(), outcome);
        self.output.read_if(set.output.as_deref(), outcome);
        self.record.read_if(set.record.as_deref(), outcome);
    }

    /// Forgets the files.
    fn clear(&mut self) {
        self.standard.clear();
        self.output.clear();
        self.record.clear();
    }

    /// The pair of logs, read.
    pub(crate) fn run<'a>(&'a self, set: &LogSet, outcome: &mut Outcome) -> Run<'a> {
        self.run_of(parse_standard(self.standard.bytes()), set, outcome)
    }

    /// The pair of logs without its epochs: what they come to.
    pub(crate) fn sum<'a>(&'a self, set: &LogSet, outcome: &mut Outcome) -> Run<'a> {
        self.run_of(sum_standard(self.standard.bytes()), set, outcome)
    }

    fn run_of<'a>(
        &'a self,
        standard: StandardLog<'a>,
        set: &LogSet,
        outcome: &mut Outcome,
    ) -> Run<'a> {
        let run = Run::new(standard, parse_output(self.output.bytes()));
        for (path, skipped) in
            [(&set.standard, &run.standard.skipped), (&set.output, &run.output.skipped)]
        {
            for skipped in skipped {
                outcome.skip(path.as_deref().unwrap_or(Path::new("")), skipped);
            }
        }
        run
    }

    /// The record beside the logs, if there is one.
    pub(crate) fn record(&self, set: &LogSet, outcome: &mut Outcome) -> Option<Record> {
        let path = set.record.as_deref()?;
        match parse_record(self.record.bytes().trim_ascii()) {
            _ if self.record.bytes().is_empty() => None,
            Ok(record) => record,
            Err(error) => {
                let reason = error.to_string().into();
                outcome.skip(path, &Skipped { line: 1, reason });
                None
            }
        }
    }
}

impl Buffer {
    fn read_if(&mut self, path: Option<&Path>, outcome: &mut Outcome) {
        let Some(path) = path else { return };
        for problem in self.read(path) {
            outcome.skip_part(path, problem.line, problem.reason);
        }
    }
}

/// Stems whose results are in memory at once.
const STEMS_AT_ONCE: usize = 2048;

thread_local! {
    /// Memory for files, used again for every stem of a thread.
    static LOADED: RefCell<Loaded> = RefCell::default();
}

/// Reads every stem's files on all processors, gives them to `work`, and what that returns to
/// `take`, in the order of the stems.
///
/// Memory holds the files of as many stems as there are processors.
///
/// # Errors
///
/// Those of `take`.
pub(crate) fn for_each<T: Send>(
    sets: &LogSets,
    outcome: &mut Outcome,
    work: impl Fn(&LogSet, &Loaded, &mut Outcome) -> T + Sync,
    mut take: impl FnMut(T, &mut Outcome) -> Result<()>,
) -> Result<()> {
    let progress = Progress::new("logs", sets.len());
    let one = |index: usize| {
        let (set, mut outcome) = (sets.get(index), Outcome::default());
        let done = LOADED.with_borrow_mut(|loaded| {
            loaded.read(&set, &mut outcome);
            let done = work(&set, loaded, &mut outcome);
            loaded.clear();
            done
        });
        progress.step();
        (done, outcome)
    };
    for from in (0..sets.len()).step_by(STEMS_AT_ONCE) {
        let to = sets.len().min(from + STEMS_AT_ONCE);
        let part: Vec<_> = (from..to).into_par_iter().map(one).collect();
        for (done, own) in part {
            outcome.append(own);
            take(done, outcome)?;
        }
    }
    Ok(())
}

/// A path as given, for messages and dictionaries.
pub(crate) fn path_text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}
