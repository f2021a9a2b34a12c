//! How many jobs a group has, and how long they took.

use super::exact::ExactSum;
use super::part::JobRef;
use super::spread::Spread;

/// Jobs, each once however many records it has.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Jobs of one node.
    n_single: usize,
    /// Their time.
    elapsed_s: ExactSum,
    /// Jobs of several records, and records in parts.
    spread: Spread,
    /// The record of which a part was added last, by its number, and the time of its parts.
    last: Option<(u64, f64)>,
}

impl Jobs {
    /// Adds a part of the record with this number; those of one record come one after another.
    pub(crate) fn add(&mut self, number: u64, job: &JobRef, elapsed_s: f64) {
        let before = self.last.filter(|(last, _)| *last == number).map(|(_, elapsed_s)| elapsed_s);
        let of_record = before.unwrap_or_default() + elapsed_s;
        self.last = Some((number, of_record));
        if job.split_id != 0 {
            self.spread.add_piece(job, elapsed_s);
        } else if Spread::has_several(job) {
            self.spread.add_record(job, of_record);
        } else {
            self.n_single += usize::from(before.is_none());
            self.elapsed_s += elapsed_s;
        }
    }

    /// Adds the jobs of other records.
    pub(super) fn append(&mut self, other: Self) {
        self.n_single += other.n_single;
        self.elapsed_s += other.elapsed_s;
        self.spread.append(other.spread);
        self.last = None;
    }

    /// How many they are.
    pub(super) fn n(&self) -> usize {
        self.n_single + self.spread.n_jobs()
    }

    /// The time they took, in seconds; of a job over several nodes that of the node that took longest.
    pub(super) fn elapsed_s(&self) -> f64 {
        let mut sum = self.elapsed_s;
        sum += self.spread.elapsed_s();
        sum.value()
    }
}
