//! The files of a ledger and of its dataset, those of one node at a time, on all processors.
//!
//! A node's lines are in files of its name, so the files of a name are read together, and what is
//! known of the node is complete and can be let go before the next is read. Files of other names
//! that hold the same node (a copy, a file of several nodes) are found by what they hold; all is
//! then read again, with such files together.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::diagnostic::Outcome;
use crate::progress::Progress;

/// A node: its cluster and its name.
pub(crate) type NodeId = (String, String);

/// What holds lines of a node.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Rows of the dataset: what was compacted comes before what was not.
    #[cfg(feature = "parquet")]
    Rows(crate::load::compacted::Rows),
    /// A file of the ledger.
    File(PathBuf),
}

impl Piece {
    /// What files and rows of one node have in common.
    fn name(&self) -> OsString {
        match self {
            #[cfg(feature = "parquet")]
            Self::Rows(rows) => rows.node().into(),
            Self::File(path) => path.file_stem().unwrap_or_default().to_owned(),
        }
    }

    /// What it is sorted by: rows before files, then by month.
    fn order(&self) -> (bool, &Path, usize, usize) {
        match self {
            #[cfg(feature = "parquet")]
            Self::Rows(rows) => {
                let (path, group, from) = rows.place();
                (false, path, group, from)
            }
            Self::File(path) => (true, path, 0, 0),
        }
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Piece {}

impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Piece {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Sets of files whose results are in memory at once, per processor.
const SETS_AT_ONCE: usize = 8;

/// What came of a set of files.
pub(super) struct Part<T> {
    /// Nodes that were found there.
    pub(super) nodes: Vec<NodeId>,
    /// What was made of them.
    pub(super) done: T,
}

/// Gives the files of each node to `work` and adds up what that returns with `merge`, in the order
/// of the names of files.
pub(super) fn fold<T: Default + Send>(
    files: Vec<Piece>,
    outcome: &mut Outcome,
    work: impl Fn(&[Piece], &mut Outcome) -> Part<T> + Sync,
    merge: impl Fn(&mut T, T),
) -> T {
    let mut sets = by_name(files);
    loop {
        let (mut all, mut noted) = (T::default(), Outcome::default());
        let mut holders = Holders::new(sets.len());
        let progress = Progress::new("nodes", sets.len());
        let at_once = SETS_AT_ONCE * rayon::current_num_threads();
        for from in (0..sets.len()).step_by(at_once) {
            let to = sets.len().min(from + at_once);
            let one = |number: usize| {
                let mut outcome = Outcome::default();
                let part = work(&sets[number], &mut outcome);
                progress.step();
                (number, part, outcome)
            };
            let parts: Vec<_> = (from..to).into_par_iter().map(one).collect();
            for (number, part, own) in parts {
                holders.add(number, part.nodes);
                noted.append(own);
                merge(&mut all, part.done);
            }
        }
        match holders.join(&sets) {
            Some(joined) => sets = joined,
            None => {
                outcome.append(noted);
                return all;
            }
        }
    }
}

/// The files of each name, those of earlier months first.
fn by_name(files: Vec<Piece>) -> Vec<Vec<Piece>> {
    let mut sets: BTreeMap<OsString, Vec<Piece>> = BTreeMap::new();
    for file in files {
        let name = file.name();
        sets.entry(name).or_default().push(file);
    }
    sets.values_mut().for_each(|files| files.sort());
    sets.into_values().collect()
}

/// Which set holds which node.
struct Holders {
    of_node: HashMap<NodeId, usize>,
    /// Of each set one that holds the same node, or itself.
    same: Vec<usize>,
}

impl Holders {
    fn new(n_sets: usize) -> Self {
        Self { of_node: HashMap::new(), same: (0..n_sets).collect() }
    }

    fn add(&mut self, number: usize, nodes: Vec<NodeId>) {
        for node in nodes {
            let first = *self.of_node.entry(node).or_insert(number);
            let (a, b) = (self.root(first), self.root(number));
            self.same[a.max(b)] = a.min(b);
        }
    }

    fn root(&self, mut number: usize) -> usize {
        while self.same[number] != number {
            number = self.same[number];
        }
        number
    }

    /// The sets with those made one that hold the same node; `None` where none do.
    fn join(&self, sets: &[Vec<Piece>]) -> Option<Vec<Vec<Piece>>> {
        if self.same.iter().enumerate().all(|(number, same)| number == *same) {
            return None;
        }
        let mut joined: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
        for (number, files) in sets.iter().enumerate() {
            joined.entry(self.root(number)).or_default().extend(files.iter().cloned());
        }
        joined.values_mut().for_each(|files| files.sort());
        Some(joined.into_values().collect())
    }
}
