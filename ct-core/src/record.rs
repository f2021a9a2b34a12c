//! The record of one job on one node: a line of the ledger and the `…_carbontracker.json` file.
//!
//! Comes from [`crate::job`], goes to [`crate::ledger`]. Energies are those of the IT equipment,
//! without PUE; the grams include it. Field names, units and meanings are those of LEDGER.md.

mod brief;
mod node;
pub mod timestamp;

pub use brief::{Brief, BriefIntensity};
pub use node::{Baseline, JobCharge, NodeRecord};

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::carbon::sci::Sci;
use crate::energy::{ByComponent, HourEnergy};
use crate::text::printable_json;
use crate::units::Microjoules;

/// Version of the record's form, the field `v`.
pub const VERSION: u32 = 1;

/// What identifies a record: two with equal keys and equal starts are copies of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// `ClusterName` of slurm.conf.
    pub cluster: String,
    /// Raw Slurm job id; 0 for a command run by `ct-track run`.
    pub job_id: u32,
    /// Restart count of the job (requeues).
    pub restart: u32,
    /// Slurm's node name.
    pub node: String,
}

/// One job on one node, from `start` to `end`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub v: u32,
    /// `job`; the lines of nodes have `node` and are of the type [`NodeRecord`].
    #[serde(default = "kind_job")]
    pub kind: String,
    /// `ClusterName` of slurm.conf.
    pub cluster: String,
    /// Raw Slurm job id.
    pub job_id: u32,
    /// Id of the array the job belongs to.
    pub array_job_id: Option<u32>,
    /// Index within the array.
    pub array_task_id: Option<u32>,
    /// Id of the heterogeneous job the job belongs to.
    pub het_job_id: Option<u32>,
    /// Restart count (requeues).
    pub restart: u32,
    /// Slurm's node name.
    pub node: String,
    /// Nodes of the job, this one included.
    pub n_nodes: u32,
    /// User name, or the uid as text where the node knows no name.
    pub user: String,
    /// User id.
    pub uid: u32,
    /// Account charged, where known.
    pub account: Option<String>,
    /// Partition.
    pub partition: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Job name.
    pub job_name: Option<String>,
    /// First instant covered, UTC.
    #[serde(with = "timestamp")]
    pub start: DateTime<Utc>,
    /// Last instant covered, UTC.
    #[serde(with = "timestamp")]
    pub end: DateTime<Utc>,
    /// Seconds between the two by the monotonic clock.
    pub elapsed_s: f64,
    /// Slurm's job state in lower case, or `lost`: see [`EndReason`].
    pub end_reason: EndReason,
    /// CPUs allocated on this node.
    pub alloc_cpus: u32,
    /// Memory allocated on this node, in MB.
    pub alloc_mem_mb: Option<u64>,
    /// GPUs held.
    pub gpus: Vec<GpuShare>,
    /// Energy charged to the job, in joules.
    pub energy_j: ByComponent<Microjoules>,
    /// Of it, the idle part.
    pub idle_j: ByComponent<Microjoules>,
    /// Energy of GPUs that were held but not used.
    pub gpu_unused_j: Microjoules,
    /// Energy by hour: start of the hour, then joules of cpu, dram, gpu, rest.
    pub energy_by_hour: Vec<HourEnergy>,
    /// Power usage effectiveness the grams include.
    pub pue: f64,
    /// Carbon intensity the grams were reckoned with.
    pub intensity: IntensityUsed,
    /// Operational footprint in gCO2e.
    pub co2e_g: f64,
    /// Embodied footprint in gCO2e, where the site gave a factor.
    pub embodied_g: Option<f64>,
    /// Water in litres, where the site gave a factor.
    pub water_l: Option<f64>,
    /// What the job was allowed to draw, and what came of it; only where a budget was set, and on the
    /// first node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetUse>,
    /// What the job's account may draw this month, and what came of it; only where the site set a
    /// budget, and on the first node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_budget: Option<AccountBudgetUse>,
    /// Epochs; `None` where none were declared or marked.
    pub epochs: Option<Epochs>,
    /// The last prediction.
    pub prediction: Option<Prediction>,
    /// Where each measured component's joules came from; a component without a meter is absent.
    pub method: BTreeMap<String, String>,
    /// Share of the job's time for which its meters answered, 0 to 1.
    pub coverage: f64,
    /// Attribution policy.
    pub attribution: String,
    /// What is degraded or left out.
    pub warnings: Vec<String>,
    /// Whether the job's owner saw it tracked (logs, closing block).
    #[serde(default)]
    pub tracked: bool,
    /// Sum over the job's nodes as the first node saw it; only there, and only for several nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_total: Option<JobTotal>,
    /// Components that the owner's logs, epochs and prediction show in place of the metered ones;
    /// only on the first node. They are in no energy above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<Simulated>,
    /// Software Carbon Intensity; only on the job's first node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sci: Option<Sci>,
}

