//! Allocations and records of the same jobs.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::record::{Brief, EndReason};

use super::Allocation;
use crate::aggregate::{Group, Key, Report, Sums};
use crate::query::Query;

/// How far a record's start and end may be from Slurm's: prolog and epilog take their time.
const SLACK: TimeDelta = TimeDelta::seconds(60);

/// Allocations by job.
#[derive(Debug, Default)]
pub(crate) struct Accounting {
    all: Vec<Allocation>,
    by_job: HashMap<u32, Vec<usize>>,
}

/// What the records had of the allocations.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Allocations that have a record.
    found: HashSet<usize>,
    /// Records no allocation was found for.
    pub(crate) n_strangers: usize,
}

impl Seen {
    /// Notes that a record is of this allocation, or of none.
    pub(crate) fn note(&mut self, allocation: Option<usize>) {
        match allocation {
            Some(number) => {
                self.found.insert(number);
            }
            None => self.n_strangers += 1,
        }
    }

    /// Adds what was seen in other records.
    pub(crate) fn append(&mut self, other: Self) {
        self.found.extend(other.found);
        self.n_strangers += other.n_strangers;
    }
}

impl Accounting {
    /// Takes allocations.
    pub(crate) fn new(all: Vec<Allocation>) -> Self {
        let mut by_job: HashMap<u32, Vec<usize>> = HashMap::new();
        for (number, allocation) in all.iter().enumerate() {
            by_job.entry(allocation.job_id).or_default().push(number);
        }
        Self { all, by_job }
    }

    /// The allocation a record is of: the same job on the same cluster at the same time; of two runs
    /// that follow closely, the one that began nearest.
    pub(crate) fn find(&self, record: &Brief<'_>) -> Option<usize> {
        let is_it = |number: &usize| {
            let allocation = &self.all[*number];
            let is_there = allocation.cluster.as_ref().is_none_or(|name| *name == record.cluster);
            let end = allocation.end.unwrap_or(DateTime::<Utc>::MAX_UTC);
            let is_then = allocation.start.is_some_and(|start| record.end > start - SLACK)
                && end.checked_add_signed(SLACK).is_none_or(|end| record.start < end);
            is_there && is_then
        };
        let apart =
            |number: &usize| self.all[*number].start.map(|start| (start - record.start).abs());
        let numbers = self.by_job.get(&record.job_id)?.iter().copied();
        numbers.filter(is_it).min_by_key(apart)
    }

    /// What the record does not know and Slurm does.
    pub(crate) fn fill<'a>(&'a self, record: &mut Brief<'a>, number: usize) {
        let Some(allocation) = self.all.get(number) else { return };
        let names = [
            (&mut record.account, &allocation.account),
            (&mut record.partition, &allocation.partition),
            (&mut record.qos, &allocation.qos),
            (&mut record.job_name, &allocation.job_name),
        ];
        for (own, slurms) in names {
            if own.is_none() {
                *own = slurms.as_deref().map(Cow::Borrowed);
            }
        }
        if matches!(record.end_reason, EndReason::Unknown | EndReason::Lost) {
            record.end_reason = allocation.end_reason();
        }
    }

    /// Adds up the allocations that are asked for.
    pub(crate) fn reckon(&self, keys: &[Key], query: &Query, seen: &Seen) -> Accounted {
        let mut out = Accounted::default();
        for (number, allocation) in self.all.iter().enumerate() {
            out.n_running += usize::from(allocation.is_running());
            let Some(record) = allocation.to_record() else { continue };
            let record = Brief::from(&record);
            // A record that is too long to be split is no allocation either.
            if !out.all.add(&record, keys, query, None).unwrap_or(false) {
                continue;
            }
            if !seen.found.contains(&number) {
                out.unseen.push(allocation.shown_id());
                let _ = out.unseen_sums.add(&record, keys, query, None);
            }
        }
        out
    }
}

/// What Slurm's accounting comes to.
#[derive(Debug, Default)]
pub(crate) struct Accounted {
    all: Report,
    unseen_sums: Report,
    /// Jobs the tracker never saw, as Slurm shows their ids.
    pub(crate) unseen: Vec<String>,
    /// Jobs that run still, and have no record yet.
    pub(crate) n_running: usize,
}

impl Accounted {
    /// All groups there are.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.all.groups().map(|(group, _)| group)
    }

    /// Of a group: all allocations, and those the tracker never saw.
    pub(crate) fn of(&self, group: &Group) -> (Option<&Sums>, Option<&Sums>) {
        (self.all.get(group), self.unseen_sums.get(group))
    }
}
