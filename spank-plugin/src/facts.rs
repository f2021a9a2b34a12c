//! What the environment says of a job. The plugin copies; ct-noded understands.
//!
//! A step's environment is the user's: only the prolog's is Slurm's own. Values are therefore
//! short and free of control characters, or left out.

use ct_core::protocol::JobFacts;

use crate::os;

/// Longest name or number.
const MAX_NAME: usize = 1024;
/// Longest list of nodes or devices.
const MAX_LIST: usize = 8192;

/// A variable's value, at most so many bytes long.
pub(crate) type Lookup<'a> = dyn Fn(&str, usize) -> Option<String> + 'a;

/// Fills in what the environment names.
pub(crate) fn from_environment(lookup: &Lookup) -> JobFacts {
    let value = |name: &str, max: usize| {
        let value = lookup(name, max)?;
        let fit = !value.is_empty() && value.len() <= max && !value.chars().any(char::is_control);
        fit.then_some(value)
    };
    let name = |name: &str| value(name, MAX_NAME);
    let list = |name: &str| value(name, MAX_LIST);
    let number = |name: &str| value(name, MAX_NAME)?.parse().ok();
    JobFacts {
        restart: number("SLURM_JOB_RESTART_COUNT").or_else(|| number("SLURM_RESTART_COUNT")),
        user: name("SLURM_JOB_USER"),
        cluster: name("SLURM_CLUSTER_NAME"),
        nodelist: list("SLURM_JOB_NODELIST").or_else(|| list("SLURM_NODELIST")),
        n_nodes: number("SLURM_JOB_NUM_NODES"),
        account: name("SLURM_JOB_ACCOUNT"),
        partition: name("SLURM_JOB_PARTITION"),
        qos: name("SLURM_JOB_QOS"),
        job_name: name("SLURM_JOB_NAME"),
        array_job_id: number("SLURM_ARRAY_JOB_ID"),
        array_task_id: number("SLURM_ARRAY_TASK_ID"),
        het_job_id: number("SLURM_HET_JOB_ID"),
        cpus_per_node: list("SLURM_JOB_CPUS_PER_NODE"),
        job_gpus: list("SLURM_JOB_GPUS"),
        step_gpus: list("SLURM_STEP_GPUS"),
        cuda_visible_devices: list("CUDA_VISIBLE_DEVICES"),
        rocr_visible_devices: list("ROCR_VISIBLE_DEVICES"),
        ze_affinity_mask: list("ZE_AFFINITY_MASK"),
        end_time: name("SLURM_JOB_END_TIME").and_then(|s| s.parse().ok()),
        told_at_ms: os::since_boot_ms(),
        ..JobFacts::default()
    }
}