fn kind_job() -> String {
    "job".to_owned()
}

impl Record {
    /// The record's identity.
    pub fn key(&self) -> RecordKey {
        RecordKey {
            cluster: self.cluster.clone(),
            job_id: self.job_id,
            restart: self.restart,
            node: self.node.clone(),
        }
    }

    /// The record as one line of JSON, newline included. Nothing in it is obeyed by a terminal.
    ///
    /// # Errors
    ///
    /// None in practice: every field is a value JSON can hold (floats that are not finite become
    /// `null`).
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        Ok(printable_json(&serde_json::to_string(self)?).into_owned() + "\n")
    }
}

/// A GPU and the share of it that was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuShare {
    /// NVML's UUID, or the sysfs identity of other vendors' GPUs.
    pub uuid: String,
    /// Model name as the driver gives it.
    pub name: String,
    /// Share held: 1 for a whole GPU, slices over slices for a MIG instance.
    pub share: f64,
}

/// The intensity that was used, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntensityUsed {
    /// gCO2e per kWh, the energy-weighted mean over the job.
    pub g_per_kwh: f64,
    /// Zone it holds for.
    pub zone: String,
    /// Who says so, and for when.
    pub source: String,
}

/// Epochs of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epochs {
    /// Epochs the job's owner declared.
    pub declared: Option<u32>,
    /// Epochs that were completed.
    pub done: u32,
    /// Energy of each, in joules, all components; of the first 10,000.
    pub energy_j: Vec<Microjoules>,
    /// Duration of each, in seconds; of the first 10,000.
    pub duration_s: Vec<f64>,
    /// Energy of all of them in joules, where there are more than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_energy_j: Option<Microjoules>,
    /// Duration of all of them in seconds, where there are more than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_duration_s: Option<f64>,
}

/// What a prediction rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictedBy {
    /// The epochs that were completed.
    #[default]
    Epochs,
    /// The mean power so far, up to the job's time limit.
    TimeLimit,
}

/// The whole job as predicted from its epochs, or from its power up to its time limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// What it rests on.
    #[serde(default)]
    pub by: PredictedBy,
    /// When it was made, UTC.
    #[serde(with = "timestamp")]
    pub at: DateTime<Utc>,
    /// Epochs it rests on.
    pub from_epochs: u32,
    /// Epochs it is for.
    pub epochs: u32,
    /// Predicted time in seconds.
    pub duration_s: f64,
    /// Predicted energy in joules, without PUE.
    pub energy_j: f64,
    /// Predicted footprint in gCO2e, with PUE.
    pub co2e_g: f64,
    /// Lower end of the 95 % interval of the energy in joules; from two epochs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j_low: Option<f64>,
    /// Upper end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j_high: Option<f64>,
    /// Lower end of the 95 % interval of the footprint in gCO2e, by the energy alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co2e_g_low: Option<f64>,
    /// Upper end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co2e_g_high: Option<f64>,
    /// The first prediction from epochs, which the job's owner was told, where this is a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Box<Self>>,
}

impl Prediction {
    /// The first that was made: this one, or the one before it.
    pub fn first(&self) -> &Self {
        self.first.as_deref().unwrap_or(self)
    }
}

/// Whether it was a prediction or what was drawn that passed a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedBy {
    /// A prediction.
    Prediction,
    /// What was drawn.
    Actual,
}

