//! Jobs of which a group has several records, or a record in parts from several files: each is
//! counted once, with the time on the node that took longest.

use std::collections::{BTreeMap, HashSet};

use foldhash::HashMap;

use super::exact::ExactSum;
use super::part::{ClusterHash, JobKey, JobRef};

/// A job of a cluster, by id and restart count. There are millions, so that each byte counts.
type OfCluster = (u32, u32);

/// What has to be kept of each such job until all records are in.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Jobs over several nodes, with the time on the node that took longest.
    longest_s: BTreeMap<ClusterHash, HashMap<OfCluster, f64>>,
    /// Records of which parts came from several files, by job and record: nodes of the job, and time.
    pieces_s: HashMap<(JobKey, i64), (u32, f64)>,
}

impl Spread {
    /// Whether several records may be of this job: a command outside of Slurm is on one node, and
    /// only its start tells it from others.
    pub(super) fn has_several(job: &JobRef) -> bool {
        job.n_nodes > 1 && job.job_id != 0
    }

    /// Adds a record of a job over several nodes, or what came of it since, with its time so far.
    pub(super) fn add_record(&mut self, job: &JobRef, elapsed_s: f64) {
        let jobs = self.longest_s.entry(job.cluster).or_default();
        let longest = jobs.entry((job.job_id, job.restart)).or_default();
        *longest = longest.max(elapsed_s);
    }

    /// Adds a part of a record whose other parts may come at any time.
    pub(super) fn add_piece(&mut self, job: &JobRef, elapsed_s: f64) {
        let piece = self.pieces_s.entry((job.key(), job.split_id)).or_default();
        let n_nodes = if Self::has_several(job) { job.n_nodes } else { 1 };
        *piece = (n_nodes, piece.1 + elapsed_s);
    }

    /// Adds those of other records.
    pub(super) fn append(&mut self, other: Self) {
        for (cluster, mut jobs) in other.longest_s {
            let known = self.longest_s.entry(cluster).or_default();
            if known.len() < jobs.len() {
                std::mem::swap(known, &mut jobs);
            }
            for (job, elapsed_s) in jobs {
                let longest = known.entry(job).or_default();
                *longest = longest.max(elapsed_s);
            }
        }
        for (piece, (n_nodes, elapsed_s)) in other.pieces_s {
            let sum = self.pieces_s.entry(piece).or_default();
            *sum = (n_nodes, sum.1 + elapsed_s);
        }
    }

    /// How many jobs they are.
    pub(super) fn n_jobs(&self) -> usize {
        let is_whole = |job: &(ClusterHash, OfCluster)| self.longest(job).is_some();
        let n_whole: usize = self.longest_s.values().map(|jobs| jobs.len()).sum();
        let of_pieces: HashSet<_> = self.pieces_of_several().map(|(job, _)| job).collect();
        let n_single = self.pieces_s.values().filter(|(n_nodes, _)| *n_nodes <= 1).count();
        n_single + n_whole + of_pieces.iter().filter(|job| !is_whole(job)).count()
    }

    /// The time they took, in seconds.
    pub(super) fn elapsed_s(&self) -> ExactSum {
        let mut of_pieces: BTreeMap<_, f64> = BTreeMap::new();
        for (job, elapsed_s) in self.pieces_of_several() {
            let longest = of_pieces.entry(job).or_default();
            *longest = longest.max(elapsed_s);
        }
        let mut sum = ExactSum::default();
        let singles = self.pieces_s.values().filter(|(n_nodes, _)| *n_nodes <= 1);
        singles.for_each(|(_, elapsed_s)| sum += *elapsed_s);
        for (cluster, jobs) in &self.longest_s {
            for (job, elapsed_s) in jobs {
                let in_parts = of_pieces.remove(&(*cluster, *job)).unwrap_or_default();
                sum += elapsed_s.max(in_parts);
            }
        }
        of_pieces.into_values().for_each(|elapsed_s| sum += elapsed_s);
        sum
    }

    /// Records in parts, of jobs over several nodes.
    fn pieces_of_several(&self) -> impl Iterator<Item = ((ClusterHash, OfCluster), f64)> {
        let several = self.pieces_s.iter().filter(|(_, (n_nodes, _))| *n_nodes > 1);
        several.map(|(((cluster, job_id, restart, _), _), (_, elapsed_s))| {
            ((*cluster, (*job_id, *restart)), *elapsed_s)
        })
    }

    fn longest(&self, (cluster, job): &(ClusterHash, OfCluster)) -> Option<f64> {
        self.longest_s.get(cluster)?.get(job).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::End;
    use super::*;

    fn job(cluster: &str, job_id: u32, n_nodes: u32, split_id: i64) -> JobRef {
        let (cluster, end) = (ClusterHash::of(cluster), End::Other);
        JobRef { cluster, job_id, restart: 0, start_ms: 7, n_nodes, end, split_id }
    }

    #[test]
    fn a_job_is_counted_once_whatever_came_whole_and_whatever_in_parts() {
        let mut sum = Spread::default();
        // Job 1 on two nodes: 10 s, and 4 + 8 s in two parts. Job 2 in parts only: 3 s and 5 s.
        sum.add_record(&job("a", 1, 2, 0), 10.0);
        sum.add_piece(&job("a", 1, 2, 11), 4.0);
        sum.add_piece(&job("a", 2, 2, 21), 3.0);
        sum.add_piece(&job("a", 2, 2, 22), 5.0);
        let mut more = Spread::default();
        more.add_piece(&job("a", 1, 2, 11), 8.0);
        // The same number in another cluster, one of one node in parts, and one that grew.
        more.add_record(&job("b", 1, 2, 0), 1.0);
        more.add_record(&job("b", 3, 4, 0), 2.0);
        more.add_record(&job("b", 3, 4, 0), 6.0);
        more.add_piece(&job("b", 4, 1, 41), 9.0);
        sum.append(more);
        assert_eq!(sum.n_jobs(), 5);
        // 12 + 5, and 1 + 6 + 9.
        assert_eq!(sum.elapsed_s().value(), 33.0);
    }

    #[test]
    fn commands_outside_of_slurm_are_one_each() {
        assert!(!Spread::has_several(&job("a", 0, 2, 0)));
        let mut sum = Spread::default();
        sum.add_piece(&job("a", 0, 2, 1), 1.0);
        sum.add_piece(&job("a", 0, 2, 2), 2.0);
        assert_eq!((sum.n_jobs(), sum.elapsed_s().value()), (2, 3.0));
    }
}
