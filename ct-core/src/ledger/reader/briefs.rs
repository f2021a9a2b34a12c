//! Reads jobs as far as sums need them, several times as fast as whole records.
//!
//! A line in the very form of our writer is read as a [`Brief`], which copies no text. Any other, and
//! one that is no record, goes the way of a whole record, so that both say the same of every line:
//! what it holds, or why it is none.

mod cursor;
mod own_form;

use std::io::{self, BufRead};

use super::lines::Lines;
use super::{NODE_PREFIX, ParseRecordError, check, parse_record};
use crate::log::parser::Skipped;
use crate::record::{Brief, Record};

/// One line of the ledger.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is a job's")]
pub enum BriefEntry<'a> {
    /// A job's.
    Job {
        /// What sums need of it.
        brief: Brief<'a>,
        /// All of it, for [`parse_record`].
        text: &'a [u8],
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line of another kind.
    Other,
    /// A line that could not be read.
    Skipped(Skipped),
}

/// The jobs of one ledger file; lines of nodes cost no parsing.
#[derive(Debug)]
pub struct Briefs<R> {
    lines: Lines<R>,
    slow: Option<Record>,
}

impl<R: BufRead> Briefs<R> {
    /// Reads jobs' lines from `input`.
    pub fn new(input: R) -> Self {
        Self { lines: Lines::new(input), slow: None }
    }

    /// Reads the next line.
    ///
    /// # Errors
    ///
    /// Those of reading the file.
    pub fn read_next(&mut self) -> io::Result<Option<BriefEntry<'_>>> {
        if !self.lines.advance()? {
            return Ok(None);
        }
        let (text, line) = (self.lines.text(), self.lines.number());
        if text.starts_with(NODE_PREFIX.as_bytes()) && text.ends_with(b"}") {
            return Ok(Some(BriefEntry::Other));
        }
        Ok(Some(match parse_brief(text, &mut self.slow) {
            Ok(Some(brief)) => BriefEntry::Job { brief, text, line },
            Ok(None) => BriefEntry::Other,
            Err(error) => BriefEntry::Skipped(self.lines.skipped(&error)),
        }))
    }
}

/// Reads one line as [`parse_record`] does, but as a brief; `slow` keeps a record that had to be
/// read whole.
///
/// # Errors
///
/// What is no record of this version, or says what no record can.
pub fn parse_brief<'a>(
    bytes: &'a [u8],
    slow: &'a mut Option<Record>,
) -> Result<Option<Brief<'a>>, ParseRecordError> {
    if let Some(brief) = parse_own_form(bytes) {
        return Ok(Some(brief));
    }
    *slow = parse_record(bytes)?;
    Ok(slow.as_ref().map(Brief::from))
}

/// Reads a job's line in the form of our writer; nothing where a closer look is needed.
fn parse_own_form(bytes: &[u8]) -> Option<Brief<'_>> {
    let brief = own_form::brief(std::str::from_utf8(bytes).ok()?)?;
    check::record(&brief).is_ok().then_some(brief)
}

#[cfg(test)]
mod tests;
