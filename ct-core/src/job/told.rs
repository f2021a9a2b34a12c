//! The span of a job that hooks told of late, or only when it had ended: ct-noded stood still, or was
//! not there, or Slurm never ran the hooks of its start.

use chrono::{DateTime, Utc};

use super::Job;
use crate::option::Settings;
use crate::protocol::JobFacts;
use crate::sample::Moment;

/// Said of a job that only its end was told of.
const UNMEASURED: &str = "no hook told of it before its end: nothing of it was measured";

impl JobFacts {
    /// When a hook told this, seen from a later instant; `None` where it does not say, or says what
    /// cannot be.
    pub fn told_at(&self, now: Moment) -> Option<Moment> {
        let since_boot = std::time::Duration::from_millis(self.told_at_ms?);
        let age = now.since_boot.checked_sub(since_boot)?;
        Some(Moment { since_boot, wall: now.wall - age })
    }
}

impl Job {
    /// A job that only its end was told of. Of its start slurmctld may know: [`Self::began_at`].
    pub fn unmeasured(facts: JobFacts, end: Moment) -> Self {
        let mut job = Self::new(facts, false, Settings::default(), end);
        job.is_unmeasured = true;
        job.warnings.insert(UNMEASURED.to_owned());
        job
    }

    /// Says when an unmeasured job began, by the clock on the wall.
    pub fn began_at(&mut self, start: DateTime<Utc>) {
        if let Ok(length) = (self.last.wall - start).to_std() {
            let since_boot = self.last.since_boot.saturating_sub(length);
            self.start = Moment { since_boot, wall: start };
        }
    }

    /// Its start was told late: it is charged from now on.
    pub fn charge_from(&mut self, now: Moment) {
        (self.last, self.charged_from) = (now, Some(now));
    }

    /// Whether it was over before anything could be charged to it, where it ended then.
    pub fn was_over_at(&self, end: Moment) -> bool {
        self.charged_from.is_some_and(|from| end.since_boot <= from.since_boot)
    }

    /// Its end was told late. Where it was over before anything could be charged to it, it ended when
    /// it did; else it ends with its last interval, whose energy it has.
    pub fn ended_at(&mut self, told: Moment) {
        if self.was_over_at(told) {
            self.last = if told.since_boot < self.start.since_boot { self.start } else { told };
            self.is_unmeasured = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        let wall = DateTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds);
        Moment { since_boot: Duration::from_secs(seconds), wall }
    }

    #[test]
    fn what_a_hook_told_is_dated_by_the_clock_that_nobody_sets() {
        let told = |ms| JobFacts { told_at_ms: ms, ..JobFacts::default() }.told_at(at(10));
        assert_eq!(told(Some(4_000)), Some(at(4)));
        assert_eq!((told(None), told(Some(10_001))), (None, None));
    }

    #[test]
    fn a_job_of_which_only_the_end_was_told_is_as_long_as_slurm_says_and_not_covered() {
        let mut job = Job::unmeasured(JobFacts::default(), at(100));
        assert_eq!((job.elapsed(), job.coverage()), (Duration::ZERO, 0.0));
        job.began_at(at(40).wall);
        assert_eq!((job.start, job.elapsed()), (at(40), Duration::from_secs(60)));
        assert_eq!(job.coverage(), 0.0);
        // A clock that was set back.
        job.began_at(at(200).wall);
        assert_eq!(job.start, at(40));
    }

    #[test]
    fn a_start_that_was_told_late_is_the_start_and_what_came_before_the_telling_is_not_covered() {
        let mut job = Job::new(JobFacts::default(), true, Settings::default(), at(10));
        job.charge_from(at(40));
        job.advance(at(50), true);
        // Of 40 s the last 10 were charged.
        assert_eq!((job.elapsed(), job.coverage()), (Duration::from_secs(40), 0.25));
        // Told late of its end, too, it keeps what it has: its energy is up to there.
        job.ended_at(at(45));
        assert_eq!(job.last, at(50));
        // Over before it was told of at all, it ended when it did.
        job.ended_at(at(30));
        assert_eq!((job.elapsed(), job.coverage()), (Duration::from_secs(20), 0.0));
    }
}