/// What was done about a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetAction {
    /// Nothing.
    #[default]
    None,
    /// It was said, in the logs and the job's output.
    Warned,
    /// The job's own ct-track is to end it at its next mark, by scancel.
    Asked,
    /// The job's processes were sent SIGTERM.
    Terminated,
    /// What was left of them was sent SIGKILL.
    Killed,
}

/// A job's budget and what came of it. Energies include the PUE, as the blocks do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// Energy allowed, in kWh.
    pub max_energy_kwh: Option<f64>,
    /// Footprint allowed, in gCO2e.
    pub max_co2_g: Option<f64>,
    /// `warn` or `stop`.
    pub on_budget: crate::option::OnBudget,
    /// When it was first passed.
    #[serde(default, with = "timestamp::option")]
    pub passed_at: Option<DateTime<Utc>>,
    /// By what it was first passed.
    pub by: Option<PassedBy>,
    /// When what was drawn passed it.
    #[serde(default, with = "timestamp::option")]
    pub exceeded_at: Option<DateTime<Utc>>,
    /// What was done.
    pub action: BudgetAction,
}

/// The month's budget of a job's account, what was seen of it, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountBudgetUse {
    /// The account.
    pub account: String,
    /// The month, `2026-11`; `None` where the sums of this month were not known.
    pub month: Option<String>,
    /// Energy that jobs of the account had used when the sums were made, in kWh with PUE, this one
    /// left out.
    pub used_energy_kwh: f64,
    /// Their footprint in gCO2e.
    pub used_co2_g: f64,
    /// When the sums were made; `None` where they were not known.
    #[serde(default, with = "timestamp::option")]
    pub as_of: Option<DateTime<Utc>>,
    /// The budget, and what came of it.
    #[serde(flatten)]
    pub budget: BudgetUse,
}

/// Sum over the nodes of a job, as its first node saw it when it wrote its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobTotal {
    /// Nodes that are in the sum.
    pub nodes_seen: u32,
    /// Nodes that could not be seen.
    pub nodes_missing: Vec<String>,
    /// Energy in joules.
    pub energy_j: ByComponent<Microjoules>,
    /// Footprint in gCO2e.
    pub co2e_g: f64,
}

/// The warning of a record whose job shows simulated components.
pub const SHOWS_SIMULATED: &str =
    "logs, epochs and prediction show simulated components; energy_j is what was metered";

/// What a job's owner asked to see in place of the metered components.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// In place of all that is no GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<SimulatedComponent>,
    /// In place of the GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<SimulatedComponent>,
}

/// One simulated component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulatedComponent {
    /// Name the owner gave it.
    pub name: String,
    /// `simulated:NAME`.
    pub method: String,
    /// Its power in watts: full load times utilisation.
    pub power_w: f64,
    /// Its energy over the whole job, in joules, without PUE.
    pub energy_j: Microjoules,
}

/// How the job ended: Slurm's base states in lower case, and two of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// Exit code 0.
    Completed,
    /// Non-zero exit code.
    Failed,
    /// By scancel.
    Cancelled,
    /// Time limit.
    Timeout,
    /// Sent back to the queue; the next run has a record of its own.
    Requeued,
    /// A node of the job failed.
    NodeFail,
    /// Preempted.
    Preempted,
    /// Killed for its memory.
    OutOfMemory,
    /// Deadline passed.
    Deadline,
    /// Its node failed to boot.
    BootFail,
    /// Its end was not told; found gone.
    Lost,
    /// It has not ended: only in what is shown of a running job, never in the ledger.
    Running,
    /// Ended, and Slurm could not be asked how.
    #[serde(other)]
    Unknown,
}

impl EndReason {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Requeued => "requeued",
            Self::NodeFail => "node_fail",
            Self::Preempted => "preempted",
            Self::OutOfMemory => "out_of_memory",
            Self::Deadline => "deadline",
            Self::BootFail => "boot_fail",
            Self::Lost => "lost",
            Self::Running => "running",
            Self::Unknown => "unknown",
        }
    }
}
