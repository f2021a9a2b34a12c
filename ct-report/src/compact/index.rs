//! All lines of a month: where each stands, and in which order they go into the tables.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry};
use ct_core::log::parser::Skipped;
use ct_core::record::{NodeRecord, Record};

use super::tables::{job_rows, node_row};
use crate::dataset::Source;
use crate::diagnostic::Outcome;

/// How long a month waits for the records of jobs that its nodes were last seen with.
const WAIT: TimeDelta = TimeDelta::days(31);

/// What identifies a line, and how lines are sorted: a node's own before those of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    is_job: bool,
    node: u32,
    start_ms: i64,
    job_id: u32,
    restart: u32,
}

/// A line and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    id: Id,
    file: u32,
    from: u64,
    bytes: u32,
}

/// The lines of a month.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: Vec<PathBuf>,
    /// Cluster and name of each node, in the order in which they came up.
    nodes: Vec<(String, String)>,
    numbers: HashMap<(String, String), u32>,
    places: Vec<Place>,
}

impl Index {
    /// Reads the lines of a file; those that came before are copies of these.
    ///
    /// # Errors
    ///
    /// A file that cannot be read.
    pub(super) fn read(
        &mut self,
        path: &Path,
        month: &str,
        outcome: &mut Outcome,
    ) -> Result<Source> {
        let named = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(named)?;
        let number = u32::try_from(self.files.len())?;
        self.files.push(path.to_owned());
        let mut entries = Entries::new(BufReader::with_capacity(1 << 17, file));
        let mut source = Source { bytes: 0, skipped: 0 };
        while let Some(entry) = entries.next() {
            let span = entries.span();
            let taken = match entry.with_context(named)? {
                Entry::Job(record) => {
                    job_id(&record, month).map(|id| Some((id, record_of(&record))))
                }
                Entry::Node(node) => node_id(&node, month).map(|id| Some((id, node_of(&node)))),
                Entry::Other => Ok(None),
                Entry::Skipped(skipped) => Err(skipped.reason.into_owned()),
            };
            match taken {
                Ok(None) => {}
                Ok(Some((id, (cluster, node)))) => {
                    let id = Id { node: self.number(cluster, node)?, ..id };
                    let bytes = u32::try_from(span.end - span.start)?;
                    self.places.push(Place { id, file: number, from: span.start, bytes });
                }
                Err(reason) => {
                    source.skipped += 1;
                    outcome.skip(path, &Skipped { line: entries.line(), reason: reason.into() });
                }
            }
        }
        source.bytes = entries.span().end;
        Ok(source)
    }

    fn number(&mut self, cluster: String, node: String) -> Result<u32> {
        let id = (cluster, node);
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = u32::try_from(self.nodes.len())?;
        self.nodes.push(id.clone());
        self.numbers.insert(id, number);
        Ok(number)
    }

