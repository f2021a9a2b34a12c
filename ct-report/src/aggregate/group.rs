//! The groups of a report: found by what a record says, without a copy of it.

use std::hash::{Hash, Hasher};

use chrono::{DateTime, Utc};
use ct_core::record::Brief;
use foldhash::HashMap;
use foldhash::fast::RandomState;
use indexmap::{Equivalent, IndexMap};

use super::{Key, Sums};
use crate::query::time::{Period, Zone};

/// The values of a group's keys; `None` where the record does not know.
pub(crate) type Group = Vec<Option<String>>;

/// Sums by group, in the order in which groups came up.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Boxed: a table that grows moves what is in it.
    all: IndexMap<Group, Box<Sums>, RandomState>,
    /// Names of periods that came up.
    labels: HashMap<(Period, i64), String>,
}

impl Groups {
    /// Where the group of a record and hour is.
    pub(super) fn find(
        &mut self,
        keys: &[Key],
        record: &Brief<'_>,
        zone: Zone,
        hour: DateTime<Utc>,
    ) -> usize {
        let Self { all, labels } = self;
        for period in keys.iter().filter_map(|key| key.period()) {
            let number = zone.number(period, hour);
            labels.entry((period, number)).or_insert_with(|| zone.label(period, hour));
        }
        let label = |period| labels.get(&(period, zone.number(period, hour))).map(String::as_str);
        let value = |key: &Key| key.period().map_or_else(|| value(*key, record), label);
        let values: Vec<Option<&str>> = keys.iter().map(value).collect();
        all.get_index_of(&Values(&values)).unwrap_or_else(|| {
            let group = values.iter().map(|value| value.map(str::to_owned)).collect();
            all.insert_full(group, Box::default()).0
        })
    }

    /// The sums that were found to be there.
    pub(super) fn sums(&mut self, at: usize) -> &mut Sums {
        &mut self.all[at]
    }

    /// Adds sums of other records to a group.
    pub(super) fn insert(&mut self, group: Group, sums: Box<Sums>) {
        match self.all.entry(group) {
            indexmap::map::Entry::Occupied(mut known) => known.get_mut().append(*sums),
            indexmap::map::Entry::Vacant(new) => {
                new.insert(sums);
            }
        }
    }

    pub(super) fn get(&self, group: &Group) -> Option<&Sums> {
        self.all.get(group).map(|sums| &**sums)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Group, &Sums)> {
        self.all.iter().map(|(group, sums)| (group, &**sums))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Group, Box<Sums>)> {
        self.all.into_iter()
    }
}

fn value<'a>(key: Key, record: &'a Brief<'_>) -> Option<&'a str> {
    match key {
        Key::Month | Key::Week | Key::Day | Key::Hour => None,
        Key::User => Some(&record.user),
        Key::Account => record.account.as_deref(),
        Key::Partition => record.partition.as_deref(),
        Key::Qos => record.qos.as_deref(),
        Key::Cluster => Some(&record.cluster),
        Key::Node => Some(&record.node),
        Key::JobName => record.job_name.as_deref(),
        Key::EndReason => Some(record.end_reason.as_str()),
    }
}

/// A group by texts of others: equal to the [`Group`] with these texts, and hashed as that is.
struct Values<'a>(&'a [Option<&'a str>]);

impl Hash for Values<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Group> for Values<'_> {
    fn equivalent(&self, group: &Group) -> bool {
        self.0.iter().copied().eq(group.iter().map(Option::as_deref))
    }
}

/// What tells the periods of an hour from those of another: of each sort its number, where it is
/// asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Periods([i64; 4]);

impl Periods {
    pub(super) fn of(keys: &[Key], zone: Zone, hour: DateTime<Utc>) -> Self {
        let mut numbers = [0; 4];
        for period in keys.iter().filter_map(|key| key.period()) {
            numbers[period as usize] = zone.number(period, hour);
        }
        Self(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_texts_of_others() {
        use std::hash::BuildHasher;
        let hasher = RandomState::default();
        for values in [&[][..], &[None], &[Some("")], &[Some("eva"), None], &[Some("a"), Some("b")]]
        {
            let group: Group = values.iter().map(|value| value.map(str::to_owned)).collect();
            assert!(Values(values).equivalent(&group));
            assert_eq!(hasher.hash_one(Values(values)), hasher.hash_one(&group), "{values:?}");
            assert!(!Values(values).equivalent(&vec![Some("eva".to_owned())]));
        }
    }
}
