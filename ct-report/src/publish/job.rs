//! One job, of the records of its runs and nodes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::record::{Brief, EndReason};

use crate::aggregate::part;
use crate::query::Query;

/// How long before the time asked for a requeued job's earlier runs, and its other nodes' records,
/// are looked for.
pub(crate) const LOOKBACK: TimeDelta = TimeDelta::days(31);

/// How long records of other nodes are waited for.
const PATIENCE: TimeDelta = TimeDelta::hours(1);

/// A job: cluster and raw id.
pub(crate) type JobKey = (String, u32);

/// Jobs, by cluster and id.
#[derive(Debug, Default)]
pub(crate) struct Jobs(HashMap<JobKey, Parts>);

/// What is kept of a job's records.
#[derive(Debug)]
struct Parts {
    /// By the record that ended last.
    user: String,
    array: Option<(u32, u32)>,
    end: DateTime<Utc>,
    parts: Vec<Part>,
}

/// One run on one node.
#[derive(Clone, Copy, Debug)]
struct Part {
    restart: u32,
    n_nodes: u32,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    used: Used,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) energy_uj: u128,
    pub(crate) measured_uj: u128,
    pub(crate) co2e_g: f64,
    pub(crate) covered_s: f64,
    pub(crate) node_s: f64,
    /// Nodes of the last run whose records are there.
    pub(crate) n_seen: u32,
    /// Nodes of the last run.
    pub(crate) n_nodes: u32,
    pub(crate) n_runs: u32,
}

impl Used {
    /// Share of the time for which meters answered.
    pub(crate) fn coverage(&self) -> f64 {
        if self.node_s > 0.0 { self.covered_s / self.node_s } else { 0.0 }
    }

    /// Share of the energy that was measured; `None` without energy.
    pub(crate) fn measured_share(&self) -> Option<f64> {
        (self.energy_uj > 0).then(|| self.measured_uj as f64 / self.energy_uj as f64)
    }

    fn add(&mut self, other: &Self) {
        self.energy_uj += other.energy_uj;
        self.measured_uj += other.measured_uj;
        self.co2e_g += other.co2e_g;
        self.covered_s += other.covered_s;
        self.node_s += other.node_s;
    }
}

/// A job whose comment can be written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) cluster: String,
    pub(crate) job_id: u32,
    array: Option<(u32, u32)>,
    pub(crate) user: String,
    pub(crate) end: DateTime<Utc>,
    pub(crate) used: Used,
}

impl Job {
    /// The id by which Slurm's clients change this job and no other: the raw id of an array's last
    /// task is that of the whole array.
    pub(crate) fn id(&self) -> String {
        match self.array {
            Some((array, task)) => format!("{array}_{task}"),
            None => self.job_id.to_string(),
        }
    }

    /// Whether records of other nodes may still come.
    pub(crate) fn is_waiting(&self, now: DateTime<Utc>) -> bool {
        self.used.n_seen < self.used.n_nodes && now < self.end + PATIENCE
    }
}

impl Jobs {
    /// Takes a record, if it is or may be of a job that is asked for.
    pub(crate) fn add(&mut self, record: &Brief<'_>, query: &Query) -> bool {
        let is_wanted = record.job_id != 0 && is_name(&record.cluster) && query.selects(record);
        let is_old = query.start.is_some_and(|start| record.end < start - TimeDelta::days(1));
        if !is_wanted || is_old && !may_run_again(record.end_reason) {
            return false;
        }
        let job = Parts {
            user: record.user.as_ref().to_owned(),
            array: record.array_job_id.zip(record.array_task_id),
            end: record.end,
            parts: vec![Part::of(record)],
        };
        self.insert((record.cluster.as_ref().to_owned(), record.job_id), job);
        true
    }

    /// Adds jobs of other records.
    pub(crate) fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, job)| self.insert(key, job));
    }

    fn insert(&mut self, key: JobKey, job: Parts) {
        match self.0.entry(key) {
            Entry::Vacant(new) => {
                new.insert(job);
            }
            Entry::Occupied(mut known) => known.get_mut().append(job),
        }
    }

    /// The jobs whose last run ended in the time asked for, by cluster and id.
    pub(crate) fn ended(self, query: &Query) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.0.into_iter().filter_map(|(key, job)| job.sum(key)).collect();
        jobs.retain(|job| query.covers(job.end));
        jobs.sort_by(|a, b| (&a.cluster, a.job_id).cmp(&(&b.cluster, b.job_id)));
        jobs
    }
}

/// A name that no client takes for several, or for something else.
fn is_name(text: &str) -> bool {
    let is_harmless = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && text.bytes().all(is_harmless)
}

/// Whether a job that ended so may be run again under its id.
fn may_run_again(reason: EndReason) -> bool {
    use EndReason::{BootFail, Lost, NodeFail, Preempted, Requeued, Unknown};
    matches!(reason, Requeued | Preempted | NodeFail | BootFail | Lost | Unknown)
}

