//! What ct-noded sees of its node, for `ct-report check`.

use serde::{Deserialize, Serialize};

/// A node, in its ct-noded's words. No reading of a meter is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Slurm's node name.
    pub node: String,
    /// User that ct-noded runs as.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Jobs that run.
    pub n_jobs: u32,
    /// Meters that were opened.
    pub meters: Vec<MeterStatus>,
    /// Numbers in slurmd's list of GPUs for which there is no meter.
    pub gres_without_meter: Vec<u32>,
    /// Meters that do not answer, and what is wrong with them.
    pub outages: Vec<String>,
}

/// One meter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterStatus {
    /// `cpu`, `dram`, `gpu` or `rest`.
    pub component: String,
    /// Its name in logs.
    pub name: String,
    /// Its identity on the node: of a GPU its UUID.
    pub id: String,
    /// Where its joules come from.
    pub method: String,
    /// Of a GPU: its number in slurmd's list, by which `SLURM_JOB_GPUS` counts.
    pub gres: Option<u32>,
    /// Of a GPU: the number of its device file.
    pub minor: Option<u32>,
    /// Of a GPU: its place in its driver's own order.
    pub index: Option<u32>,
}
