//! What hooks told long ago, or only of the end: ct-noded stood still, was not there, or Slurm never
//! ran the hooks of the start, as of a job that is cancelled while it is launched.

use std::time::Duration;

use ct_core::job::Job;
use ct_core::protocol::{JobEnd, JobFacts};
use ct_core::sample::Moment;
use ct_core::sampler::now;

use super::lifecycle::complete_facts;
use super::{Ended, Station};

/// What is read this much later than a hook told it was told late: a busy node takes some time.
const LATE: Duration = Duration::from_secs(1);

/// When a hook told this, where that is long ago.
pub(super) fn told_late(facts: &JobFacts, at: Moment) -> Option<Moment> {
    facts.told_at(at).filter(|told| at.since(told) > LATE)
}

impl Station {
    /// A hook tells that a job ended on this node, perhaps one that nobody has told of before.
    pub fn job_ended(&mut self, end: JobEnd) {
        let job_id = end.job.job_id;
        let Some(job) = self.jobs.get(&job_id) else { return self.end_unmeasured(end) };
        let told = end.job.told_at_ms.zip(job.facts.told_at_ms);
        if told.is_some_and(|(end, start)| end < start) {
            // Of the run before; where that was known, its end was found out.
            if !self.has_run_of(job_id) {
                self.end_unmeasured(end);
            }
            return;
        }
        let late = told_late(&end.job, now());
        if late.is_some_and(|told| job.was_over_at(told)) {
            self.take_looks();
            // What is drawn until the coming sample is not of a job that was over before.
            self.gone.insert(job_id);
        }
        self.job_end(job_id, end.wait_status, true);
        if let Some((told, ended)) = late.zip(self.ended.last_mut()) {
            ended.job.ended_at(told);
        }
    }

    /// A run begins: ends without a start that were counted as this run's or later are of those before
    /// it, as an epilog counts the next run where its own was sent back. No two are of one run.
    pub(crate) fn count_ends_before(&mut self, job_id: u32, restart: u32) {
        let is_of_job = |e: &&mut Ended| e.is_end_only && e.job.facts.job_id == job_id;
        let mut ends: Vec<&mut Ended> = self.ended.iter_mut().filter(is_of_job).collect();
        ends.sort_by_key(|ended| std::cmp::Reverse(ended.job.restart));
        let mut most = restart.checked_sub(1);
        for ended in ends {
            let Some(run) = most else { return };
            ended.job.restart = ended.job.restart.min(run);
            most = ended.job.restart.checked_sub(1);
        }
    }

    /// Of a job that ends and is not known: a run that no hook told of, or one whose end was found
    /// out before. slurmctld knows which: see `noded/closing`.
    fn end_unmeasured(&mut self, end: JobEnd) {
        self.books.note_cluster(end.job.cluster.as_deref());
        let at = now();
        let told = end.job.told_at(at).unwrap_or(at);
        let mut job = Job::unmeasured(self.with_restart(*end.job), told);
        complete_facts(&mut job, &self.node);
        self.ended.push(Ended { is_end_only: true, ..Ended::new(job, end.wait_status, true) });
    }
}
