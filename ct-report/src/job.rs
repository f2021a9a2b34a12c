//! One job as its records tell it: its runs, each with the nodes it ran on.
//!
//! Records come in from `load`, in any order; [`Run`]s go out, and what can be said of them is in
//! `hours`, `notes` and `summary`. Knows no file and no format.

pub(crate) mod beside;
pub(crate) mod hours;
pub(crate) mod notes;
pub(crate) mod share;
pub(crate) mod summary;
#[cfg(test)]
pub(crate) mod tests;

use chrono::{DateTime, Utc};
use ct_core::record::{Epochs, Prediction, Record};

use crate::aggregate::{Sums, sum};

/// One run of a job: between two restarts, on all its nodes.
#[derive(Debug)]
pub(crate) struct Run {
    /// The record of each node that is known, in the order of the nodes' names; never empty.
    records: Vec<Record>,
    /// What they add up to.
    pub(crate) sums: Sums,
}

impl Run {
    fn new(mut records: Vec<Record>) -> Self {
        records.sort_by(|a, b| a.node.cmp(&b.node));
        let sums = sum(&records);
        Self { records, sums }
    }

    /// The records, in the order of the nodes' names.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The record that speaks for the job: that of its first node where it is known.
    pub(crate) fn head(&self) -> &Record {
        let is_first =
            |r: &&Record| r.epochs.is_some() || r.job_total.is_some() || r.prediction.is_some();
        // A run is made of one record or more.
        self.records.iter().find(is_first).unwrap_or(&self.records[0])
    }

    /// First instant covered on any node.
    pub(crate) fn start(&self) -> DateTime<Utc> {
        self.records.iter().map(|r| r.start).min().unwrap_or_default()
    }

    /// Last instant covered on any node.
    pub(crate) fn end(&self) -> DateTime<Utc> {
        self.records.iter().map(|r| r.end).max().unwrap_or_default()
    }

    /// Time on the node that took longest, in seconds.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.records.iter().map(|r| r.elapsed_s).fold(0.0, f64::max)
    }

    /// Nodes the job had of which no record is known.
    pub(crate) fn n_missing(&self) -> usize {
        (self.head().n_nodes as usize).saturating_sub(self.records.len())
    }

    /// Epochs, where some were declared or marked.
    pub(crate) fn epochs(&self) -> Option<&Epochs> {
        self.head().epochs.as_ref()
    }

    /// The last prediction.
    pub(crate) fn prediction(&self) -> Option<&Prediction> {
        self.head().prediction.as_ref()
    }

    /// Whether a record may be of this run: the same job and restart, on another node, at a time
    /// that touches.
    fn takes(&self, record: &Record) -> bool {
        let head = &self.records[0];
        let is_same = (&head.cluster, head.job_id, head.restart)
            == (&record.cluster, record.job_id, record.restart);
        is_same
            && self.records.iter().all(|own| own.node != record.node)
            && record.start <= self.end()
            && record.end >= self.start()
    }
}

/// The runs that records are of, the earliest first.
///
/// Slurm gives an id again once its numbers are used up, so runs of one id are told apart by time.
pub(crate) fn runs(mut records: Vec<Record>) -> Vec<Run> {
    records.sort_by(|a, b| (a.start, a.restart, &a.node).cmp(&(b.start, b.restart, &b.node)));
    let mut runs: Vec<Run> = Vec::new();
    for record in records {
        match runs.iter_mut().find(|run| run.takes(&record)) {
            Some(run) => run.records.push(record),
            None => runs.push(Run { records: vec![record], sums: Sums::default() }),
        }
    }
    runs.into_iter().map(|run| Run::new(run.records)).collect()
}

/// The job's id as Slurm shows it: `42`, `42_7` of an array, `42+1` of a heterogeneous job.
pub(crate) fn shown_id(record: &Record) -> String {
    match (record.array_job_id, record.array_task_id, record.het_job_id) {
        (Some(array), Some(task), _) => format!("{array}_{task}"),
        (_, _, Some(het)) if record.job_id >= het => format!("{het}+{}", record.job_id - het),
        _ => record.job_id.to_string(),
    }
}

/// The id of a run as logs are named by it: `42.1` after one restart.
pub(crate) fn run_id(record: &Record) -> String {
    format!("{}.{}", shown_id(record), record.restart)
}

/// Whether records are of one job, whatever its restarts.
pub(crate) fn is_one_job(runs: &[Run]) -> bool {
    let key = |run: &Run| (run.head().cluster.clone(), run.head().job_id, run.head().user.clone());
    runs.windows(2).all(|pair| key(&pair[0]) == key(&pair[1]))
}
