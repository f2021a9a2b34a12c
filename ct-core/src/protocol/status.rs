//! How a job stands, for `ct-track status`.

use serde::{Deserialize, Serialize};

use crate::energy::ByComponent;
use crate::record::{AccountBudgetUse, BudgetUse, GpuShare, IntensityUsed, Prediction};

/// A running job as ct-noded sees it. Energies are rounded to whole joules: no raw counter
/// leaves the daemon, as finer ones tell what other processes compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Raw job id.
    pub job_id: u32,
    /// Whether the job's owner asked for tracking.
    pub tracked: bool,
    /// Seconds since its start on this node.
    pub elapsed_s: f64,
    /// Energy so far, in whole joules.
    pub energy_j: ByComponent<u64>,
    /// Footprint so far, with PUE.
    pub co2e_g: f64,
    /// Mean power so far, in watts.
    pub power_w: f64,
    /// Epochs declared.
    pub epochs_declared: Option<u32>,
    /// Epochs completed.
    pub epochs_done: u32,
    /// Whether an epoch is open.
    pub epoch_running: bool,
    /// The last prediction; without declared epochs that of the time limit.
    pub prediction: Option<Prediction>,
    /// The budget and what came of it, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetUse>,
    /// The month's budget of its account, and what came of it, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_budget: Option<AccountBudgetUse>,
    /// Seconds for which the job has waited for an answer, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_s: Option<f64>,
    /// GPUs held.
    pub gpus: Vec<GpuShare>,
    /// Intensity in use.
    pub intensity: IntensityUsed,
    /// Where each component's joules come from.
    pub method: std::collections::BTreeMap<String, String>,
    /// What is degraded or left out.
    pub warnings: Vec<String>,
}
