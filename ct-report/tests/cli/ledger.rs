//! Writes ledgers for tests, as ct-noded does.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::energy::{ByComponent, HourEnergy};
use ct_core::ledger::writer;
use ct_core::record::{JobCharge, NodeRecord, Record, VERSION};
use ct_core::units::Microjoules;
use tempfile::TempDir;

/// A ledger in a directory of its own.
pub(crate) struct Ledger {
    dir: TempDir,
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(crate) fn cpu(uj: u64) -> ByComponent<Microjoules> {
    ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() }
}

/// A line of `node` that charges jobs 1 µJ and so on, the system 1 µJ and nobody 2 µJ.
pub(crate) fn line(node: &str, start: &str, end: &str, jobs: &[(u32, u64)]) -> NodeRecord {
    let (start, end) = (at(start), at(end));
    let of_jobs: u64 = jobs.iter().map(|(_, uj)| uj).sum();
    NodeRecord {
        v: VERSION,
        kind: "node".to_owned(),
        cluster: "lab".to_owned(),
        node: node.to_owned(),
        start,
        end,
        elapsed_s: (end - start).as_seconds_f64(),
        meter_j: cpu(of_jobs + 3),
        jobs_j: cpu(of_jobs),
        system_j: cpu(1),
        unallocated_j: cpu(2),
        idle_j: cpu(0),
        jobs: jobs.iter().map(|(id, uj)| JobCharge(*id, 0, Microjoules::new(*uj))).collect(),
        baseline: [].into(),
        gap_s: 0.0,
        method: [].into(),
        attribution: "hybrid".to_owned(),
        warnings: Vec::new(),
        version: None,
    }
}

/// The record of a job that begins and ends on full hours or within; `hours` is its energy in each
/// hour from the first one on.
pub(crate) fn record(node: &str, job: u32, start: &str, end: &str, hours: &[u64]) -> Record {
    let (start, end) = (at(start), at(end));
    let fixture = include_str!("../fixtures/ledger/v1/2026-10/n1.jsonl").lines().next().unwrap();
    let first = at(&start.format("%Y-%m-%dT%H:00:00Z").to_string());
    let hour = |(n, uj): (i64, &u64)| {
        let zero = Microjoules::ZERO;
        HourEnergy(first + TimeDelta::hours(n), Microjoules::new(*uj), zero, zero, zero)
    };
    Record {
        job_id: job,
        node: node.to_owned(),
        start,
        end,
        elapsed_s: (end - start).as_seconds_f64(),
        energy_j: cpu(hours.iter().sum()),
        energy_by_hour: (0..).zip(hours).map(hour).collect(),
        ..serde_json::from_str(fixture).unwrap()
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Where it lies: its name there is `ledger`.
    pub(crate) fn base(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    pub(crate) fn write(&self, lines: &[NodeRecord], records: &[Record]) -> &Self {
        for line in lines {
            let text = line.to_line().unwrap();
            writer::append(&self.dir(), &line.node, line.end, &text).unwrap();
        }
        for record in records {
            let text = record.to_line().unwrap();
            writer::append(&self.dir(), &record.node, record.end, &text).unwrap();
        }
        self
    }
}
