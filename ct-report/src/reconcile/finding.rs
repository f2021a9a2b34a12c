//! What the books of a node cannot explain, in words.

use std::fmt;

use super::JobRun;
use super::balance::signed;
use super::book::Unexplained;

/// A job whose lines and record differ within a row.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    run: JobRun,
    lines_uj: u128,
    record_uj: u128,
    has_record: bool,
    n_hours: usize,
    first_hour: String,
}

impl Finding {
    /// Begins with the first hour in which they differ.
    pub(super) fn new(run: JobRun, first_hour: String) -> Self {
        Self { run, lines_uj: 0, record_uj: 0, has_record: false, n_hours: 0, first_hour }
    }

    /// Adds an hour.
    pub(super) fn add(&mut self, unexplained: &Unexplained) {
        self.lines_uj += unexplained.charge.lines_uj;
        self.record_uj += unexplained.charge.record_uj;
        self.has_record |= unexplained.has_record;
        self.n_hours += 1;
    }

    /// What the lines have beyond the record; below zero where the record has more.
    pub(super) fn difference_uj(&self) -> i128 {
        signed(self.lines_uj) - signed(self.record_uj)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, restart) = self.run;
        write!(f, "job {id}")?;
        if restart > 0 {
            write!(f, " (restart {restart})")?;
        }
        let (lines, record) = (self.lines_uj, self.record_uj);
        match (self.has_record, lines) {
            (false, _) => write!(f, " has no record of the {lines} µJ the node charged it")?,
            (true, 0) => write!(f, " has {record} µJ in its record that the node never charged")?,
            (true, _) => {
                write!(f, " has {record} µJ in its record, but the node charged it {lines} µJ")?;
            }
        }
        let plural = if self.n_hours == 1 { "" } else { "s" };
        write!(f, " ({} hour{plural} from {} on)", self.n_hours, self.first_hour)
    }
}
