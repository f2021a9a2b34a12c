//! What Slurm's accounting knows of jobs, held against what the ledger knows.
//!
//! `sacct --json` and `sacct -P` are read; an [`Allocation`] is a run of a job, as a record is, but
//! for all its nodes. Steps are passed over.

pub(crate) mod join;
mod json;
mod parsable;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use ct_core::record::{EndReason, GpuShare, Record};

pub(crate) use json::parse as parse_json;
pub(crate) use parsable::parse as parse_parsable;

/// A record that says nothing; fields that later versions add have their defaults.
static BLANK: LazyLock<Option<Record>> = LazyLock::new(|| serde_json::from_str(NOTHING).ok());

const NOTHING: &str = r#"{"v":1,"kind":"job","cluster":"","job_id":0,"restart":0,"node":"","n_nodes":1,
"user":"","uid":0,"start":"1970-01-01T00:00:00Z","end":"1970-01-01T00:00:00Z","elapsed_s":0,
"end_reason":"unknown","alloc_cpus":0,"gpus":[],"energy_j":{"cpu":0,"dram":0,"gpu":0,"rest":0},
"idle_j":{"cpu":0,"dram":0,"gpu":0,"rest":0},"gpu_unused_j":0,"energy_by_hour":[],"pue":1,
"intensity":{"g_per_kwh":0,"zone":"","source":""},"co2e_g":0,"method":{},"coverage":1,
"attribution":"","warnings":[]}"#;

/// One run of a job, by Slurm's accounting.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Allocation {
    pub(crate) cluster: Option<String>,
    pub(crate) job_id: u32,
    pub(crate) array_job_id: Option<u32>,
    pub(crate) array_task_id: Option<u32>,
    pub(crate) user: String,
    pub(crate) account: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) qos: Option<String>,
    pub(crate) job_name: Option<String>,
    /// Slurm's state, its first word in lower case: `completed`, `cancelled`, `running`.
    pub(crate) state: String,
    pub(crate) start: Option<DateTime<Utc>>,
    pub(crate) end: Option<DateTime<Utc>>,
    /// CPUs on all nodes, by TRES.
    pub(crate) n_cpus: u32,
    /// GPUs on all nodes, by TRES.
    pub(crate) n_gpus: f64,
}

impl Allocation {
    /// When it ran, if it ran and has ended. Slurm counts whole seconds, so a job may have taken
    /// none; one that was cancelled before it began has none either, but no CPUs.
    pub(crate) fn span(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (start, end) = (self.start?, self.end?);
        (end > start || (end == start && self.n_cpus > 0)).then_some((start, end))
    }

    /// Whether it runs still.
    pub(crate) fn is_running(&self) -> bool {
        self.start.is_some() && self.end.is_none()
    }

    /// How it ended, in the words of records.
    pub(crate) fn end_reason(&self) -> EndReason {
        let word = serde_json::Value::String(self.state.clone());
        serde_json::from_value(word).unwrap_or(EndReason::Unknown)
    }

    /// The job's id as Slurm shows it.
    pub(crate) fn shown_id(&self) -> String {
        match (self.array_job_id, self.array_task_id) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => self.job_id.to_string(),
        }
    }

    /// A record without energy, so that allocations are selected and added up as records are.
    pub(crate) fn to_record(&self) -> Option<Record> {
        let (start, end) = self.span()?;
        Some(Record {
            cluster: self.cluster.clone().unwrap_or_default(),
            job_id: self.job_id,
            array_job_id: self.array_job_id,
            array_task_id: self.array_task_id,
            user: self.user.clone(),
            account: self.account.clone(),
            partition: self.partition.clone(),
            qos: self.qos.clone(),
            job_name: self.job_name.clone(),
            start,
            end,
            elapsed_s: (end - start).as_seconds_f64(),
            end_reason: self.end_reason(),
            alloc_cpus: self.n_cpus,
            gpus: vec![GpuShare { uuid: String::new(), name: String::new(), share: self.n_gpus }],
            ..BLANK.clone()?
        })
    }
}

/// A name, unless there is none.
fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first word of a state in lower case: of `CANCELLED by 1000` it is `cancelled`.
fn state(text: &str) -> String {
    text.split([' ', '+']).next().unwrap_or_default().to_ascii_lowercase()
}

fn instant(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0).filter(|_| seconds > 0)
}
