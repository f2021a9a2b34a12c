//! The lines of the nodes a job ran on, from the ledger.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
#[cfg(feature = "parquet")]
use ct_core::ledger::reader::parse_entry;
use ct_core::ledger::reader::{Entries, Entry};

#[cfg(feature = "parquet")]
use crate::dataset::Table;
use crate::job::Run;
use crate::job::share::NodeShare;
use crate::load::pieces::Ledger;

/// What the nodes of a run drew and whose that was, as far as the ledger has lines of them.
///
/// Only files named after the run's nodes are read, and their rows of the dataset. Jobs' lines were
/// read before, and what could not be read is noted then.
pub(crate) fn read_share(ledger: &Ledger, run: &Run) -> NodeShare {
    let mut share = NodeShare::default();
    let mut seen = HashSet::new();
    let mut add = |entry: Entry| {
        let Entry::Node(line) = entry else { return };
        let is_of_run = line.cluster == run.head().cluster
            && line.start <= run.end()
            && line.end >= run.start();
        if is_of_run && seen.insert((line.node.clone(), line.start)) {
            share.add(&line, run.head().job_id, run.head().restart);
        }
    };
    #[cfg(feature = "parquet")]
    add_rows(ledger, run, &mut add);
    for file in files(&ledger.dir, run) {
        let Ok(open) = File::open(&file) else { continue };
        Entries::new(BufReader::new(open)).map_while(Result::ok).for_each(&mut add);
    }
    share
}

/// Gives the rows of the run's nodes in the months it ran in to `add`.
#[cfg(feature = "parquet")]
fn add_rows(ledger: &Ledger, run: &Run, add: &mut impl FnMut(Entry)) {
    let nodes: HashSet<&str> = run.records().iter().map(|record| record.node.as_str()).collect();
    for month in months(run.start(), run.end() + TimeDelta::hours(1)) {
        let Ok(list) = ledger.dataset.month(&month) else { continue };
        for file in list.of_table(Table::Nodes) {
            let rows = super::compacted::rows(&ledger.dataset.path(file)).unwrap_or_default();
            for rows in rows.iter().filter(|rows| nodes.contains(rows.node())) {
                // As with files, what came before an error counts.
                let _ = rows.each_line(|_, text| {
                    if let Ok(entry) = parse_entry(text.as_bytes()) {
                        add(entry);
                    }
                });
            }
        }
    }
}

/// The files that may hold lines of a run's nodes: those of the months it ran in, and of the one the
/// hour of its end ended in.
fn files(dir: &Path, run: &Run) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for record in run.records().iter().filter(|record| is_file_name(&record.node)) {
        for month in months(record.start, record.end + TimeDelta::hours(1)) {
            files.insert(dir.join(month).join(format!("{}.jsonl", record.node)));
        }
    }
    files
}

/// A record beside a log is a user's own file: the node it names is not to lead elsewhere.
fn is_file_name(node: &str) -> bool {
    !node.is_empty() && !node.contains(['/', '\0'])
}

fn months(from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeSet<String> {
    let n_days = (to - from).num_days().clamp(0, 3660);
    let days = (0..=n_days).map(|day| from + TimeDelta::days(day)).chain([to]);
    days.map(|day| day.format("%Y-%m").to_string()).collect()
}
