//! Reads carbontracker's logs, whatever version wrote them.
//!
//! Bytes come in, values go out: a standard log becomes [`Session`]s of [`Epoch`]s, an output log
//! becomes consumption [`Block`]s, and [`Run`] puts the pair together and says what of it counts.
//! Text is borrowed, every byte is looked at a bounded number of times, and nothing in a log is an
//! error: what cannot be read is listed as [`Skipped`] with its line, and the rest is read.
//! Touches no file.

mod block;
mod components;
mod line;
mod number;
mod record;
mod run;
mod session;
mod standard;
mod tracker;
#[cfg(test)]
mod versions;

use std::borrow::Cow;

pub use block::{Block, BlockKind, OutputLog, parse_output};
pub use components::Devices;
pub use number::parse_duration;
pub use run::{Counted, Counting, Run};
pub use session::{Epoch, Power, Session, StandardLog, Writer};
pub use standard::{parse_standard, sum_standard};
pub use tracker::Tracker;

/// A part of a log that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Line number, from 1.
    pub line: usize,
    /// What was seen, and what was expected.
    pub reason: Cow<'static, str>,
}

impl Skipped {
    fn new(line: usize, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// The first characters of a line, for messages; control characters are escaped.
fn excerpt(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
    text.escape_debug().to_string()
}
