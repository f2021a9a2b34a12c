//! The books of every node, from the ledger.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry};

use crate::dataset::Table;
use crate::diagnostic::Outcome;
use crate::load::groups::{self, NodeId, Order, Piece};
use crate::load::pieces::Ledger;
use crate::reconcile::Book;

/// Which nodes are wanted; an empty list wants all.
#[derive(Debug, Default)]
pub(crate) struct NodeQuery {
    /// Names of clusters.
    pub(crate) clusters: Vec<String>,
    /// Names of nodes.
    pub(crate) nodes: Vec<String>,
    /// Lines that end before this time are not asked for.
    pub(crate) since: Option<DateTime<Utc>>,
}

impl NodeQuery {
    fn selects(&self, cluster: &str, node: &str) -> bool {
        let is_in = |list: &[String], name: &str| list.is_empty() || list.iter().any(|l| l == name);
        is_in(&self.clusters, cluster) && is_in(&self.nodes, node)
    }
}

/// Books by node.
pub(crate) type Books = BTreeMap<NodeId, Book>;

/// Gives the books of every node to `work`, on all processors, and adds up what that returns.
///
/// # Errors
///
/// A directory that cannot be read. Files and lines that cannot be read are reported in `outcome`.
pub(crate) fn fold_books<T: Default + Send>(
    ledger: &Ledger,
    query: &NodeQuery,
    outcome: &mut Outcome,
    work: impl Fn(&Books) -> T + Sync,
    merge: impl Fn(&mut T, T) + Sync,
) -> Result<T> {
    // Whether a node has lines before the time asked for tells what is missing at its beginning.
    let since = query.since.map(|since| since - TimeDelta::days(1));
    let pieces = ledger.pieces(since, &[Table::Jobs, Table::Nodes])?;
    let read = |pieces: &[Piece], sum: &mut T, outcome: &mut Outcome| {
        let books = read_books(pieces, query, outcome);
        merge(sum, work(&books));
        books.into_keys().collect()
    };
    Ok(groups::fold(pieces, Order::OfNames, outcome, read, &merge))
}

fn read_books(pieces: &[Piece], query: &NodeQuery, outcome: &mut Outcome) -> Books {
    let mut books = Books::new();
    for piece in pieces {
        match piece {
            Piece::File(file) => read_file(file, query, &mut books, outcome),
            #[cfg(feature = "parquet")]
            Piece::Rows(rows) => read_rows(rows, query, &mut books, outcome),
        }
    }
    books
}

fn read_file(file: &Path, query: &NodeQuery, books: &mut Books, outcome: &mut Outcome) {
    let entries = match File::open(file) {
        Ok(open) => Entries::new(BufReader::new(open)),
        Err(error) => return outcome.skip_file(file, &error),
    };
    for entry in entries {
        match entry {
            Ok(Entry::Skipped(skipped)) => outcome.skip(file, &skipped),
            Ok(entry) => add(&entry, query, books),
            Err(error) => return outcome.skip_file(file, &error),
        }
    }
}

#[cfg(feature = "parquet")]
fn read_rows(
    rows: &super::compacted::Rows,
    query: &NodeQuery,
    books: &mut Books,
    outcome: &mut Outcome,
) {
    let (path, ..) = rows.place();
    let all =
        rows.each_line(|line, text| match ct_core::ledger::reader::parse_entry(text.as_bytes()) {
            Ok(entry) => add(&entry, query, books),
            Err(error) => outcome.skip_part(path, Some(line), error.to_string()),
        });
    if let Err(error) = all {
        outcome.skip_part(path, None, format!("{error:#}"));
    }
}

fn add(entry: &Entry, query: &NodeQuery, books: &mut Books) {
    let mut book = |cluster: &str, node: &str, add: &dyn Fn(&mut Book)| {
        if query.selects(cluster, node) {
            add(books.entry((cluster.to_owned(), node.to_owned())).or_default());
        }
    };
    match entry {
        Entry::Job(r) => book(&r.cluster, &r.node, &|book| book.add_record(r)),
        Entry::Node(line) => book(&line.cluster, &line.node, &|book| book.add_line(line)),
        Entry::Other | Entry::Skipped(_) => {}
    }
}
