//! Appends records to the ledger: one write of one line, then fdatasync.
//!
//! A line is there once, whatever happened before: whether an earlier attempt was written, by this life
//! of the daemon or one before it, is looked up at the end of the file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::reader::is_month;

/// The file of a month and node below the ledger's directory: `2026-11/n1.jsonl`.
pub fn file_path(dir: &Path, node: &str, end: DateTime<Utc>) -> PathBuf {
    dir.join(end.format("%Y-%m").to_string()).join(format!("{node}.jsonl"))
}

/// Part of a file's end in which a line is looked for; some hundred lines.
const TAIL: u64 = 256 * 1024;

/// What two lines of one node's file have in common if they are of the same job or span.
#[derive(Debug, Deserialize)]
struct Identity {
    kind: String,
    job_id: Option<u32>,
    restart: Option<u32>,
    start: String,
    end: String,
}

impl Identity {
    fn is_same(&self, other: &Self) -> bool {
        // Of a job that was closed twice the ends may differ, and it is one job all the same.
        let is_job = self.job_id.is_some();
        (&self.kind, self.job_id, self.restart) == (&other.kind, other.job_id, other.restart)
            && self.start == other.start
            && (is_job || self.end == other.end)
    }
}

/// Appends `line`, newline included, to the file of its month and node, unless it is there.
///
/// A file whose last line was torn (a crash, a full disk) is given a newline first, so that the
/// torn line stays one line and this one is whole.
///
/// # Errors
///
/// What the file system says; the line may then be missing or torn, and is to be appended again.
pub fn append(dir: &Path, node: &str, end: DateTime<Utc>, line: &str) -> io::Result<()> {
    let path = file_path(dir, node, end);
    if let Some(month) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(month)?;
    }
    let mut file =
        OpenOptions::new().create(true).append(true).read(true).mode(0o640).open(&path)?;
    let tail = tail(&file)?;
    let mut text = String::with_capacity(line.len() + 1);
    if tail.last().is_some_and(|last| *last != b'\n') {
        text.push('\n');
    }
    // One written before is perhaps not down on the disk, or lacks but its newline.
    if !has_line(&tail, line) {
        text.push_str(line);
    }
    if file.write(text.as_bytes())? != text.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the line was written in part"));
    }
    file.sync_data()
}

