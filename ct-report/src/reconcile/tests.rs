//! The books as a law: whatever ran, what ct-noded writes balances, and what is taken away shows.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::energy::{ByComponent, HourEnergy};
use ct_core::ledger::writer::file_path;
use ct_core::record::{JobCharge, NodeRecord, Record, VERSION};
use ct_core::units::Microjoules;
use proptest::prelude::*;

use super::{Key, Rows};
use crate::diagnostic::Outcome;
use crate::load::nodes::{Books, NodeQuery, fold_books};
use crate::load::pieces::Ledger;
use crate::query::Query;

/// Time goes in steps of ten minutes.
const STEPS_PER_HOUR: usize = 6;

/// A job of the test: its first step, how many it takes, and what it draws in each.
#[derive(Clone, Debug)]
struct Job {
    first: usize,
    steps: Vec<u64>,
}

fn step_at(step: usize) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-09-30T20:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(10 * i64::try_from(step).unwrap())
}

fn cpu(uj: u64) -> ByComponent<Microjoules> {
    ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() }
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let steps = proptest::collection::vec(prop_oneof![Just(0), 1_u64..1 << 50], 1..40);
    let job = (0_usize..60, steps).prop_map(|(first, steps)| Job { first, steps });
    proptest::collection::vec(job, 1..12)
}

impl Job {
    fn uj_at(&self, step: usize) -> Option<u64> {
        self.steps.get(step.checked_sub(self.first)?).copied()
    }

    fn end(&self) -> usize {
        self.first + self.steps.len()
    }

    fn record(&self, id: u32) -> Record {
        let fixture = include_str!("../../tests/fixtures/ledger/v1/2026-10/n1.jsonl");
        let mut hours: BTreeMap<DateTime<Utc>, u64> = BTreeMap::new();
        for step in self.first..self.end() {
            let hour = step_at(step - step % STEPS_PER_HOUR);
            *hours.entry(hour).or_default() += self.uj_at(step).unwrap();
        }
        let zero = Microjoules::ZERO;
        let hour = |(h, uj)| HourEnergy(h, Microjoules::new(uj), zero, zero, zero);
        Record {
            job_id: id,
            start: step_at(self.first),
            end: step_at(self.end()),
            energy_j: cpu(self.steps.iter().sum()),
            energy_by_hour: hours.into_iter().map(hour).collect(),
            ..serde_json::from_str(fixture.lines().next().unwrap()).unwrap()
        }
    }
}

/// The node's lines up to a step: one ends at every full hour, and one where the last job ends.
fn lines(jobs: &[Job], end: usize) -> Vec<NodeRecord> {
    let is_busy = |step: usize| jobs.iter().any(|job| job.uj_at(step).is_some());
    let mut lines = Vec::new();
    let mut first = 0;
    for step in 0..end {
        let next = step + 1;
        if next % STEPS_PER_HOUR == 0 || next == end || (is_busy(step) && !is_busy(next)) {
            lines.push(line(jobs, first, next));
            first = next;
        }
    }
    lines
}

fn line(jobs: &[Job], first: usize, end: usize) -> NodeRecord {
    let charge = |(id, job): (u32, &Job)| {
        let mut steps = (first..end).filter_map(|step| job.uj_at(step)).peekable();
        steps.peek()?;
        Some(JobCharge(id, 0, Microjoules::new(steps.sum())))
    };
    let charges: Vec<_> = (1..).zip(jobs).filter_map(charge).collect();
    let of_jobs: u64 = charges.iter().map(|charge| charge.2.as_u64()).sum();
    let (system, unallocated) = (first as u64, end as u64);
    NodeRecord {
        v: VERSION,
        kind: "node".to_owned(),
        cluster: "lab".to_owned(),
        node: "n1".to_owned(),
        start: step_at(first),
        end: step_at(end),
        elapsed_s: 600.0 * (end - first) as f64,
        meter_j: cpu(of_jobs + system + unallocated),
        jobs_j: cpu(of_jobs),
        system_j: cpu(system),
        unallocated_j: cpu(unallocated),
        idle_j: cpu(0),
        jobs: charges,
        baseline: [].into(),
        gap_s: 0.0,
        method: [].into(),
        attribution: "hybrid".to_owned(),
        warnings: Vec::new(),
        version: None,
    }
}

