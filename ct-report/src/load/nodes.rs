//! The books of every node, from the ledger.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry, ledger_files};

use crate::diagnostic::Outcome;
use crate::load::groups::{self, NodeId, Part};
use crate::load::jobs::{is_asked_for, no_ledger};
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
    dir: &Path,
    query: &NodeQuery,
    outcome: &mut Outcome,
    work: impl Fn(&Books) -> T + Sync,
    merge: impl Fn(&mut T, T),
) -> Result<T> {
    let mut files = ledger_files(dir).map_err(|error| no_ledger(dir, error))?;
    // Whether a node has lines before the time asked for tells what is missing at its beginning.
    let since = query.since.map(|since| since - TimeDelta::days(1));
    files.retain(|file| is_asked_for(file, since));
    let read = |files: &[PathBuf], outcome: &mut Outcome| {
        let books = read_books(files, query, outcome);
        Part { done: work(&books), nodes: books.into_keys().collect() }
    };
    Ok(groups::fold(files, outcome, read, merge))
}

fn read_books(files: &[PathBuf], query: &NodeQuery, outcome: &mut Outcome) -> Books {
    let mut books = Books::new();
    for file in files {
        read_file(file, query, &mut books, outcome);
    }
    books
}

fn read_file(file: &Path, query: &NodeQuery, books: &mut Books, outcome: &mut Outcome) {
    let entries = match File::open(file) {
        Ok(open) => Entries::new(BufReader::new(open)),
        Err(error) => return outcome.skip_file(file, &error),
    };
    let mut book = |cluster: &str, node: &str, add: &dyn Fn(&mut Book)| {
        if query.selects(cluster, node) {
            add(books.entry((cluster.to_owned(), node.to_owned())).or_default());
        }
    };
    for entry in entries {
        match entry {
            Ok(Entry::Job(r)) => book(&r.cluster, &r.node, &|book| book.add_record(&r)),
            Ok(Entry::Node(line)) => book(&line.cluster, &line.node, &|book| book.add_line(&line)),
            Ok(Entry::Other) => {}
            Ok(Entry::Skipped(skipped)) => outcome.skip(file, &skipped),
            Err(error) => return outcome.skip_file(file, &error),
        }
    }
}
