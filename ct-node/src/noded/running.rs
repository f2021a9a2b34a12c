//! What slurmctld knows of running jobs and no hook on the node: when the time limit ends one, for the
//! prediction of jobs without declared epochs, and its account, for the budgets of accounts.
//!
//! slurmctld is asked once a job and only where the answer is wanted, on a thread, by `squeue`.
//! Without an answer there is no such prediction, and no budget of an account.

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

/// What was told of a job.
#[derive(Debug, Default, PartialEq)]
struct Told {
    job_id: u32,
    /// When its limit ends it.
    limit_at: Option<DateTime<Utc>>,
    account: Option<String>,
}

/// The thread that asks, and the jobs it was asked about.
pub(super) struct Running {
    questions: Sender<u32>,
    answers: Receiver<Told>,
    asked: BTreeSet<u32>,
}

impl Running {
    /// Starts it; a byte on `wake` says that an answer is there.
    pub(super) fn spawn(mut wake: UnixStream) -> std::io::Result<Self> {
        let (questions, inbox) = channel::<u32>();
        let (outbox, answers) = channel();
        let work = move || {
            for job_id in inbox {
                if let Some(told) = ask(job_id)
                    && outbox.send(told).is_ok()
                {
                    let _ = wake.write(&[0]);
                }
            }
        };
        thread::Builder::new().name("running".to_owned()).stack_size(256 * 1024).spawn(work)?;
        Ok(Self { questions, answers, asked: BTreeSet::new() })
    }

    /// Asks about jobs that want to know, and hands on what was answered.
    pub(super) fn turn(&mut self, station: &mut Station) {
        for told in self.answers.try_iter() {
            let Some(job) = station.job_mut(told.job_id) else { continue };
            job.limit_at = job.limit_at.or(told.limit_at);
            job.account = told.account.or(job.account.take());
        }
        self.asked.retain(|job_id| station.jobs().contains_key(job_id));
        let has_budgets = station.config().budget.is_set();
        for (job_id, job) in station.jobs() {
            if is_to_be_asked(job, has_budgets) && self.asked.insert(*job_id) {
                // A thread that is gone answers nothing.
                let _ = self.questions.send(*job_id);
            }
        }
    }

    /// Whether a job is to be asked about.
    pub(super) fn is_due(&self, station: &Station) -> bool {
        let has_budgets = station.config().budget.is_set();
        let is_new =
            |(id, job): (&u32, &Job)| is_to_be_asked(job, has_budgets) && !self.asked.contains(id);
        station.jobs().iter().any(is_new)
    }
}

fn is_to_be_asked(job: &Job, has_budgets: bool) -> bool {
    let is_wanted = wants_limit(job) || (has_budgets && wants_account(job));
    is_wanted && job.elapsed() >= SOON
}

fn wants_limit(job: &Job) -> bool {
    let is_predicted = job.tracked && job.is_first_node && job.settings.epochs.is_none();
    is_predicted && job.limit_at.is_none()
}

fn wants_account(job: &Job) -> bool {
    job.is_first_node && job.account.is_none()
}

fn ask(job_id: u32) -> Option<Told> {
    let job = job_id.to_string();
    let args = ["--noheader", "--states=running", "--jobs", &job, "--format=%A %L %a"];
    let answer = answer_of("squeue", &args).filter(|said| said.is_success)?;
    // Of an array's first job, whose id is the array's, it lists all jobs.
    answer.out.lines().find_map(|line| parse(line, job_id, Utc::now()))
}

/// Reads a line of squeue's, if it is of this job.
fn parse(line: &str, job_id: u32, now: DateTime<Utc>) -> Option<Told> {
    let mut words = line.split_ascii_whitespace();
    if words.next()?.parse() != Ok(job_id) {
        return None;
    }
    let limit_at = words.next().and_then(parse_left).and_then(|left| now.checked_add_signed(left));
    let account = words.next().filter(|a| *a != "(null)").map(str::to_owned);
    Some(Told { job_id, limit_at, account })
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
    fn a_jobs_own_line_tells_its_limit_and_its_account() {
        let now: DateTime<Utc> = "2026-11-20T10:00:00Z".parse().unwrap();
        let told = |limit_s, account: Option<&str>| Told {
            job_id: 7,
            limit_at: Some(now + TimeDelta::seconds(limit_s)),
            account: account.map(str::to_owned),
        };
        assert_eq!(parse("7 1:00 physics", 7, now), Some(told(60, Some("physics"))));
        assert_eq!(parse("7 0:30 (null)", 7, now), Some(told(30, None)));
        let unlimited = parse("7 UNLIMITED physics", 7, now).unwrap();
        assert_eq!((unlimited.limit_at, unlimited.account.as_deref()), (None, Some("physics")));
        assert_eq!(parse("8 1:00 physics", 7, now), None);
        assert_eq!(parse("", 7, now), None);
    }

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
