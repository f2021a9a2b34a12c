//! The lines of a file, one at a time, of any length and whatever they hold.

use std::fmt::Display;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use crate::log::parser::Skipped;

/// Longest line that is read; a record with every hour of a year is below a megabyte.
const LINE_MAX: usize = 16 << 20;

/// Lines that are not blank.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    number: usize,
    line: Vec<u8>,
    /// Where the line begins, and where the next one does.
    span: Range<u64>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, number: 0, line: Vec::new(), span: 0..0 }
    }

    /// Goes to the next line; whether there is one.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        loop {
            if self.read()? == 0 {
                return Ok(false);
            }
            self.number += 1;
            if !self.text().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Reads one line into the buffer; says how long it is, cut at [`LINE_MAX`].
    fn read(&mut self) -> io::Result<usize> {
        self.line.clear();
        let n = (&mut self.input).take(LINE_MAX as u64).read_until(b'\n', &mut self.line)?;
        let mut skipped = 0;
        if n == LINE_MAX && !self.line.ends_with(b"\n") {
            skipped = self.input.skip_until(b'\n')?;
        }
        self.span = self.span.end..self.span.end + (n + skipped) as u64;
        Ok(n)
    }

    /// The line, without its newline.
    pub(super) fn text(&self) -> &[u8] {
        self.line.trim_ascii()
    }

    /// Its number, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Its bytes in the file, newline included.
    pub(super) fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// The line as one that cannot be read.
    pub(super) fn skipped(&self, error: &impl Display) -> Skipped {
        let torn = if self.line.ends_with(b"\n") { "" } else { "torn last line: " };
        Skipped { line: self.number, reason: format!("{torn}{error}").into() }
    }
}
