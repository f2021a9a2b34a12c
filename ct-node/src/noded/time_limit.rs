//! When a job's time limit ends it, for the prediction of jobs without declared epochs.
//!
//! Newer Slurm says it in the job's environment; else slurmctld is asked once a job, on a thread, by
//! `squeue`. Without an answer there is no such prediction.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::job::Job;

use super::slurmctld::answer_of;
use crate::station::Station;

/// A job this old is asked about: before that slurmctld may not know it as running.
const SOON: Duration = Duration::from_secs(2);

/// A job and when its limit ends it.
type Limit = (u32, DateTime<Utc>);

/// The thread that asks, and the jobs it was asked about.
pub(super) struct TimeLimits {
    questions: Sender<u32>,
    answers: Receiver<Limit>,
    asked: BTreeSet<u32>,
}

impl TimeLimits {
    /// Starts it; a byte on `wake` says that an answer is there.
    pub(super) fn spawn(mut wake: UnixStream) -> std::io::Result<Self> {
        let (questions, inbox) = channel::<u32>();
        let (outbox, answers) = channel();
        let work = move || {
            for job_id in inbox {
                let job = job_id.to_string();
                let answer = answer_of(
                    "squeue",
                    &["--noheader", "--states=running", "--jobs", &job, "--format=%A %L"],
                );
                let Some(told) = answer.filter(|told| told.is_success) else { continue };
                // Of an array's first job, whose id is the array's, it lists all jobs.
                let lines = told.out.lines().filter_map(|l| l.trim().split_once(' '));
                let left =
                    lines.filter(|(id, _)| *id == job).find_map(|(_, left)| parse_left(left));
                let at = left.and_then(|left| Utc::now().checked_add_signed(left));
                if let Some(at) = at
                    && outbox.send((job_id, at)).is_ok()
                {
                    let _ = wake.write(&[0]);
                }
            }
        };
        thread::Builder::new().name("time-limit".to_owned()).stack_size(256 * 1024).spawn(work)?;
        Ok(Self { questions, answers, asked: BTreeSet::new() })
    }

    /// Asks about jobs that want to know, and hands on what was answered.
    pub(super) fn turn(&mut self, station: &mut Station) {
        for (job_id, at) in self.answers.try_iter() {
            station.set_limit(job_id, at);
        }
        self.asked.retain(|job_id| station.jobs().contains_key(job_id));
        for (job_id, job) in station.jobs() {
            if is_to_be_asked(job) && self.asked.insert(*job_id) {
                // A thread that is gone answers nothing.
                let _ = self.questions.send(*job_id);
            }
        }
    }

    /// Whether a job is to be asked about.
    pub(super) fn is_due(&self, station: &Station) -> bool {
        let is_new = |(id, job): (&u32, &Job)| is_to_be_asked(job) && !self.asked.contains(id);
        station.jobs().iter().any(is_new)
    }
}

fn is_to_be_asked(job: &Job) -> bool {
    let is_wanted = job.tracked && job.is_first_node && job.settings.epochs.is_none();
    is_wanted && job.limit_at.is_none() && job.elapsed() >= SOON
}

/// Reads squeue's time left, `[D-][HH:]MM:SS`; `None` for no limit.
fn parse_left(text: &str) -> Option<TimeDelta> {
    let (days, clock) = text.trim().split_once('-').unwrap_or(("0", text.trim()));
    let mut seconds = days.parse::<u32>().ok().map(i64::from)?;
    let parts: Vec<i64> =
        clock.split(':').map(|p| p.parse::<u32>().ok().map(i64::from)).collect::<Option<_>>()?;
    let [hours, minutes, rest] = match parts[..] {
        [minutes, seconds] => [0, minutes, seconds],
        [hours, minutes, seconds] => [hours, minutes, seconds],
        _ => return None,
    };
    seconds = seconds * 86_400 + hours * 3600 + minutes * 60 + rest;
    TimeDelta::try_seconds(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_read_in_all_its_forms() {
        for (text, seconds) in
            [("0:05\n", 5), ("59:59", 3599), ("1:00:00", 3600), ("2-03:04:05", 183_845)]
        {
            assert_eq!(parse_left(text), TimeDelta::try_seconds(seconds), "{text}");
        }
        for text in ["", "UNLIMITED", "INVALID", "NOT_SET", "1", "-5:00", "1:2:3:4"] {
            assert_eq!(parse_left(text), None, "{text}");
        }
    }
}
