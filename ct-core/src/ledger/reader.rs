//! Reads the ledger back: `DIR/<YYYY-MM>/<node>.jsonl`, one record a line.
//!
//! A reader takes what it can: a torn last line, a line of a later form or plain garbage is
//! reported as [`Skipped`] and the lines after it are read. Knows nothing of who asks for what.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::energy::Component;
use crate::log::parser::Skipped;
use crate::record::{Record, VERSION};

/// Longest line that is read; a record with every hour of a year is below a megabyte.
const LINE_MAX: usize = 16 << 20;

/// One line of the ledger.
#[derive(Debug)]
pub enum Entry {
    /// A job's record.
    Job(Box<Record>),
    /// A line of another kind, such as the hourly `node` line.
    Other,
    /// A line that could not be read.
    Skipped(Skipped),
}

/// Files of a ledger, in the order of month and node.
///
/// # Errors
///
/// Those of reading the directory. A directory below it that cannot be read is an error, too:
/// a sum that silently lacks a month is worse than none.
pub fn ledger_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for month in fs::read_dir(dir)? {
        let month = month?.path();
        if !month.file_name().is_some_and(|name| is_month(name.as_encoded_bytes())) {
            continue;
        }
        for file in fs::read_dir(&month)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "jsonl") && file.is_file() {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_month(name: &[u8]) -> bool {
    let is_shaped = |(at, b): (usize, &u8)| if at == 4 { *b == b'-' } else { b.is_ascii_digit() };
    name.len() == 7 && name.iter().enumerate().all(is_shaped)
}

/// The lines of one ledger file.
#[derive(Debug)]
pub struct Entries<R> {
    input: R,
    number: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Entries<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> usize {
        self.number
    }

    /// Reads one line into the buffer; says how long it is, cut at [`LINE_MAX`].
    fn read_line(&mut self) -> io::Result<usize> {
        self.line.clear();
        let mut limited = io::Read::take(&mut self.input, LINE_MAX as u64);
        let n = limited.read_until(b'\n', &mut self.line)?;
        if n == LINE_MAX && !self.line.ends_with(b"\n") {
            self.input.skip_until(b'\n')?;
        }
        Ok(n)
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(0) => return None,
                Ok(_) => {}
            }
            self.number += 1;
            let is_whole = self.line.ends_with(b"\n");
            if !self.line.trim_ascii().is_empty() {
                return Some(Ok(parse_entry(&self.line, self.number, is_whole)));
            }
        }
    }
}

/// Reads one line of a ledger, or a `…_carbontracker.json` file; `None` is a line of another kind.
///
/// # Errors
///
/// What is no record of this version, or says what no record can.
pub fn parse_record(bytes: &[u8]) -> Result<Option<Record>, ParseRecordError> {
    let text = std::str::from_utf8(bytes)?;
    let kind: Kind<'_> = serde_json::from_str(text)?;
    if kind.kind.is_some_and(|kind| kind != "job") {
        return Ok(None);
    }
    if kind.v != VERSION {
        return Err(ParseRecordError::Version(kind.v));
    }
    let record: Record = serde_json::from_str(text)?;
    match unfit(&record) {
        Some(reason) => Err(ParseRecordError::Value(reason)),
        None => Ok(Some(record)),
    }
}

/// Why a line is no record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRecordError {
    /// Not UTF-8.
    #[error("not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// Not JSON, or not a record.
    #[error("no record: {0}")]
    Json(#[from] serde_json::Error),
    /// A version of the form that is not known.
    #[error("\"v\" is {0}, expected {VERSION}")]
    Version(u32),
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
}

#[derive(Deserialize)]
struct Kind<'a> {
    v: u32,
    #[serde(default, borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
}

/// A value no record can have.
fn unfit(record: &Record) -> Option<String> {
    let is_amount = |value: f64| value.is_finite() && value >= 0.0;
    let amounts = [("co2e_g", record.co2e_g), ("elapsed_s", record.elapsed_s), ("pue", record.pue)];
    if let Some((name, value)) = amounts.iter().find(|(_, value)| !is_amount(*value)) {
        return Some(format!("\"{name}\" is {value}, expected a number ≥ 0"));
    }
    if !(0.0..=1.0).contains(&record.coverage) {
        return Some(format!("\"coverage\" is {}, expected 0 to 1", record.coverage));
    }
    if record.end < record.start {
        return Some("\"end\" is before \"start\"".to_owned());
    }
    if record.energy_by_hour.is_empty() {
        return None;
    }
    // By the hour or as a whole: every query has to come to the same sum.
    let by_hour = |c: Component| {
        record.energy_by_hour.iter().map(|h| u128::from(h.energy().get(c).as_u64())).sum::<u128>()
    };
    let metered = |c: Component| u128::from(record.energy_j.get(c).as_u64());
    let off = Component::ALL.into_iter().find(|c| by_hour(*c) != metered(*c))?;
    let (seen, expected, name) = (by_hour(off), metered(off), off.as_str());
    Some(format!(
        "\"energy_by_hour\" adds up to {seen} µJ of {name}, expected the {expected} µJ of \"energy_j\""
    ))
}

