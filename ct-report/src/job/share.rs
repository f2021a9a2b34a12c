//! Whose the energy of a job's nodes was while it ran, by the lines of the nodes.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ct_core::record::NodeRecord;

/// What the meters of the nodes counted in the lines that name the job, in microjoules.
///
/// A line covers up to an hour, the job perhaps a part of it: this is the job's share of what its
/// nodes drew in those lines, not of what they drew while it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeShare {
    /// Counted by the meters.
    pub(crate) meter_uj: u128,
    /// Charged to the job.
    pub(crate) job_uj: u128,
    /// Charged to other jobs.
    pub(crate) other_jobs_uj: u128,
    /// Of the system.
    pub(crate) system_uj: u128,
    /// Held by no job.
    pub(crate) unallocated_uj: u128,
    /// How many other jobs there were.
    pub(crate) n_other_jobs: usize,
    others: HashSet<(String, u32, u32)>,
    lines: HashSet<(String, DateTime<Utc>)>,
}

impl NodeShare {
    /// Adds a line, if it names the run with this id and restart, and is no copy; by the policy
    /// `node` parts do not add up, and such a line is left out.
    pub(crate) fn add(&mut self, line: &NodeRecord, job_id: u32, restart: u32) {
        let is_own =
            |charge: &&ct_core::record::JobCharge| (charge.0, charge.1) == (job_id, restart);
        let Some(own) = line.jobs.iter().find(is_own) else { return };
        if line.attribution == "node" || !self.lines.insert((line.node.clone(), line.start)) {
            return;
        }
        let jobs_uj = u128::from(line.jobs_j.total().as_u64());
        let own_uj = u128::from(own.2.as_u64());
        self.meter_uj += u128::from(line.meter_j.total().as_u64());
        self.job_uj += own_uj;
        self.other_jobs_uj += jobs_uj.saturating_sub(own_uj);
        self.system_uj += u128::from(line.system_j.total().as_u64());
        self.unallocated_uj += u128::from(line.unallocated_j.total().as_u64());
        let others = line.jobs.iter().filter(|charge| (charge.0, charge.1) != (job_id, restart));
        self.others.extend(others.map(|charge| (line.node.clone(), charge.0, charge.1)));
        self.n_other_jobs = self.others.len();
    }

    /// A part of what the meters counted, 0 to 1; `None` where they counted nothing.
    pub(crate) fn of_meters(&self, uj: u128) -> Option<f64> {
        (self.meter_uj > 0).then(|| uj as f64 / self.meter_uj as f64)
    }
}
