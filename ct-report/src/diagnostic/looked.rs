//! What was in the paths that a command was given: says why nothing matched.

use std::path::PathBuf;

/// Paths that are named one by one; the rest is counted.
const NAMED: usize = 3;

/// Paths, and what was in them.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The first of them.
    named: Vec<PathBuf>,
    n_more: usize,
    is_recursive: bool,
    /// Runs that have logs or a record.
    n_runs: usize,
    /// Of them, those whose record was read; `None` where records were not asked for.
    n_records: Option<usize>,
}

impl Looked {
    pub(super) fn new(
        mut paths: impl Iterator<Item = PathBuf>,
        is_recursive: bool,
        n_runs: usize,
    ) -> Self {
        let named = paths.by_ref().take(NAMED).collect();
        Self { named, n_more: paths.count(), is_recursive, n_runs, n_records: None }
    }

    pub(super) fn count_records(&mut self, n: usize) {
        *self.n_records.get_or_insert_default() += n;
    }

    /// Why nothing matched.
    pub(super) fn why(&self) -> String {
        let (places, n) = (self.places(), self.n_runs);
        match self.n_records {
            _ if n == 0 && self.is_recursive => format!("no logs of carbontracker in {places}"),
            _ if n == 0 => {
                format!(
                    "no logs of carbontracker in {places}; -R looks into directories below, too"
                )
            }
            Some(0) => format!(
                "{n} run(s) in {places} have no record (…_carbontracker.json), which only \
                 carbontracker-slurm writes: `ct-report aggregate` counts logs alone"
            ),
            Some(n) => format!("none of {n} record(s) in {places} is asked for"),
            None => "nothing matched".to_owned(),
        }
    }

    fn places(&self) -> String {
        let names: Vec<_> = self.named.iter().map(|path| path.display().to_string()).collect();
        match self.n_more {
            0 => names.join(", "),
            n => format!("{} and {n} more", names.join(", ")),
        }
    }
}
