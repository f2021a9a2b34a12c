//! Adds up jobs by user, account, month and so on. Knows no format.
//!
//! Records come in one by one, [`Report`] rows go out. Energies are summed in whole microjoules,
//! so a sum by day and then by month equals the sum by month.

pub(crate) mod column;
mod slice;
mod sums;

use std::collections::BTreeMap;

use clap::ValueEnum;
use ct_core::record::Record;

use crate::query::Query;
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
    Day,
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
            Self::Day => "day",
            Self::JobName => "job_name",
            Self::EndReason => "end_reason",
        }
    }

    fn is_of_time(self) -> bool {
        matches!(self, Self::Month | Self::Day)
    }
}

/// The values of a group's keys; `None` where the record does not know.
pub(crate) type Group = Vec<Option<String>>;

/// Sums by group.
#[derive(Debug, Default)]
pub(crate) struct Report {
    groups: BTreeMap<Group, Sums>,
}

impl Report {
    /// Adds a record, as far as the query asks for it; says whether it did.
    ///
    /// # Errors
    ///
    /// A record that cannot be split by time.
    pub(crate) fn add(
        &mut self,
        record: &Record,
        keys: &[Key],
        query: &Query,
    ) -> Result<bool, String> {
        if !query.selects(record) {
            return Ok(false);
        }
        let needs_time = keys.iter().any(|key| key.is_of_time());
        let is_whole = !needs_time && query.covers_span(record.start, record.end);
        let slices = if is_whole { vec![slice::whole(record)] } else { slice::by_hour(record)? };
        let mut is_counted = false;
        for slice in slices.iter().filter(|slice| is_whole || query.covers(slice.at)) {
            let group = keys.iter().map(|key| value(*key, record, query, slice)).collect();
            self.groups.entry(group).or_default().add(record, slice);
            is_counted = true;
        }
        Ok(is_counted)
    }

    /// The groups in the order of their keys.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Group, &Sums)> {
        self.groups.iter()
    }
}

fn value(key: Key, record: &Record, query: &Query, slice: &slice::Slice) -> Option<String> {
    let wall = || query.zone.wall(slice.at);
    match key {
        Key::User => Some(record.user.clone()),
        Key::Account => record.account.clone(),
        Key::Partition => record.partition.clone(),
        Key::Month => Some(wall().format("%Y-%m").to_string()),
        Key::Qos => record.qos.clone(),
        Key::Cluster => Some(record.cluster.clone()),
        Key::Node => Some(record.node.clone()),
        Key::Day => Some(wall().format("%Y-%m-%d").to_string()),
        Key::JobName => record.job_name.clone(),
        Key::EndReason => Some(record.end_reason.as_str().to_owned()),
    }
}