fn parse_entry(line: &[u8], number: usize, is_whole: bool) -> Entry {
    match parse_record(line.trim_ascii()) {
        Ok(Some(record)) => Entry::Job(Box::new(record)),
        Ok(None) => Entry::Other,
        Err(error) => {
            let torn = if is_whole { "" } else { "torn last line: " };
            Entry::Skipped(Skipped { line: number, reason: format!("{torn}{error}").into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(job_id: u32) -> String {
        format!(
            "{{\"v\":1,\"cluster\":\"lab\",\"job_id\":{job_id},\"restart\":0,\"node\":\"n1\",\
             \"n_nodes\":1,\"user\":\"eva\",\"uid\":1000,\"start\":\"2026-10-01T00:00:00.000Z\",\
             \"end\":\"2026-10-01T00:10:00.000Z\",\"elapsed_s\":600.0,\"end_reason\":\"completed\",\
             \"alloc_cpus\":2,\"gpus\":[],\"energy_j\":{{\"cpu\":1.000001,\"dram\":0.000000,\
             \"gpu\":0.000000,\"rest\":0.000000}},\"idle_j\":{{\"cpu\":0.0,\"dram\":0.0,\
             \"gpu\":0.0,\"rest\":0.0}},\"gpu_unused_j\":0.0,\"energy_by_hour\":\
             [[\"2026-10-01T00:00:00.000Z\",1.000001,0,0,0]],\"pue\":1.2,\"intensity\":\
             {{\"g_per_kwh\":400,\"zone\":\"DE\",\"source\":\"x\"}},\"co2e_g\":0.1,\
             \"method\":{{\"cpu\":\"rapl\"}},\"coverage\":1.0,\"attribution\":\"hybrid\",\
             \"warnings\":[],\"new_field\":[1]}}\n"
        )
    }

    fn read(bytes: &[u8]) -> (Vec<u32>, Vec<(usize, String)>) {
        let (mut ids, mut skipped) = (Vec::new(), Vec::new());
        for entry in Entries::new(bytes) {
            match entry.unwrap() {
                Entry::Job(record) => ids.push(record.job_id),
                Entry::Other => {}
                Entry::Skipped(s) => skipped.push((s.line, s.reason.into_owned())),
            }
        }
        (ids, skipped)
    }

    #[test]
    fn a_torn_last_line_hides_no_other() {
        let whole = record(1) + "{\"v\":1,\"kind\":\"node\",\"x\":1}\n\n" + &record(2);
        assert_eq!(read(whole.as_bytes()), (vec![1, 2], vec![]));
        let (ids, skipped) = read(&whole.as_bytes()[..whole.len() - 20]);
        assert_eq!((ids, skipped.len(), skipped[0].0), (vec![1], 1, 4));
        assert!(skipped[0].1.starts_with("torn last line: no record: EOF"), "{}", skipped[0].1);
    }

    #[test]
    fn what_no_record_can_say_is_skipped_with_its_reason() {
        for (from, to, reason) in [
            ("\"v\":1", "\"v\":2", "\"v\" is 2, expected 1"),
            ("\"cpu\":1.000001", "\"cpu\":-12.5", "energy is \"-12.5\", expected joules"),
            ("\"co2e_g\":0.1", "\"co2e_g\":-1", "\"co2e_g\" is -1, expected a number ≥ 0"),
            ("\"coverage\":1.0", "\"coverage\":7", "\"coverage\" is 7, expected 0 to 1"),
            ("T00:10:00", "T00:00:00", ""),
            ("2026-10-01T00:10", "2025-10-01T00:10", "\"end\" is before \"start\""),
        ] {
            let (ids, skipped) = read(record(1).replace(from, to).as_bytes());
            let Some(skipped) = skipped.first() else {
                assert!(reason.is_empty() && ids == [1], "{to}");
                continue;
            };
            assert!(skipped.1.contains(reason) && !reason.is_empty(), "{skipped:?}");
        }
        assert_eq!(read(b"\xff\n").1[0].0, 1);
    }

    #[test]
    fn files_are_those_of_months_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["2026-10/b.jsonl", "2026-10/a.jsonl", "2026-09/b.jsonl", "live/x.jsonl"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(dir.path().join("2026-10/b.json"), "").unwrap();
        let files = ledger_files(dir.path()).unwrap();
        let names: Vec<_> =
            files.iter().map(|f| f.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["2026-09/b.jsonl", "2026-10/a.jsonl", "2026-10/b.jsonl"]);
    }
}
