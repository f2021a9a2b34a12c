//! Which step this is, and what it knows.

use std::fs;
use std::process;

use ct_core::protocol::{JobFacts, StepFacts};

use crate::spank::Spank;
use crate::{facts, sys};

/// Name of the batch step.
pub(super) const BATCH: &str = "batch";

/// A step that does the user's work.
#[derive(Debug)]
pub(super) struct StepId {
    pub(super) job_id: u32,
    /// As in `42.batch`, `42.0`.
    pub(super) name: String,
}

impl StepId {
    /// The running step; `None` for the extern step and where Slurm does not say.
    pub(super) fn of(spank: &Spank) -> Option<Self> {
        let job_id = spank.item_u32(sys::S_JOB_ID).filter(|id| *id != 0)?;
        let name = match spank.item_u32(sys::S_JOB_STEPID)? {
            sys::BATCH_STEP => BATCH.to_owned(),
            sys::INTERACTIVE_STEP => "interactive".to_owned(),
            // The highest numbers are no steps of the user's, the extern step's among them.
            id if id >= sys::EXTERN_STEP => return None,
            id => id.to_string(),
        };
        Some(Self { job_id, name })
    }
}

/// What is known of the job: ids and amounts from Slurm's items, the rest from the job's
/// environment.
///
/// The working directory is left out. Before user_init nothing in the step tells it: `PWD` and
/// `SLURM_SUBMIT_DIR` are the submitter's, whatever `--chdir` says. The prolog knows it, and a
/// relative directory is resolved by user_init, which runs in it.
pub(super) fn job_facts(spank: &Spank, id: &StepId, node: String) -> JobFacts {
    let environment = facts::from_environment(&|name, max| spank.getenv(name, max));
    let number = |item| spank.item_u32(item).filter(|n| !matches!(*n, 0 | sys::NO_VAL));
    let task = spank.item_u32(sys::S_JOB_ARRAY_TASK_ID).filter(|n| *n != sys::NO_VAL);
    let array = number(sys::S_JOB_ARRAY_ID).filter(|_| task.is_some());
    // A number of the step's, and the batch step's is the job's on this node.
    let n_cpus = spank.item_u16(sys::S_JOB_NCPUS).filter(|n| *n > 0 && id.name == BATCH);
    JobFacts {
        job_id: id.job_id,
        uid: spank.item_u32(sys::S_JOB_UID).unwrap_or(u32::MAX),
        gid: spank.item_u32(sys::S_JOB_GID).unwrap_or(u32::MAX),
        node: Some(node),
        // In an srun step the variable is the user's to set.
        restart: environment
            .restart
            .filter(|_| id.name == BATCH)
            .or_else(|| number(sys::S_SLURM_RESTART_COUNT)),
        n_nodes: environment.n_nodes.or_else(|| number(sys::S_JOB_NNODES)),
        array_job_id: array.or(environment.array_job_id),
        array_task_id: array.and(task).or(environment.array_task_id),
        alloc_cpus: n_cpus.map(u32::from),
        alloc_mem_mb: spank.item_u64(sys::S_JOB_ALLOC_MEM).filter(|n| *n > 0),
        cores: spank.item_text(sys::S_JOB_ALLOC_CORES),
        ..environment
    }
}

/// What is known of the step.
pub(super) fn step_facts(id: &StepId) -> StepFacts {
    let name = id.name.clone();
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    StepFacts { name, stepd_pid: process::id(), cgroup }
}
