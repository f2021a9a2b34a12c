//! The books of every node, from the ledger.
//!
//! A node's lines are in files of its name, so the files of a name are read together and their
//! books reckoned up before the next are read. Files of other names that hold the same node (a copy,
//! a file of several nodes) are found by what they hold, and read again with the others.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use ct_core::ledger::reader::{Entries, Entry, ledger_files};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::diagnostic::Outcome;
use crate::load::jobs::{is_asked_for, no_ledger};
use crate::reconcile::Book;
use crate::reconcile::row::NodeId;

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

/// What came of the files of one name.
struct Part<T> {
    nodes: Vec<NodeId>,
    done: T,
    outcome: Outcome,
}

/// Gives the books of every node to `work`, on all processors, and returns what that does.
///
/// # Errors
///
/// A directory that cannot be read. Files and lines that cannot be read are reported in `outcome`.
pub(crate) fn map_books<T: Send>(
    dir: &Path,
    query: &NodeQuery,
    outcome: &mut Outcome,
    work: impl Fn(&Books) -> T + Sync,
) -> Result<Vec<T>> {
    let mut files = ledger_files(dir).map_err(|error| no_ledger(dir, error))?;
    // Whether a node has lines before the time asked for tells what is missing at its beginning.
    let since = query.since.map(|since| since - TimeDelta::days(1));
    files.retain(|file| is_asked_for(file, since));
    let mut sets = by_name(files);
    loop {
        let read = |(number, files): (usize, &Vec<PathBuf>)| {
            let mut outcome = Outcome::default();
            let books = read_books(files, query, &mut outcome);
            let nodes = books.keys().cloned().collect();
            (number, Part { nodes, done: work(&books), outcome })
        };
        let numbered: Vec<_> = sets.iter().enumerate().collect();
        let mut parts: Vec<_> = numbered.into_par_iter().map(read).collect();
        parts.sort_by_key(|(number, _)| *number);
        let parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
        match join(&sets, &parts) {
            Some(joined) => sets = joined,
            None => {
                return Ok(parts
                    .into_iter()
                    .map(|part| {
                        outcome.append(part.outcome);
                        part.done
                    })
                    .collect());
            }
        }
    }
}

/// The files of each name, those of earlier months first.
fn by_name(files: Vec<PathBuf>) -> Vec<Vec<PathBuf>> {
    let mut sets: BTreeMap<OsString, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_owned();
        sets.entry(name).or_default().push(file);
    }
    sets.into_values().collect()
}

/// The sets with those made one that hold the same node; `None` where none do.
fn join<T>(sets: &[Vec<PathBuf>], parts: &[Part<T>]) -> Option<Vec<Vec<PathBuf>>> {
    let mut of_node: HashMap<&NodeId, usize> = HashMap::new();
    let mut into: Vec<usize> = (0..sets.len()).collect();
    for (number, part) in parts.iter().enumerate() {
        for node in &part.nodes {
            let first = *of_node.entry(node).or_insert(number);
            let (a, b) = (root(&into, first), root(&into, number));
            into[a.max(b)] = a.min(b);
        }
    }
    let is_alone = into.iter().enumerate().all(|(number, target)| number == *target);
    if is_alone {
        return None;
    }
    let mut joined: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
    for (number, files) in sets.iter().enumerate() {
        joined.entry(root(&into, number)).or_default().extend(files.iter().cloned());
    }
    joined.values_mut().for_each(|files| files.sort());
    Some(joined.into_values().collect())
}

fn root(into: &[usize], mut number: usize) -> usize {
    while into[number] != number {
        number = into[number];
    }
    number
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
