//! The groups of the report that rows go to.

use std::collections::HashMap;

use chrono::DateTime;

use super::Ask;
use super::hash::Quick;
use super::lane::Lanes;
use super::text::Columns;
use crate::aggregate::{Group, Key};

/// Hours whose periods are kept: some more than a month has.
const PERIODS: usize = 1024;

/// Where the value of a key comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The row's hour.
    Hour,
    /// The name of the partition of the dataset.
    Cluster,
    /// A column of texts.
    Text(usize),
}

/// The column of texts that has a key's values, if one has.
pub(super) fn column_of(key: Key) -> Option<&'static str> {
    match key {
        Key::Month | Key::Week | Key::Day | Key::Hour | Key::Cluster => None,
        _ => Some(key.as_str()),
    }
}

/// Numbers of the groups, as they come up.
pub(super) struct Groups<'a> {
    ask: Ask<'a>,
    /// Of each key.
    sources: Vec<Source>,
    /// The clusters that came up; the last one is at hand.
    clusters: Vec<String>,
    cluster: i64,
    numbers: HashMap<Box<[i64]>, u32, Quick>,
    ids: Vec<Box<[i64]>>,
    /// An hour of each group, for the names of its periods.
    hours: Vec<i64>,
    last: Option<u32>,
    key: Vec<i64>,
    /// Hours that came up lately, each at its place, and of each key of time the number of its
    /// period; of others 0.
    periods: Vec<(Option<i64>, Vec<i64>)>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(ask: Ask<'a>, columns: &Columns) -> Self {
        let source = |key: &Key| match column_of(*key).and_then(|name| columns.at(name)) {
            Some(at) => Source::Text(at),
            None if key.period().is_some() => Source::Hour,
            None => Source::Cluster,
        };
        Self {
            ask,
            sources: ask.keys.iter().map(source).collect(),
            clusters: Vec::new(),
            cluster: 0,
            numbers: HashMap::default(),
            ids: Vec::new(),
            hours: Vec::new(),
            last: None,
            key: Vec::new(),
            periods: vec![(None, Vec::new()); PERIODS],
        }
    }

    /// The rows that come are of this cluster.
    pub(super) fn enter(&mut self, cluster: &str) {
        let at = self.clusters.iter().position(|known| known == cluster).unwrap_or_else(|| {
            self.clusters.push(cluster.to_owned());
            self.clusters.len() - 1
        });
        self.cluster = i64::try_from(at).unwrap_or(i64::MAX);
    }

    /// How many there are, numbered from 0.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The group a row goes to: often that of the row before.
    pub(super) fn of(&mut self, lanes: &Lanes, row: usize) -> u32 {
        let hour_s = lanes.hour_s.values()[row];
        let place = hour_s.div_euclid(3600).rem_euclid(PERIODS as i64);
        let (known, periods) = &mut self.periods[usize::try_from(place).unwrap_or_default()];
        if *known != Some(hour_s) {
            let at = DateTime::from_timestamp(hour_s, 0).unwrap_or_default();
            let number =
                |key: &Key| key.period().map_or(0, |of| self.ask.query.zone.number(of, at));
            *periods = self.ask.keys.iter().map(number).collect();
            *known = Some(hour_s);
        }
        self.key.clear();
        for (period, source) in periods.iter().zip(&self.sources) {
            self.key.push(match source {
                Source::Hour => *period,
                Source::Cluster => self.cluster,
                Source::Text(at) => lanes.texts[*at].ids()[row].into(),
            });
        }
        if let Some(last) = self.last.filter(|last| self.ids[*last as usize].iter().eq(&self.key)) {
            return last;
        }
        let found = self.numbers.get(self.key.as_slice()).copied();
        let found = found.unwrap_or_else(|| self.add(hour_s));
        self.last = Some(found);
        found
    }

    fn add(&mut self, hour_s: i64) -> u32 {
        let key: Box<[i64]> = self.key.as_slice().into();
        let new = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.numbers.insert(key.clone(), new);
        self.ids.push(key);
        self.hours.push(hour_s);
        new
    }

    /// The groups' names, in the order of their numbers.
    pub(super) fn names(&self, columns: &Columns) -> Vec<Group> {
        let name = |(ids, hour_s): (&[i64], &i64)| {
            let hour = DateTime::from_timestamp(*hour_s, 0).unwrap_or_default();
            let value = |((key, source), id): ((&Key, &Source), &i64)| match source {
                Source::Hour => Some(self.ask.query.zone.label(key.period()?, hour)),
                Source::Cluster => self.clusters.get(usize::try_from(*id).ok()?).cloned(),
                Source::Text(at) => {
                    columns.known()[*at].text(u32::try_from(*id).ok()?).map(str::to_owned)
                }
            };
            self.ask.keys.iter().zip(&self.sources).zip(ids).map(value).collect()
        };
        self.ids.iter().map(|ids| &**ids).zip(&self.hours).map(name).collect()
    }
}
