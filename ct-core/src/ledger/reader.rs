//! Reads the ledger back: `DIR/<YYYY-MM>/<node>.jsonl`, one record a line.
//!
//! A reader takes what it can: a torn last line, a line of a later form or plain garbage is
//! reported as [`Skipped`] and the lines after it are read. What a record cannot say is in
//! `check`. Knows nothing of who asks for what.

mod briefs;
mod check;
mod lines;

pub use briefs::{BriefEntry, Briefs, parse_brief};

use std::fs::{self, DirEntry};
use std::io::{self, BufRead};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::lines::Lines;
use crate::log::parser::Skipped;
use crate::record::{Brief, NodeRecord, Record, VERSION};

/// How our writer begins a job's line: such a line need not be searched for its kind.
const JOB_PREFIX: &str = "{\"v\":1,\"kind\":\"job\",";

/// How our writer begins a node's line.
const NODE_PREFIX: &str = "{\"v\":1,\"kind\":\"node\",";

/// One line of the ledger.
#[derive(Debug)]
pub enum Entry {
    /// A job's record.
    Job(Box<Record>),
    /// A node's line.
    Node(Box<NodeRecord>),
    /// A line of a kind that is not asked for, or not known.
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
            let file = file?;
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") && is_file(&file)? {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether it is a file, or leads to one. The directory tells, but of links.
fn is_file(entry: &DirEntry) -> io::Result<bool> {
    let kind = entry.file_type()?;
    Ok(kind.is_file() || kind.is_symlink() && entry.path().is_file())
}

pub(super) fn is_month(name: &[u8]) -> bool {
    let is_shaped = |(at, b): (usize, &u8)| if at == 4 { *b == b'-' } else { b.is_ascii_digit() };
    name.len() == 7 && name.iter().enumerate().all(is_shaped)
}

/// The lines of one ledger file.
#[derive(Debug)]
pub struct Entries<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Entries<R> {
    /// Reads jobs' and nodes' lines from `input`.
    pub fn new(input: R) -> Self {
        Self { lines: Lines::new(input) }
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> usize {
        self.lines.number()
    }

    /// Bytes of the input that the line that was read last takes up, its newline included.
    pub fn span(&self) -> Range<u64> {
        self.lines.span()
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.advance() {
            Err(error) => Some(Err(error)),
            Ok(false) => None,
            Ok(true) => Some(Ok(parse_entry(self.lines.text())
                .unwrap_or_else(|error| Entry::Skipped(self.lines.skipped(&error))))),
        }
    }
}

/// Reads one line of a ledger, or a `…_carbontracker.json` file; `None` is a line of another kind.
///
/// # Errors
///
/// What is no record of this version, or says what no record can.
pub fn parse_record(bytes: &[u8]) -> Result<Option<Record>, ParseRecordError> {
    match parse(bytes, false)? {
        Entry::Job(record) => Ok(Some(*record)),
        _ => Ok(None),
    }
}

/// Reads one line of a ledger: a job's, a node's or another.
///
/// # Errors
///
/// What is no record of this version, or says what no record can.
pub fn parse_entry(bytes: &[u8]) -> Result<Entry, ParseRecordError> {
    parse(bytes, true)
}

fn parse(bytes: &[u8], has_nodes: bool) -> Result<Entry, ParseRecordError> {
    let text = std::str::from_utf8(bytes)?;
    match kind_of(text)? {
        (Kind::Job, VERSION) => {
            let record: Record = serde_json::from_str(text)?;
            check::record(&Brief::from(&record)).map_err(ParseRecordError::Value)?;
            Ok(Entry::Job(Box::new(record)))
        }
        (Kind::Node, VERSION) if has_nodes => {
            let record: NodeRecord = serde_json::from_str(text)?;
            check::node(&record).map_err(ParseRecordError::Value)?;
            Ok(Entry::Node(Box::new(record)))
        }
        (Kind::Job, v) => Err(ParseRecordError::Version(v)),
        (Kind::Node, v) if has_nodes => Err(ParseRecordError::Version(v)),
        (Kind::Node | Kind::Other, _) => Ok(Entry::Other),
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

enum Kind {
    Job,
    Node,
    Other,
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    #[serde(default, borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
}

/// Kind and version of a line; without a kind it is a job's.
fn kind_of(text: &str) -> Result<(Kind, u32), serde_json::Error> {
    if text.starts_with(JOB_PREFIX) {
        return Ok((Kind::Job, VERSION));
    }
    let head: Head<'_> = serde_json::from_str(text)?;
    let kind = match head.kind.as_deref() {
        None | Some("job") => Kind::Job,
        Some("node") => Kind::Node,
        Some(_) => Kind::Other,
    };
    Ok((kind, head.v))
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
        let mut briefs = Briefs::new(bytes);
        while let Some(entry) = briefs.read_next().unwrap() {
            match entry {
                BriefEntry::Job { brief, .. } => ids.push(brief.job_id),
                BriefEntry::Other => {}
                BriefEntry::Skipped(s) => skipped.push((s.line, s.reason.into_owned())),
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
    fn lines_say_which_bytes_they_are() {
        let text = record(1) + "\n \ntorn";
        let mut entries = Entries::new(text.as_bytes());
        let mut spans = Vec::new();
        while entries.next().is_some() {
            let span = entries.span();
            spans.push(&text[span.start as usize..span.end as usize]);
        }
        assert_eq!(spans, [record(1).as_str(), "torn"]);
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
    fn a_record_is_read_alike_with_and_without_the_writers_prefix() {
        let line = record(1);
        let prefixed = line.replacen("{\"v\":1,", JOB_PREFIX, 1);
        assert_ne!(line, prefixed);
        let read = |line: &str| parse_record(line.trim_end().as_bytes()).unwrap().unwrap();
        assert_eq!(read(&line), read(&prefixed));
        assert!(read(&prefixed).to_line().unwrap().starts_with(JOB_PREFIX));
    }

    #[test]
    fn lines_of_nodes_are_passed_over_where_jobs_are_asked_for() {
        let node = check::tests::node().to_line().unwrap();
        assert!(node.starts_with(NODE_PREFIX), "{node}");
        let both = node.clone() + &record(7) + &node.replace("\"v\":1", "\"v\":2");
        assert_eq!(read(both.as_bytes()), (vec![7], vec![]));
        let mut all = Entries::new(both.as_bytes()).map(Result::unwrap);
        let Some(Entry::Node(read)) = all.next() else { panic!("no node line") };
        assert_eq!(*read, check::tests::node());
        assert!(matches!(all.next(), Some(Entry::Job(_))));
        let Some(Entry::Skipped(skipped)) = all.next() else { panic!("a later form was read") };
        assert_eq!((skipped.line, &*skipped.reason), (3, "\"v\" is 2, expected 1"));
        // A torn one is not taken for whole.
        let torn = &node.as_bytes()[..node.len() / 2];
        assert_eq!(self::read(torn).1.len(), 1);
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