impl Part {
    fn of(record: &Brief<'_>) -> Self {
        let whole = part::Part::whole(record);
        let used = Used {
            energy_uj: whole.energy_uj.iter().sum(),
            measured_uj: whole.measured_uj,
            co2e_g: whole.co2e_g,
            covered_s: whole.covered_s,
            node_s: whole.elapsed_s,
            ..Used::default()
        };
        let (restart, n_nodes) = (record.restart, record.n_nodes);
        Self { restart, n_nodes, start: record.start, end: record.end, used }
    }
}

impl Parts {
    fn append(&mut self, mut other: Self) {
        if other.end > self.end {
            (self.user, self.array, self.end) = (other.user, other.array, other.end);
        }
        self.parts.append(&mut other.parts);
    }

    fn sum(mut self, (cluster, job_id): JobKey) -> Option<Job> {
        // Sums of floats are the same whoever was read first.
        self.parts.sort_by(|a, b| {
            (a.start, a.end, a.used.energy_uj).cmp(&(b.start, b.end, b.used.energy_uj))
        });
        let own = &self.parts[newest(&self.parts)..];
        let last = own.iter().max_by_key(|part| (part.restart, part.end))?;
        let of_last = own.iter().filter(|part| part.restart == last.restart);
        let mut restarts: Vec<u32> = own.iter().map(|part| part.restart).collect();
        restarts.dedup();
        let mut used = Used {
            n_seen: u32::try_from(of_last.count()).unwrap_or(u32::MAX),
            n_nodes: last.n_nodes.max(1),
            n_runs: u32::try_from(restarts.len()).unwrap_or(u32::MAX),
            ..Used::default()
        };
        own.iter().for_each(|part| used.add(&part.used));
        Some(Job { cluster, job_id, array: self.array, user: self.user, end: last.end, used })
    }
}

/// Where the newest job of an id begins, in the order of starts: Slurm gives ids again once its
/// numbers are used up, and then counts restarts anew.
fn newest(parts: &[Part]) -> usize {
    let mut from = 0;
    for at in 1..parts.len() {
        let (part, before) = (&parts[at], &parts[from..at]);
        let last = before.iter().map(|p| p.restart).max().unwrap_or_default();
        let is_after = before.iter().all(|p| p.end < part.start);
        if part.restart < last || (part.restart == last && is_after) {
            from = at;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use ct_core::record::Record;

    use super::*;
    use crate::job::tests::record;

    fn ended(records: &[Record], start: Option<&str>) -> Vec<Job> {
        let query = Query { start: start.map(|s| s.parse().unwrap()), ..Query::default() };
        let mut jobs = Jobs::default();
        for record in records {
            let mut one = Jobs::default();
            one.add(&record.into(), &query);
            jobs.append(one);
        }
        jobs.ended(&query)
    }

    #[test]
    fn nodes_and_runs_of_a_job_are_added_up() {
        // Two nodes of the first run, one of the second one's two.
        let mut runs = [record("n1"), record("n2"), record("n1")];
        runs.iter_mut().for_each(|run| run.n_nodes = 2);
        runs[0].end_reason = EndReason::Requeued;
        runs[2].restart = 1;
        let late = TimeDelta::hours(5);
        (runs[2].start, runs[2].end) = (runs[2].start + late, runs[2].end + late);
        let jobs = ended(&runs, None);
        let used = jobs[0].used;
        assert_eq!((jobs.len(), used.n_runs, used.n_seen, used.n_nodes), (1, 2, 1, 2));
        // 3.6 MJ each.
        assert_eq!(used.energy_uj, 3 * 3_600_000_000_000);
        assert!(jobs[0].is_waiting(jobs[0].end) && !jobs[0].is_waiting(jobs[0].end + PATIENCE));
        // The order in which nodes are read does not matter.
        runs.reverse();
        assert_eq!(ended(&runs, None)[0].used, used);
    }

    #[test]
    fn an_id_that_is_given_again_is_another_job() {
        let old = record("n1");
        let mut new = record("n1");
        let later = TimeDelta::days(400);
        (new.start, new.end) = (new.start + later, new.end + later);
        new.user = "bob".to_owned();
        let jobs = ended(&[new.clone(), old], None);
        assert_eq!((jobs.len(), jobs[0].used.n_runs, jobs[0].end), (1, 1, new.end));
    }

    #[test]
    fn an_array_is_never_changed_as_a_whole() {
        let mut task = record("n1");
        (task.array_job_id, task.array_task_id) = (Some(task.job_id), Some(3));
        let jobs = ended(std::slice::from_ref(&task), None);
        assert_eq!(jobs[0].id(), format!("{}_3", task.job_id));
        // Commands without a job, and clusters whose names are more than a name, are left alone.
        task.job_id = 0;
        let mut odd = record("n1");
        odd.cluster = "lab,other".to_owned();
        assert_eq!(ended(&[task, odd], None).len(), 0);
    }

    #[test]
    fn only_jobs_that_ended_in_the_time_count() {
        let one = record("n1");
        let end = one.end.to_rfc3339();
        assert_eq!(ended(std::slice::from_ref(&one), Some(&end)).len(), 1);
        let after = (one.end + TimeDelta::days(2)).to_rfc3339();
        assert_eq!(ended(&[one], Some(&after)).len(), 0);
    }
}
