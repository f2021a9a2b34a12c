//! What is asked for: which jobs, of which time.

pub(crate) mod time;

use chrono::{DateTime, Utc};
use ct_core::record::Brief;

use crate::query::time::Zone;

/// Which records are wanted; an empty list wants all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) users: Vec<String>,
    pub(crate) accounts: Vec<String>,
    pub(crate) partitions: Vec<String>,
    pub(crate) clusters: Vec<String>,
    pub(crate) jobs: Vec<JobSelector>,
    /// Energy from this time on.
    pub(crate) start: Option<DateTime<Utc>>,
    /// Energy before this time.
    pub(crate) end: Option<DateTime<Utc>>,
    /// Where months and days begin.
    pub(crate) zone: Zone,
}

/// A job as the user names it: `42`, `42_7` for one task of an array, or `42+1` for one component of
/// a heterogeneous job; each with `.N` behind it for its run after N restarts, as logs are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobSelector {
    id: u32,
    part: Part,
    /// Which run of it; all where none is named.
    restart: Option<u32>,
}

/// Which part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// Index within an array.
    Task(u32),
    /// Offset within a heterogeneous job.
    Component(u32),
}

impl std::str::FromStr for JobSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let digits = Some(part).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|part| part.parse().ok()).ok_or_else(|| {
                format!(
                    "job is {text:?}, expected an id such as 42, 42_7 or 42+1, or 42.1 for its \
                         run after one restart"
                )
            })
        };
        let (job, restart) = match text.split_once('.') {
            Some((job, restart)) => (job, Some(number(restart)?)),
            None => (text, None),
        };
        let (id, part) = if let Some((id, task)) = job.split_once('_') {
            (id, Part::Task(number(task)?))
        } else if let Some((id, offset)) = job.split_once('+') {
            (id, Part::Component(number(offset)?))
        } else {
            (job, Part::All)
        };
        Ok(Self { id: number(id)?, part, restart })
    }
}

impl JobSelector {
    fn selects(self, record: &Brief<'_>) -> bool {
        let id = Some(self.id);
        if self.restart.is_some_and(|restart| restart != record.restart) {
            return false;
        }
        match self.part {
            Part::All => {
                [Some(record.job_id), record.array_job_id, record.het_job_id].contains(&id)
            }
            Part::Task(task) => record.array_job_id == id && record.array_task_id == Some(task),
            // Slurm gives the components of a heterogeneous job consecutive ids.
            Part::Component(offset) => {
                record.het_job_id == id && Some(record.job_id) == self.id.checked_add(offset)
            }
        }
    }
}

impl Query {
    /// Whether a record's job is asked for, whatever its time.
    pub(crate) fn selects(&self, record: &Brief<'_>) -> bool {
        let is_in = |list: &[String], value: Option<&str>| {
            list.is_empty() || list.iter().any(|wanted| Some(wanted.as_str()) == value)
        };
        is_in(&self.users, Some(&record.user))
            && is_in(&self.accounts, record.account.as_deref())
            && is_in(&self.partitions, record.partition.as_deref())
            && is_in(&self.clusters, Some(&record.cluster))
            && (self.jobs.is_empty() || self.jobs.iter().any(|job| job.selects(record)))
    }

    /// Whether single runs of jobs are asked for: what is known of a job as a whole is not theirs.
    pub(crate) fn names_runs(&self) -> bool {
        self.jobs.iter().any(|job| job.restart.is_some())
    }

    /// Whether an instant lies in the time asked for.
    pub(crate) fn covers(&self, at: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| at >= start) && self.end.is_none_or(|end| at < end)
    }

    /// Whether any of a span lies in the time asked for.
    pub(crate) fn touches(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        self.start.is_none_or(|from| end >= from) && self.end.is_none_or(|to| start < to)
    }

    /// Whether the time asked for holds the whole of a span.
    pub(crate) fn covers_span(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> bool {
        self.start.is_none_or(|from| start >= from)
            && self.end.is_none_or(|to| end <= to && start < to)
    }
}
