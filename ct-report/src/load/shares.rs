//! The lines of the nodes a job ran on, from the ledger.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry};

use crate::job::Run;
use crate::job::share::NodeShare;

/// What the nodes of a run drew and whose that was, as far as the ledger has lines of them.
///
/// Only files named after the run's nodes are read. Jobs' lines were read before, and what could not
/// be read is noted then.
pub(crate) fn read_share(dir: &Path, run: &Run) -> NodeShare {
    let mut share = NodeShare::default();
    for file in files(dir, run) {
        let Ok(open) = File::open(&file) else { continue };
        for entry in Entries::new(BufReader::new(open)) {
            match entry {
                Ok(Entry::Node(line)) if line.cluster == run.head().cluster => {
                    if line.start <= run.end() && line.end >= run.start() {
                        share.add(&line, run.head().job_id, run.head().restart);
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    share
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
