//! Puts what jobs used into Slurm's own accounting, as the AdminComment of each job.
//!
//! `job` makes one job of its records, `comment` its text; `accounting` asks Slurm what is there and
//! writes, and `memory` keeps what was written, so that the next run asks and writes less.

pub(crate) mod accounting;
pub(crate) mod comment;
pub(crate) mod job;
pub(crate) mod memory;

use self::accounting::Row;
use self::comment::is_ours;
use self::job::Job;

/// What is to be done for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// There is no comment yet.
    Write,
    /// The comment is ours and says something else, or is somebody's and was asked to be replaced.
    Replace,
    /// The comment says so already.
    Keep,
    /// The comment is somebody else's.
    Foreign,
    /// Slurm's accounting has no such job.
    Unknown,
    /// Records of other nodes may still come.
    Wait,
}

impl Action {
    /// The name used in columns.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
            Self::Wait => "wait",
        }
    }

    /// What a job needs, by the row Slurm's accounting has of it.
    pub(crate) fn of(job: &Job, text: &str, row: Option<&Row>, may_overwrite: bool) -> Self {
        match row {
            None => Self::Unknown,
            // Ids are given again: the row is of another job by now.
            Some(row) if row.user != job.user => Self::Unknown,
            Some(row) if row.comment.is_empty() => Self::Write,
            Some(row) if row.comment == text => Self::Keep,
            Some(row) if is_ours(&row.comment) || may_overwrite => Self::Replace,
            Some(_) => Self::Foreign,
        }
    }
}