/// Appends as the writer does, but for waiting for the disk.
fn append(dir: &Path, end: DateTime<Utc>, line: &str) {
    let path = file_path(dir, "n1", end);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// What `reconcile` makes of it by hour: sums, and the jobs it names.
fn reckon(lines: &[NodeRecord], records: &[Record]) -> (super::Balance, i128, usize) {
    let dir = tempfile::tempdir().unwrap();
    for line in lines {
        append(dir.path(), line.end, &line.to_line().unwrap());
    }
    for record in records {
        append(dir.path(), record.end, &record.to_line().unwrap());
    }
    let (mut outcome, query) = (Outcome::default(), Query::default());
    let work = |books: &Books| {
        let mut rows = Rows::default();
        books.iter().for_each(|(node, book)| rows.add(node, book, &[Key::Hour], &query));
        rows
    };
    let nodes = NodeQuery::default();
    let ledger = Ledger::new(dir.path().to_owned(), None);
    let rows = fold_books(&ledger, &nodes, &mut outcome, work, Rows::append).unwrap();
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    let mut sum = super::Balance::default();
    let mut absolute = 0;
    for (_, balance) in rows.iter() {
        sum += balance;
        absolute += balance.difference_uj().unwrap().abs();
    }
    (sum, absolute, rows.findings().count())
}

fn energy(job: &Job) -> u128 {
    job.steps.iter().map(|uj| u128::from(*uj)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_balances_in_every_hour(jobs in jobs(), now in 0_usize..120) {
        let end = jobs.iter().map(Job::end).max().unwrap();
        let ids = || (1..).zip(&jobs);
        let all: Vec<_> = ids().map(|(id, job)| job.record(id)).collect();
        let (sum, difference, n_findings) = reckon(&lines(&jobs, end), &all);
        prop_assert_eq!((difference, n_findings), (0, 0));
        prop_assert_eq!((sum.open_uj, sum.pending_uj), (0, 0));
        prop_assert_eq!(sum.jobs_uj, jobs.iter().map(energy).sum::<u128>());

        // At any time: lines up to the last that is written, records of the jobs that ended.
        let written: Vec<_> = lines(&jobs, end).into_iter().filter(|l| l.end <= step_at(now)).collect();
        let ended: Vec<_> = ids().filter(|(_, job)| job.end() <= now).map(|(id, job)| job.record(id)).collect();
        let (_, difference, n_findings) = reckon(&written, &ended);
        prop_assert_eq!((difference, n_findings), (0, 0));
    }

    #[test]
    fn a_record_that_is_taken_away_shows_with_its_energy(jobs in jobs(), which in any::<prop::sample::Index>()) {
        let end = jobs.iter().map(Job::end).max().unwrap();
        let lost = which.index(jobs.len());
        let record = |(id, job): (u32, &Job)| job.record(id);
        let mut records: Vec<_> = (1..).zip(&jobs).map(record).collect();
        records.remove(lost);
        let uj = energy(&jobs[lost]);
        let (sum, difference, _) = reckon(&lines(&jobs, end), &records);
        prop_assert_eq!(sum.open_uj + difference.unsigned_abs(), uj);
        // Once the node went on without it, it is lost and nothing else.
        let (sum, difference, n_findings) = reckon(&lines(&jobs, end + STEPS_PER_HOUR), &records);
        prop_assert_eq!((sum.open_uj, difference.unsigned_abs()), (0, uj));
        prop_assert_eq!(n_findings > 0, uj > 0);
    }

    #[test]
    fn a_record_that_is_there_twice_shows_with_its_energy(jobs in jobs(), which in any::<prop::sample::Index>()) {
        let end = jobs.iter().map(Job::end).max().unwrap();
        let twice = which.index(jobs.len());
        let record = |(id, job): (u32, &Job)| job.record(id);
        let mut records: Vec<_> = (1..).zip(&jobs).map(record).collect();
        records.push(records[twice].clone());
        let lines = lines(&jobs, end + 1);
        let (_, difference, _) = reckon(&lines, &records);
        prop_assert_eq!(difference, 0, "a copy counts once");
        // With another start it is no copy.
        let copy = records.last_mut().unwrap();
        copy.start += TimeDelta::milliseconds(1);
        let (sum, _, _) = reckon(&lines, &records);
        prop_assert_eq!(sum.difference_uj().unwrap().unsigned_abs(), energy(&jobs[twice]));
    }
}
