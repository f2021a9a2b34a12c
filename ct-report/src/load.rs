//! Reads files: logs by stem, records beside them, the ledger.

pub(crate) mod jobs;
pub(crate) mod logs;

use std::fs;
use std::path::{Path, PathBuf};

use ct_core::ledger::reader::parse_record;
use ct_core::log::parser::{Run, Skipped, parse_output, parse_standard};
use ct_core::record::Record;

use crate::diagnostic::Outcome;
use crate::load::logs::LogSet;

/// The bytes of one stem's files.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    standard: Vec<u8>,
    output: Vec<u8>,
    record: Vec<u8>,
}

impl Loaded {
    /// Reads the files of a stem; what cannot be read counts as missing and is reported.
    pub(crate) fn read(set: &LogSet, outcome: &mut Outcome) -> Self {
        Self {
            standard: read(set.standard.as_deref(), outcome),
            output: read(set.output.as_deref(), outcome),
            record: read(set.record.as_deref(), outcome),
        }
    }

    /// The pair of logs, read.
    pub(crate) fn run<'a>(&'a self, set: &LogSet, outcome: &mut Outcome) -> Run<'a> {
        let run = Run::new(parse_standard(&self.standard), parse_output(&self.output));
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
        match parse_record(self.record.trim_ascii()) {
            _ if self.record.is_empty() => None,
            Ok(record) => record,
            Err(error) => {
                let reason = error.to_string().into();
                outcome.skip(path, &Skipped { line: 1, reason });
                None
            }
        }
    }
}

fn read(path: Option<&Path>, outcome: &mut Outcome) -> Vec<u8> {
    let Some(path) = path else { return Vec::new() };
    fs::read(path).unwrap_or_else(|error| {
        outcome.skip_file(path, &error);
        Vec::new()
    })
}

/// A path as given, for messages and dictionaries.
pub(crate) fn path_text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}
