//! Adds up jobs by user, account, month and so on. Knows no format.
//!
//! Records come in one by one, [`Report`] rows go out. Energies are summed in whole microjoules,
//! so a sum by day and then by month equals the sum by month.

pub(crate) mod accounted;
pub(crate) mod column;
#[cfg(feature = "parquet")]
pub(crate) mod needs;
pub(crate) mod part;
pub(crate) mod slice;
mod sums;

use std::collections::hash_map::Entry;

use clap::ValueEnum;
use ct_core::record::Record;
use foldhash::HashMap;

use self::part::{JobRef, Part};
use self::slice::Slice;
use crate::intensity::reprice::{Gaps, Repricer};
use crate::query::Query;
use crate::query::time::Period;
pub(crate) use sums::Sums;

/// What jobs are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Key {
    User,
    Account,
    Partition,
    Month,
    Qos,
    Cluster,
    Node,
    Week,
    Day,
    Hour,
    JobName,
    EndReason,
}

impl Key {
    /// The name used in headers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Account => "account",
            Self::Partition => "partition",
            Self::Month => "month",
            Self::Qos => "qos",
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::JobName => "job_name",
            Self::EndReason => "end_reason",
        }
    }

    /// What of the time it is, if it is of time.
    pub(crate) fn period(self) -> Option<Period> {
        match self {
            Self::Month => Some(Period::Month),
            Self::Week => Some(Period::Week),
            Self::Day => Some(Period::Day),
            Self::Hour => Some(Period::Hour),
            _ => None,
        }
    }
}

/// The values of a group's keys; `None` where the record does not know.
pub(crate) type Group = Vec<Option<String>>;

/// Sums by group.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Boxed: a table that grows moves what is in it.
    groups: HashMap<Group, Box<Sums>>,
    n_records: u64,
    /// What prices anew were not found, or are forecasts.
    pub(crate) gaps: Gaps,
}

impl Report {
    /// Adds a record, as far as the query asks for it, priced anew where that is asked for; says
    /// whether it did.
    ///
    /// # Errors
    ///
    /// A record that cannot be split by time.
    pub(crate) fn add(
        &mut self,
        record: &Record,
        keys: &[Key],
        query: &Query,
        repricer: Option<&Repricer>,
    ) -> Result<bool, String> {
        if !query.selects(record) {
            return Ok(false);
        }
        let needs_time = keys.iter().any(|key| key.period().is_some());
        let is_whole = !needs_time && query.covers_span(record.start, record.end);
        let slices = if is_whole { vec![slice::whole(record)] } else { slice::by_hour(record)? };
        self.n_records += 1;
        let covered = slices.iter().filter(|slice| is_whole || query.covers(slice.at));
        let (mut is_counted, job) = (false, JobRef::of(record));
        // Hours of one period go to one group, which is looked for once.
        let one_group =
            |a: &&Slice, b: &&Slice| periods(keys, query, a).eq(periods(keys, query, b));
        let covered: Vec<&Slice> = covered.collect();
        for slices in covered.chunk_by(one_group) {
            let group = keys.iter().map(|key| value(*key, record, query, slices[0])).collect();
            let sums = self.groups.entry(group).or_default();
            for slice in slices {
                sums.add(self.n_records, &job, &Part::of(record, slice));
                if let Some(repricer) = repricer {
                    let hour = (!is_whole).then_some(slice.at);
                    sums.add_repriced(repricer.reprice(record, hour, &mut self.gaps));
                }
            }
            is_counted = true;
        }
        Ok(is_counted)
    }

    /// Adds sums of other records to a group.
    pub(crate) fn insert(&mut self, group: Group, sums: Box<Sums>) {
        match self.groups.entry(group) {
            Entry::Occupied(mut known) => known.get_mut().append(*sums),
            Entry::Vacant(new) => {
                new.insert(sums);
            }
        }
    }

    /// Adds a report of other records.
    pub(crate) fn append(&mut self, other: Self) {
        self.n_records += other.n_records;
        self.gaps.append(other.gaps);
        for (group, sums) in other.groups {
            self.insert(group, sums);
        }
    }

    /// The sums of a group.
    pub(crate) fn get(&self, group: &Group) -> Option<&Sums> {
        self.groups.get(group).map(|sums| &**sums)
    }

    /// The groups in the order of their keys.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Group, &Sums)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        groups.into_iter().map(|(group, sums)| (group, &**sums))
    }
}

/// The sums of records as wholes.
pub(crate) fn sum<'a>(records: impl IntoIterator<Item = &'a Record>) -> Sums {
    let mut sums = Sums::default();
    for (number, record) in (1..).zip(records) {
        sums.add(number, &JobRef::of(record), &Part::whole(record));
    }
    sums
}

/// What tells apart the periods of a slice from those of another.
fn periods(keys: &[Key], query: &Query, slice: &Slice) -> impl Iterator<Item = i64> {
    let number = |key: &Key| key.period().map(|period| query.zone.number(period, slice.hour));
    keys.iter().filter_map(number)
}

fn value(key: Key, record: &Record, query: &Query, slice: &Slice) -> Option<String> {
    if let Some(period) = key.period() {
        return Some(query.zone.label(period, slice.hour));
    }
    match key {
        Key::Month | Key::Week | Key::Day | Key::Hour => None,
        Key::User => Some(record.user.clone()),
        Key::Account => record.account.clone(),
        Key::Partition => record.partition.clone(),
        Key::Qos => record.qos.clone(),
        Key::Cluster => Some(record.cluster.clone()),
        Key::Node => Some(record.node.clone()),
        Key::JobName => record.job_name.clone(),
        Key::EndReason => Some(record.end_reason.as_str().to_owned()),
    }
}
