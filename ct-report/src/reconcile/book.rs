//! All that is known of one node, by hour: its own lines and the records of its jobs.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::record::{Brief, NodeRecord, Record};
use ct_core::units::Microjoules;

use super::{Balance, JobRun};
use crate::aggregate::slice::{energy_by_hour, hour_of};

/// How long after a job's last charge its record may be missing: ct-noded waits up to ten minutes
/// for slurmctld's word on the job's end.
const RECORD_MAY_TAKE: TimeDelta = TimeDelta::minutes(15);

/// The books of one node.
#[derive(Debug, Default)]
pub(crate) struct Book {
    hours: BTreeMap<DateTime<Utc>, Hour>,
    /// Lines that were added, by their start: of copies the first counts.
    lines: HashSet<DateTime<Utc>>,
    /// What the lines cover, from the first's start to the last's end.
    covered: Option<Span>,
    /// End of the last line that names a job.
    last_charges: HashMap<JobRun, DateTime<Utc>>,
    /// Spans of the records of a job: one, unless Slurm gave its id again.
    records: HashMap<JobRun, Vec<Span>>,
}

/// From one instant to another.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// One hour of a node.
#[derive(Debug, Default)]
struct Hour {
    balance: Balance,
    jobs: BTreeMap<JobRun, Charge>,
}

/// What a job used in an hour, as the two sides have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Charge {
    /// By the node's lines.
    pub(super) lines_uj: u128,
    /// By the job's record.
    pub(super) record_uj: u128,
}

/// What explains that lines and record of a job differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The job still runs, or its record is still to be written.
    Open,
    /// The node's line is still to be written, or the node kept no lines at the time.
    Pending,
    /// A gap: the two sides were saved at different times.
    Gap,
    /// Nothing.
    Unexplained,
}

/// A job whose lines and record differ in an hour without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unexplained {
    pub(super) run: JobRun,
    pub(super) charge: Charge,
    /// Whether there is a record at all.
    pub(super) has_record: bool,
}

/// An hour, reckoned up.
#[derive(Debug)]
pub(super) struct Reckoned {
    pub(super) hour: DateTime<Utc>,
    pub(super) balance: Balance,
    pub(super) unexplained: Vec<Unexplained>,
}

impl Book {
    /// Adds a line of the node, unless it is a copy.
    pub(crate) fn add_line(&mut self, line: &NodeRecord) {
        if !self.lines.insert(line.start) {
            return;
        }
        let covered = self.covered.get_or_insert(Span { start: line.start, end: line.end });
        covered.start = covered.start.min(line.start);
        covered.end = covered.end.max(line.end);
        let Hour { balance, jobs } = self.hours.entry(hour_of(line.start)).or_default();
        *balance += &Balance {
            meter_uj: total(&line.meter_j),
            system_uj: total(&line.system_j),
            unallocated_uj: total(&line.unallocated_j),
            // The reader has seen that it is a number; a gap of a nanosecond is still one.
            gap_ms: (line.gap_s * 1000.0).ceil() as u64,
            has_whole_nodes: line.attribution == "node",
            ..Balance::default()
        };
        for charge in &line.jobs {
            let run = (charge.0, charge.1);
            jobs.entry(run).or_default().lines_uj += u128::from(charge.2.as_u64());
            let end = self.last_charges.entry(run).or_insert(line.end);
            *end = line.end.max(*end);
        }
    }

    /// Adds the record of a job, unless it is a copy.
    pub(crate) fn add_record(&mut self, record: &Record) {
        let run = (record.job_id, record.restart);
        let spans = self.records.entry(run).or_default();
        if spans.iter().any(|span| span.start == record.start) {
            return;
        }
        spans.push(Span { start: record.start, end: record.end });
        for (hour, energy) in energy_by_hour(&Brief::from(record)) {
            let Hour { balance, jobs } = self.hours.entry(hour).or_default();
            let uj = total(&energy);
            balance.jobs_uj += uj;
            balance.has_whole_nodes |= record.attribution == "node";
            jobs.entry(run).or_default().record_uj += uj;
        }
    }

    /// The hours, with what is still to come on either side.
    pub(super) fn reckon(&self) -> impl Iterator<Item = Reckoned> + '_ {
        self.hours.iter().map(|(hour, book)| {
            let (mut balance, mut unexplained) = (book.balance.clone(), Vec::new());
            for (run, charge) in book.jobs.iter().filter(|(_, c)| c.lines_uj != c.record_uj) {
                let has_gap = balance.gap_ms > 0;
                match self.reason(*hour, *run, *charge, has_gap) {
                    Reason::Open => balance.open_uj += charge.lines_uj - charge.record_uj,
                    Reason::Pending => balance.pending_uj += charge.record_uj - charge.lines_uj,
                    Reason::Gap => {}
                    Reason::Unexplained => {
                        let has_record = self.has_record(*run, *hour);
                        unexplained.push(Unexplained { run: *run, charge: *charge, has_record });
                    }
                }
            }
            Reckoned { hour: *hour, balance, unexplained }
        })
    }

    fn reason(&self, hour: DateTime<Utc>, run: JobRun, charge: Charge, has_gap: bool) -> Reason {
        let has_record = self.has_record(run, hour);
        if charge.lines_uj > charge.record_uj && !has_record {
            return if self.is_open(run) { Reason::Open } else { Reason::Unexplained };
        }
        if charge.record_uj > charge.lines_uj && self.is_pending(run, hour) {
            return Reason::Pending;
        }
        if has_gap && has_record { Reason::Gap } else { Reason::Unexplained }
    }

    /// Whether a record of the job reaches into the hour.
    fn has_record(&self, run: JobRun, hour: DateTime<Utc>) -> bool {
        let next = hour + TimeDelta::hours(1);
        self.spans(run).any(|span| span.start < next && span.end >= hour)
    }

    fn spans(&self, run: JobRun) -> impl Iterator<Item = &Span> {
        self.records.get(&run).into_iter().flatten()
    }

    /// Whether the job may still run: the node's last lines name it.
    fn is_open(&self, run: JobRun) -> bool {
        let last_line = self.covered.map(|covered| covered.end);
        let last_charge = self.last_charges.get(&run).copied();
        last_charge.zip(last_line).is_some_and(|(charge, line)| line - charge < RECORD_MAY_TAKE)
    }

    /// Whether the hour of a record lies, in part, where the node has no lines: after its last, or
    /// before its first, when an earlier version wrote none.
    fn is_pending(&self, run: JobRun, hour: DateTime<Utc>) -> bool {
        let Some(covered) = self.covered else { return true };
        let next = hour + TimeDelta::hours(1);
        let is_after = next > covered.end && self.spans(run).any(|span| span.end > covered.end);
        let is_before =
            hour < covered.start && self.spans(run).any(|span| span.start < covered.start);
        is_after || is_before
    }
}

fn total(energy: &ByComponent<Microjoules>) -> u128 {
    Component::ALL.into_iter().map(|c| u128::from(energy.get(c).as_u64())).sum()
}
