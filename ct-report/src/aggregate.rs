//! Adds up jobs by user, account, month and so on. Knows no format.
//!
//! Records come in one by one, [`Report`] rows go out. Energies are summed in whole microjoules,
//! so a sum by day and then by month equals the sum by month.

pub(crate) mod accounted;
pub(crate) mod column;
mod exact;
mod group;
pub(crate) mod jobs;
#[cfg(feature = "parquet")]
pub(crate) mod needs;
pub(crate) mod part;
pub(crate) mod slice;
mod spread;
mod sums;

use clap::ValueEnum;
use ct_core::record::{Brief, Record};

use self::group::{Groups, Periods};
use self::part::{JobRef, Part, Splitter};
use self::slice::Slice;
use crate::intensity::reprice::{Gaps, Repricer};
use crate::query::Query;
use crate::query::time::Period;
pub(crate) use exact::ExactSum;
pub(crate) use group::Group;
pub(crate) use sums::{Sums, add_known};

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

/// Sums by group.
#[derive(Debug, Default)]
pub(crate) struct Report {
    groups: Groups,
    n_records: u64,
    /// What prices anew were not found, or are forecasts.
    pub(crate) gaps: Gaps,
    /// Memory for the slices of a record.
    slices: Vec<Slice>,
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
        record: &Brief<'_>,
        keys: &[Key],
        query: &Query,
        repricer: Option<&Repricer>,
    ) -> Result<bool, String> {
        if !query.selects(record) {
            return Ok(false);
        }
        let needs_time = keys.iter().any(|key| key.period().is_some());
        let is_whole = !needs_time && query.covers_span(record.start, record.end);
        if is_whole {
            self.slices.clear();
            self.slices.push(slice::whole(record));
        } else {
            slice::by_hour(record, &mut self.slices)?;
        }
        self.n_records += 1;
        let (job, splitter) = (JobRef::of(record), Splitter::new(record));
        // Hours of one period go to one group, which is looked for once.
        let mut last: Option<(Periods, usize)> = None;
        for slice in self.slices.iter().filter(|slice| is_whole || query.covers(slice.at)) {
            let periods = Periods::of(keys, query.zone, slice.hour);
            let known = last.filter(|(of, _)| *of == periods).map(|(_, at)| at);
            let at =
                known.unwrap_or_else(|| self.groups.find(keys, record, query.zone, slice.hour));
            last = Some((periods, at));
            let sums = self.groups.sums(at);
            sums.add(self.n_records, &job, &splitter.part(slice));
            if let Some(repricer) = repricer {
                let hour = (!is_whole).then_some(slice.at);
                sums.add_repriced(repricer.reprice(record, hour, &mut self.gaps));
            }
        }
        Ok(last.is_some())
    }

    /// Adds sums of other records to a group.
    pub(crate) fn insert(&mut self, group: Group, sums: Box<Sums>) {
        self.groups.insert(group, sums);
    }

    /// Adds a report of other records.
    pub(crate) fn append(&mut self, other: Self) {
        self.n_records += other.n_records;
        self.gaps.append(other.gaps);
        other.groups.into_iter().for_each(|(group, sums)| self.insert(group, sums));
    }

    /// The sums of a group.
    pub(crate) fn get(&self, group: &Group) -> Option<&Sums> {
        self.groups.get(group)
    }

    /// The groups in the order of their keys.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Group, &Sums)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        groups.into_iter()
    }
}

/// The sums of records as wholes.
pub(crate) fn sum<'a>(records: impl IntoIterator<Item = &'a Record>) -> Sums {
    let mut sums = Sums::default();
    for (number, record) in (1..).zip(records.into_iter().map(Brief::from)) {
        sums.add(number, &JobRef::of(&record), &Part::whole(&record));
    }
    sums
}
