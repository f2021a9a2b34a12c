//! What one thread adds up: rows of one group of rows after another.

use anyhow::Result;
use chrono::{DateTime, Utc};
use ct_core::record::EndReason;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::Ask;
use super::group::{Groups, column_of};
use super::lane::Lanes;
use super::text::Columns;
use super::totals::{Counted, Totals};
use crate::aggregate::Report;
use crate::aggregate::part::{ClusterHash, End};
use crate::parquet::reader::{BATCH, TableFile};

/// Sums of the rows that were read so far.
pub(super) struct Tally<'a> {
    ask: Ask<'a>,
    columns: Columns,
    filters: Vec<Filter<'a>>,
    groups: Groups<'a>,
    totals: Totals,
    records: Records,
    /// The rows that count of those that were read last.
    rows: Vec<Counted>,
    /// How the jobs ended, by the numbers of the texts that say so.
    ends: Vec<End>,
}

/// Values of a column of texts that are asked for.
#[derive(Clone, Copy)]
struct Filter<'a> {
    column: Option<usize>,
    wanted: &'a [String],
}

impl<'a> Tally<'a> {
    pub(super) fn new(ask: Ask<'a>) -> Self {
        let query = ask.query;
        let wanted = [
            ("user", &query.users),
            ("account", &query.accounts),
            ("partition", &query.partitions),
        ]
        .into_iter()
        .filter(|(_, wanted)| !wanted.is_empty());
        let mut names: Vec<&'static str> =
            ask.keys.iter().filter_map(|key| column_of(*key)).collect();
        names.extend(wanted.clone().map(|(name, _)| name));
        names.extend(ask.needs.end.then_some("end_reason"));
        let columns = Columns::new(names);
        let filter =
            |(name, wanted): (&str, &'a Vec<String>)| Filter { column: columns.at(name), wanted };
        Self {
            ask,
            filters: wanted.map(filter).collect(),
            groups: Groups::new(ask, &columns),
            columns,
            totals: Totals::default(),
            records: Records::default(),
            rows: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Adds up a group of rows.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub(super) fn read(&mut self, file: &TableFile, group: usize, cluster: &str) -> Result<()> {
        let mut lanes = Lanes::open(file, group, self.ask, &self.columns)?;
        self.groups.enter(cluster);
        let (n_rows, cluster) = (file.n_rows(group), ClusterHash::of(cluster));
        for from in (0..n_rows).step_by(BATCH) {
            lanes.read(BATCH.min(n_rows - from), &mut self.columns)?;
            self.find_rows(&lanes);
            self.totals.add(&lanes, &self.rows, self.groups.len(), cluster);
            self.add_ends(&lanes);
        }
        Ok(())
    }

    /// Finds the rows that count, and where they go.
    fn find_rows(&mut self, lanes: &Lanes) {
        self.rows.clear();
        for (row, number) in (0..lanes.n_rows()).zip(0..) {
            self.records.next(lanes.nth.values()[row] == 0);
            if self.is_selected(lanes, row) {
                self.records.count();
                let group = self.groups.of(lanes, row);
                self.rows.push(Counted { row: number, group, record: self.records.number });
            }
        }
    }

    fn is_selected(&self, lanes: &Lanes, row: usize) -> bool {
        let is_wanted = |filter: &Filter<'_>| {
            let text = filter
                .column
                .and_then(|at| self.columns.known()[at].text(lanes.texts[at].ids()[row]));
            filter.wanted.iter().any(|wanted| Some(&**wanted) == text)
        };
        // The starts are read where a time is asked for.
        let is_in_time = || {
            lanes.start_ms.values().get(row).is_none_or(|start_ms| {
                begin(*start_ms, lanes.hour_s.values()[row])
                    .is_some_and(|at| self.ask.query.covers(at))
            })
        };
        self.filters.iter().all(is_wanted) && is_in_time()
    }

    fn add_ends(&mut self, lanes: &Lanes) {
        let Some(at) = self.columns.at("end_reason").filter(|_| self.ask.needs.end) else { return };
        let (known, ids) = (&self.columns.known()[at], lanes.texts[at].ids());
        let new = u32::try_from(self.ends.len()).unwrap_or(u32::MAX)..known.len();
        self.ends.extend(new.map(|id| end(known.text(id))));
        let end = |row: usize| self.ends[ids[row] as usize];
        self.totals.add_ends(lanes, &self.rows, self.groups.len(), end);
    }

    /// How many records count.
    pub(super) fn n_counted(&self) -> usize {
        self.records.n_counted
    }

    /// Adds the sums to a report.
    pub(super) fn add_to(self, report: &mut Report) {
        let names = self.groups.names(&self.columns);
        let sums = self.totals.into_sums(names.len());
        names.into_iter().zip(sums).for_each(|(name, sums)| report.insert(name, Box::new(sums)));
    }
}

/// Counts records by their rows, which come one after another.
#[derive(Debug, Default)]
struct Records {
    number: u64,
    is_new: bool,
    n_counted: usize,
}

impl Records {
    /// Takes the next row, which may be the first one of another record.
    fn next(&mut self, is_first: bool) {
        self.number += u64::from(is_first);
        self.is_new |= is_first;
    }

    /// The row counts, and so does its record.
    fn count(&mut self) {
        self.n_counted += usize::from(std::mem::take(&mut self.is_new));
    }
}

fn end(reason: Option<&str>) -> End {
    let reason = reason.and_then(|reason| {
        let reason: StrDeserializer<'_, Error> = reason.into_deserializer();
        EndReason::deserialize(reason).ok()
    });
    reason.map_or(End::Other, End::from)
}

/// When a part begins: at its job's start, or at the full hour.
fn begin(start_ms: i64, hour_s: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(hour_s.checked_mul(1000)?).map(|hour| {
        let start = DateTime::from_timestamp_millis(start_ms).unwrap_or(hour);
        if crate::aggregate::slice::hour_of(start) == hour { start } else { hour }
    })
}
