//! What a hook knows of a job and a step, as Slurm's environment and items give it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What one hook knows of a job; no hook knows all of it.
///
/// Texts are Slurm's own, unresolved: the plugin copies, ct-noded understands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobFacts {
    /// Raw job id.
    pub job_id: u32,
    /// Owner.
    pub uid: u32,
    /// Owner's primary group in the job.
    pub gid: u32,
    /// Restart count, where the hook knows it.
    pub restart: Option<u32>,
    /// This node's name in Slurm.
    pub node: Option<String>,
    /// Owner's name.
    pub user: Option<String>,
    /// Cluster name.
    pub cluster: Option<String>,
    /// Nodes of the job, a host list.
    pub nodelist: Option<String>,
    /// Number of nodes.
    pub n_nodes: Option<u32>,
    /// Account.
    pub account: Option<String>,
    /// Partition.
    pub partition: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Job name.
    pub job_name: Option<String>,
    /// Working directory.
    pub work_dir: Option<PathBuf>,
    /// Array job id.
    pub array_job_id: Option<u32>,
    /// Array index.
    pub array_task_id: Option<u32>,
    /// Heterogeneous job id.
    pub het_job_id: Option<u32>,
    /// `SLURM_JOB_CPUS_PER_NODE`: CPUs by node, a counted list.
    pub cpus_per_node: Option<String>,
    /// CPUs of the job on this node, where the hook knows that number itself.
    pub alloc_cpus: Option<u32>,
    /// Memory of the job on this node in MB.
    pub alloc_mem_mb: Option<u64>,
    /// Cores of the job on this node, a list of ranges.
    pub cores: Option<String>,
    /// `SLURM_JOB_GPUS`: gres device numbers of the job's GPUs on this node.
    pub job_gpus: Option<String>,
    /// `SLURM_STEP_GPUS`.
    pub step_gpus: Option<String>,
    /// `CUDA_VISIBLE_DEVICES`.
    pub cuda_visible_devices: Option<String>,
    /// `ROCR_VISIBLE_DEVICES`.
    pub rocr_visible_devices: Option<String>,
    /// `ZE_AFFINITY_MASK`.
    pub ze_affinity_mask: Option<String>,
    /// `default=on|off` of the plugstack line.
    pub site_default: Option<bool>,
    /// Option keys of the plugstack line, in the option's own grammar.
    pub site_option: Option<String>,
    /// The text after `--carbontracker=`; `None` where the option was not given.
    pub option: Option<String>,
    /// `SLURM_JOB_END_TIME`: when the time limit ends the job, in seconds since 1970.
    pub end_time: Option<i64>,
    /// When the hook told this, in milliseconds since boot (`CLOCK_BOOTTIME`): a ct-noded that stood
    /// still reads it late.
    pub told_at_ms: Option<u64>,
}

/// What a step knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepFacts {
    /// Name as in `42.batch`, `42.0`: `batch` or the number.
    pub name: String,
    /// Process id of its slurmstepd.
    pub stepd_pid: u32,
    /// `/proc/self/cgroup` of its slurmstepd.
    pub cgroup: String,
}

/// The end of a job on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobEnd {
    /// Which job, and what it was: its start may never have been told.
    pub job: Box<JobFacts>,
    /// `SLURM_JOB_EXIT_CODE`: a wait status.
    pub wait_status: Option<i32>,
}

impl JobEnd {
    /// Name of the file in which it is kept where nobody answers for it.
    pub fn file_name(&self) -> String {
        format!("{}-{}.json", self.job.job_id, self.job.told_at_ms.unwrap_or(0))
    }
}

/// The files ct-noded wants opened by the job's user, append only, never through a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLogs {
    /// Directory, to be made with its parents.
    pub dir: PathBuf,
    /// Names in it, in the order in which the handles are to be passed: standard log, output log,
    /// error log, record.
    pub names: Vec<String>,
}