    /// Puts the lines in order, by cluster and node, and lets copies go: the first stays.
    pub(super) fn settle(&mut self) {
        let mut order: Vec<u32> = (0..).take(self.nodes.len()).collect();
        order.sort_by_key(|number| &self.nodes[*number as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0_u32..).zip(&order) {
            ranks[*number as usize] = rank;
        }
        for place in &mut self.places {
            place.id.node = ranks[place.id.node as usize];
        }
        self.nodes.sort();
        self.numbers.clear();
        let cluster = |place: &Place| &self.nodes[place.id.node as usize].0;
        self.places.sort_unstable_by(|a, b| cluster(a).cmp(cluster(b)).then_with(|| a.cmp(b)));
        self.places.dedup_by(|later, first| later.id == first.id);
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Gives the lines to `take`, in order, with the cluster of each.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; those of `take`.
    pub(super) fn each(&self, mut take: impl FnMut(&str, &str) -> Result<()>) -> Result<()> {
        let mut open: HashMap<u32, File> = HashMap::new();
        let mut line = Vec::new();
        for place in &self.places {
            let path = &self.files[place.file as usize];
            let named = || format!("cannot read {}", path.display());
            if !open.contains_key(&place.file) {
                // A month has as many files as there are nodes: not all are kept open.
                open.clear();
                open.insert(place.file, File::open(path).with_context(named)?);
            }
            line.resize(place.bytes as usize, 0);
            if let Some(file) = open.get(&place.file) {
                file.read_exact_at(&mut line, place.from).with_context(named)?;
            }
            let text = std::str::from_utf8(line.trim_ascii()).with_context(named)?;
            take(&self.nodes[place.id.node as usize].0, text)?;
        }
        Ok(())
    }
}

fn record_of(record: &Record) -> (String, String) {
    (record.cluster.clone(), record.node.clone())
}

fn node_of(node: &NodeRecord) -> (String, String) {
    (node.cluster.clone(), node.node.clone())
}

/// The identity of a record that fits the tables.
fn job_id(record: &Record, month: &str) -> Result<Id, String> {
    is_of(record.end, month)?;
    job_rows(record, "")?;
    let start_ms = record.start.timestamp_millis();
    Ok(Id { is_job: true, node: 0, start_ms, job_id: record.job_id, restart: record.restart })
}

/// The identity of a node's line that fits the tables.
fn node_id(node: &NodeRecord, month: &str) -> Result<Id, String> {
    // Earlier versions filed a line by its end, which may be the first instant of a month.
    is_of(node.start, month).or_else(|reason| is_of(node.end, month).map_err(|_| reason))?;
    node_row(node, "", "")?;
    let start_ms = node.start.timestamp_millis();
    Ok(Id { is_job: false, node: 0, start_ms, job_id: 0, restart: 0 })
}

/// A copy in another month's directory would be in the dataset twice.
fn is_of(end: DateTime<Utc>, month: &str) -> Result<(), String> {
    let own = end.format("%Y-%m").to_string();
    if own == month {
        return Ok(());
    }
    Err(format!("it is of {own}, expected a line of {month}: move it there"))
}

/// Whether a month is over and no record of it is still to come; else why not.
///
/// # Errors
///
/// A file that cannot be read.
pub(crate) fn is_closed(
    ledger: &Path,
    month: &str,
    now: DateTime<Utc>,
) -> Result<Result<(), String>> {
    let first = NaiveDate::parse_from_str(&format!("{month}-01"), "%Y-%m-%d");
    let first = first.with_context(|| format!("month is {month:?}, expected YYYY-MM"))?;
    let next = first.checked_add_months(Months::new(1)).context("a month of another age")?;
    let today = now.date_naive();
    if (today.year(), today.month()) < (next.year(), next.month()) {
        return Ok(Err("it is not over".to_owned()));
    }
    if today - next > WAIT {
        return Ok(Ok(()));
    }
    for file in ledger_files_of(ledger, month)? {
        if let Some(open) = open_job(ledger, &file, month)? {
            return Ok(Err(open));
        }
    }
    Ok(Ok(()))
}

/// The job, if any, with which a node was last seen in a month, and which has no record in it.
fn open_job(ledger: &Path, file: &Path, month: &str) -> Result<Option<String>> {
    let name = file.file_name().unwrap_or_default();
    // A node that went on has charged the job in a later month, and its record will be there.
    for later in months_of(ledger)? {
        if later.as_str() > month && ledger.join(&later).join(name).is_file() {
            return Ok(None);
        }
    }
    let named = || format!("cannot read {}", file.display());
    let entries = Entries::new(BufReader::new(File::open(file).with_context(named)?));
    let (mut last, mut runs) = (None::<NodeRecord>, Vec::new());
    for entry in entries {
        match entry.with_context(named)? {
            Entry::Node(node) if last.as_ref().is_none_or(|last| last.end < node.end) => {
                last = Some(*node);
            }
            Entry::Job(record) => runs.push((record.job_id, record.restart)),
            _ => {}
        }
    }
    let charges = last.map(|last| last.jobs).unwrap_or_default();
    let open = charges.iter().find(|charge| !runs.contains(&(charge.0, charge.1)));
    Ok(open.map(|charge| {
        let node = file.file_stem().unwrap_or_default().to_string_lossy();
        format!("job {} on {node} has no record yet", charge.0)
    }))
}

/// The months of a ledger, in order.
pub(crate) fn months_of(ledger: &Path) -> Result<Vec<String>> {
    let named = || format!("cannot read ledger {}", ledger.display());
    let mut months = Vec::new();
    for entry in fs::read_dir(ledger).with_context(named)? {
        let name = entry.with_context(named)?.file_name().to_string_lossy().into_owned();
        let is_shaped = name.len() == 7
            && name.bytes().enumerate().all(
                |(at, b)| {
                    if at == 4 { b == b'-' } else { b.is_ascii_digit() }
                },
            );
        if is_shaped {
            months.push(name);
        }
    }
    months.sort();
    Ok(months)
}

/// The files of a month, in order; those that an interrupted `--prune` set aside come first.
pub(super) fn ledger_files_of(ledger: &Path, month: &str) -> Result<Vec<PathBuf>> {
    let dir = ledger.join(month);
    let named = || format!("cannot read {}", dir.display());
    let mut files = Vec::new();
    if !dir.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(&dir).with_context(named)? {
        let path = entry.with_context(named)?.path();
        let is_ours = path.extension().is_some_and(|e| e == "jsonl" || e == super::prune::ASIDE);
        if is_ours && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| (path.extension().is_some_and(|e| e == "jsonl"), path.clone()));
    Ok(files)
}