/// Whether some file of a node has a line of a run of a job, from the month of one instant to that of
/// another.
///
/// The whole files are read: this is for the rare line of which nothing else says whether it is new.
///
/// # Errors
///
/// What the file system says, but that there is no such file yet.
pub fn has_run(
    dir: &Path,
    node: &str,
    span: &RangeInclusive<DateTime<Utc>>,
    job_id: u32,
    restart: u32,
) -> io::Result<bool> {
    let name = format!("{node}.jsonl");
    for month in months(dir, span)? {
        if file_has_run(&month.join(&name), job_id, restart)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The months of a span that there are.
fn months(dir: &Path, span: &RangeInclusive<DateTime<Utc>>) -> io::Result<Vec<PathBuf>> {
    let month = |at: &DateTime<Utc>| at.format("%Y-%m").to_string();
    // Their names are in the order of their time.
    let wanted = month(span.start())..=month(span.end());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_wanted = |name: &str| is_month(name.as_bytes()) && wanted.contains(&name.to_owned());
        if entry.file_name().to_str().is_some_and(is_wanted) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn file_has_run(path: &Path, job_id: u32, restart: u32) -> io::Result<bool> {
    let file = match fs::File::open(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        file => BufReader::new(file?),
    };
    let id = format!("\"job_id\":{job_id},");
    for line in file.split(b'\n') {
        let line = line?;
        let is_of_job = memchr::memmem::find(&line, id.as_bytes()).is_some();
        let of_run = |seen: Identity| (seen.job_id, seen.restart) == (Some(job_id), Some(restart));
        if is_of_job && serde_json::from_slice(&line).is_ok_and(of_run) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn tail(file: &fs::File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.size();
    let from = len.saturating_sub(TAIL);
    let mut tail = vec![0; usize::try_from(len - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from)?;
    Ok(tail)
}

/// Whether a line of the same job or span is there, whole but perhaps for its newline.
fn has_line(tail: &[u8], line: &str) -> bool {
    let Ok(wanted) = serde_json::from_str::<Identity>(line) else { return false };
    // Most lines are told apart without reading them as JSON.
    let start = memchr::memmem::Finder::new(wanted.start.as_bytes());
    tail.split(|b| *b == b'\n').any(|l| {
        start.find(l).is_some()
            && serde_json::from_slice(l).is_ok_and(|seen: Identity| seen.is_same(&wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_by_month_and_a_torn_one_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let end = "2026-11-30T23:59:59.999Z".parse().unwrap();
        append(dir.path(), "n1", end, "{\"a\":1}\n").unwrap();
        let path = dir.path().join("2026-11/n1.jsonl");
        fs::write(&path, "{\"a\":1}\n{\"torn").unwrap();
        append(dir.path(), "n1", end, "{\"b\":2}\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "{\"a\":1}\n{\"torn\n{\"b\":2}\n");
    }

    #[test]
    fn a_line_that_is_there_is_not_written_twice_and_one_that_is_torn_is() {
        let dir = tempfile::tempdir().unwrap();
        let end = "2026-11-30T23:59:59.999Z".parse().unwrap();
        let line = |job_id: u32, restart: u32, more: &str| {
            format!(
                "{{\"kind\":\"job\",\"job_id\":{job_id},\"restart\":{restart},\
                 \"start\":\"2026-11-30T10:00:00.000Z\",\"end\":\"\",\"more\":\"{more}\"}}\n"
            )
        };
        let append = |line: &str| append(dir.path(), "n1", end, line).unwrap();
        append(&line(1, 0, "as told at first"));
        append(&line(1, 0, "as told again"));
        append(&line(1, 1, ""));
        append(&line(2, 0, ""));
        let span = end..=end;
        let has = |job_id, restart| has_run(dir.path(), "n1", &span, job_id, restart).unwrap();
        assert!(has(1, 0) && has(1, 1) && has(2, 0));
        assert!(!has(1, 2) && !has(3, 0));
        assert!(!has_run(dir.path(), "n2", &span, 1, 0).unwrap(), "of another node");
        // What else lies between two months by its name holds nothing up.
        fs::write(dir.path().join("2026-11.tar.gz"), "").unwrap();
        fs::write(dir.path().join("2026-12"), "").unwrap();
        let over_the_turn = end..=end + chrono::TimeDelta::days(1);
        assert!(has_run(dir.path(), "n1", &over_the_turn, 1, 0).unwrap());
        assert!(!has_run(dir.path(), "n1", &over_the_turn, 3, 0).unwrap());
        fs::remove_file(dir.path().join("2026-12")).unwrap();
        let path = dir.path().join("2026-11/n1.jsonl");
        let whole = line(1, 0, "as told at first") + &line(1, 1, "") + &line(2, 0, "");
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        // Cut off at every byte of its last line, the file gets that line back, and nothing else.
        let last = line(2, 0, "");
        for cut in 1..=last.len() {
            let torn = &whole[..whole.len() - cut];
            fs::write(&path, torn).unwrap();
            append(&last);
            let expected = match cut {
                1 => whole.clone(),
                _ if torn.ends_with('\n') => whole.clone(),
                _ => format!("{torn}\n{last}"),
            };
            assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{cut} bytes cut off");
        }
    }

    #[test]
    fn a_run_is_found_in_every_month_in_which_it_may_have_been_closed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let line = "{\"kind\":\"job\",\"job_id\":7,\"restart\":0,\"start\":\"\",\"end\":\"\"}\n";
        append(dir.path(), "n1", at("2026-12-01T00:00:20Z"), line).unwrap();
        fs::create_dir(dir.path().join("live")).unwrap();
        let has = |from: &str, until: &str| {
            has_run(dir.path(), "n1", &(at(from)..=at(until)), 7, 0).unwrap()
        };
        // Told of in December with an end in November, it was found gone and closed in December.
        assert!(has("2026-11-30T23:59:50Z", "2026-12-01T00:01:00Z"));
        assert!(has("2026-12-01T00:00:00Z", "2027-02-01T00:00:00Z"));
        assert!(!has("2026-10-01T00:00:00Z", "2026-11-30T23:59:59Z"));
        assert!(!has("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"));
        let none = dir.path().join("none");
        let span = at("2026-11-01T00:00:00Z")..=at("2026-12-01T00:00:00Z");
        assert!(!has_run(&none, "n1", &span, 7, 0).unwrap());
    }
}
