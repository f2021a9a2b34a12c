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
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

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

/// In what order results are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// That of the names of files.
    OfNames,
    /// As threads get to them: for sums that are the same in any order. Each thread has one, not
    /// each node.
    Any,
}

/// Sets of files whose results are in memory at once, per processor, where they are kept in order.
const SETS_AT_ONCE: usize = 8;

/// What came of all sets of files.
struct Round<T> {
    sum: T,
    sets: Vec<Done>,
}

/// A set of files that was read.
struct Done {
    number: usize,
    /// Nodes that were found there.
    nodes: Vec<NodeId>,
    outcome: Outcome,
}

/// Gives the files of each node to `work`, which adds what they come to and says of which nodes
/// they are, and adds up sums with `merge`.
pub(super) fn fold<T: Default + Send>(
    files: Vec<Piece>,
    order: Order,
    outcome: &mut Outcome,
    work: impl Fn(&[Piece], &mut T, &mut Outcome) -> Vec<NodeId> + Sync,
    merge: impl Fn(&mut T, T),
) -> T {
    let mut sets = by_name(files);
    loop {
        let mut round = match order {
            Order::OfNames => read_in_order(&sets, &work, &merge),
            Order::Any => read_as_it_comes(&sets, &work, &merge),
        };
        round.sets.sort_by_key(|done| done.number);
        let (mut holders, mut noted) = (Holders::new(sets.len()), Outcome::default());
        for done in round.sets {
            holders.add(done.number, done.nodes);
            noted.append(done.outcome);
        }
        match holders.join(&sets) {
            Some(joined) => sets = joined,
            None => {
                outcome.append(noted);
                return round.sum;
            }
        }
    }
}

fn read_set<T>(
    number: usize,
    set: &[Piece],
    sum: &mut T,
    work: &impl Fn(&[Piece], &mut T, &mut Outcome) -> Vec<NodeId>,
) -> Done {
    let mut outcome = Outcome::default();
    let nodes = work(set, sum, &mut outcome);
    Done { number, nodes, outcome }
}

fn read_in_order<T: Default + Send>(
    sets: &[Vec<Piece>],
    work: &(impl Fn(&[Piece], &mut T, &mut Outcome) -> Vec<NodeId> + Sync),
    merge: &impl Fn(&mut T, T),
) -> Round<T> {
    let mut round = Round { sum: T::default(), sets: Vec::new() };
    let progress = Progress::new("nodes", sets.len());
    let at_once = SETS_AT_ONCE * rayon::current_num_threads();
    for from in (0..sets.len()).step_by(at_once) {
        let one = |number: usize| {
            let mut sum = T::default();
            let done = read_set(number, &sets[number], &mut sum, work);
            progress.step();
            (sum, done)
        };
        let to = sets.len().min(from + at_once);
        let parts: Vec<_> = (from..to).into_par_iter().map(one).collect();
        for (sum, done) in parts {
            merge(&mut round.sum, sum);
            round.sets.push(done);
        }
    }
    round
}

fn read_as_it_comes<T: Default + Send>(
    sets: &[Vec<Piece>],
    work: &(impl Fn(&[Piece], &mut T, &mut Outcome) -> Vec<NodeId> + Sync),
    merge: &impl Fn(&mut T, T),
) -> Round<T> {
    let (next, progress) = (AtomicUsize::new(0), Progress::new("nodes", sets.len()));
    let of_threads = rayon::broadcast(|_| {
        let mut own = Round { sum: T::default(), sets: Vec::new() };
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(set) = sets.get(number) else { return own };
            own.sets.push(read_set(number, set, &mut own.sum, work));
            progress.step();
        }
    });
    let mut round = Round { sum: T::default(), sets: Vec::new() };
    for own in of_threads {
        merge(&mut round.sum, own.sum);
        round.sets.extend(own.sets);
    }
    round
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
