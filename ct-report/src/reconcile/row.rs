//! The hours of all nodes, added up by node, month and so on.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::balance::signed;
use super::{Balance, Book, Finding, JobRun};
use crate::load::groups::NodeId;
use crate::query::Query;
use crate::query::time::Period;
use crate::row::{Cell, Head};

/// What hours are grouped by, besides the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Key {
    Cluster,
    Node,
    Month,
    Week,
    Day,
    Hour,
}

impl Key {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }

    fn period(self) -> Option<Period> {
        match self {
            Self::Cluster | Self::Node => None,
            Self::Month => Some(Period::Month),
            Self::Week => Some(Period::Week),
            Self::Day => Some(Period::Day),
            Self::Hour => Some(Period::Hour),
        }
    }
}

/// A row: its sums, and by job what they cannot explain.
#[derive(Debug, Default)]
struct Row {
    balance: Balance,
    findings: BTreeMap<(NodeId, JobRun), Finding>,
}

/// The rows of a report, by the values of their keys.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: BTreeMap<Vec<String>, Row>,
    /// Hours that were counted.
    pub(crate) n_hours: usize,
}

impl Rows {
    /// Adds the hours of a node the query asks for.
    pub(crate) fn add(&mut self, node: &NodeId, book: &Book, keys: &[Key], query: &Query) {
        for hour in book.reckon().filter(|hour| query.covers(hour.hour)) {
            self.n_hours += 1;
            let value = |key: &Key| match key.period() {
                Some(period) => query.zone.label(period, hour.hour),
                None if *key == Key::Node => node.1.clone(),
                None => node.0.clone(),
            };
            let row = self.rows.entry(keys.iter().map(value).collect()).or_default();
            row.balance += &hour.balance;
            for unexplained in &hour.unexplained {
                let first = || query.zone.label(Period::Hour, hour.hour);
                let key = (node.clone(), unexplained.run);
                let new = || Finding::new(unexplained.run, first());
                row.findings.entry(key).or_insert_with(new).add(unexplained);
            }
        }
    }

    /// Adds rows of other nodes.
    pub(crate) fn append(&mut self, other: Self) {
        self.n_hours += other.n_hours;
        for (values, row) in other.rows {
            let own = self.rows.entry(values).or_default();
            own.balance += &row.balance;
            own.findings.extend(row.findings);
        }
    }

    /// Every row's values and sums.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<String>, &Balance)> {
        self.rows.iter().map(|(values, row)| (values, &row.balance))
    }

    /// What cannot be explained: the row's values, the node, and what is wrong with a job there.
    ///
    /// An hour of a job may be booked to the next by one side, where the clock was set; over a row
    /// it comes to nothing.
    pub(crate) fn findings(&self) -> impl Iterator<Item = (&Vec<String>, &NodeId, &Finding)> {
        let all = self.rows.iter().flat_map(|(values, row)| {
            row.findings.iter().map(move |((node, _), finding)| (values, node, finding))
        });
        all.filter(|(_, _, finding)| finding.difference_uj() != 0)
    }

    /// The cells of every row, in the order of [`heads`].
    pub(crate) fn cells(&self) -> Vec<Vec<Cell>> {
        let key = |value: &String| Cell::Text(Some(value.clone()));
        let row = |(values, balance): (&Vec<String>, _)| {
            values.iter().map(key).chain(cells(balance)).collect()
        };
        self.iter().map(row).collect()
    }

    /// The cells of the sum over all rows.
    pub(crate) fn total(&self, keys: &[Key]) -> Vec<Cell> {
        let mut sum = Balance::default();
        self.iter().for_each(|(_, balance)| sum += balance);
        let name = |at: usize| Cell::Text((at == 0).then(|| "total".to_owned()));
        (0..keys.len()).map(name).chain(cells(&sum)).collect()
    }
}

/// The heads of the rows' columns.
pub(crate) fn heads(keys: &[Key]) -> Vec<Head> {
    let keys = keys.iter().map(|key| Head::text(key.as_str()));
    // How early a column is left out on a narrow terminal.
    let sums = [
        ("meter_uj", 0),
        ("jobs_uj", 0),
        ("system_uj", 2),
        ("unallocated_uj", 3),
        ("open_uj", 5),
        ("pending_uj", 6),
        ("difference_uj", 0),
        ("gap_s", 4),
    ];
    keys.chain(sums.map(|(name, rank)| Head::number(name).ranked(rank))).collect()
}

fn cells(balance: &Balance) -> [Cell; 8] {
    let uj = |uj: u128| Cell::Integer(Some(signed(uj)));
    [
        uj(balance.meter_uj),
        uj(balance.jobs_uj),
        uj(balance.system_uj),
        uj(balance.unallocated_uj),
        uj(balance.open_uj),
        uj(balance.pending_uj),
        Cell::Integer(balance.difference_uj()),
        uj(u128::from(balance.gap_s())),
    ]
}
