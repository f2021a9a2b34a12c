//! What a part of a record adds to sums: the whole of it, or one of its hours.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::record::{Brief, EndReason};
use ct_core::units::Microjoules;

use super::slice::{self, Slice};

/// A job over several nodes: its cluster by a hash, id, restart count; commands outside of Slurm are
/// told apart by their start.
pub(super) type JobKey = (ClusterHash, u32, u32, i64);

/// The name of a cluster, as far as jobs have to be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterHash(u64);

impl ClusterHash {
    /// Of a cluster's name.
    pub(crate) fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What is added up, of all of a record or of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Part {
    /// The hour of UTC it is booked to.
    pub(crate) hour: DateTime<Utc>,
    /// Time on the node, in seconds.
    pub(crate) elapsed_s: f64,
    /// Of it, that for which meters answered.
    pub(crate) covered_s: f64,
    /// CPUs held, times seconds.
    pub(crate) core_s: f64,
    /// GPUs held, times seconds.
    pub(crate) gpu_s: f64,
    /// By component, in the order of [`Component::ALL`].
    pub(crate) energy_uj: [u128; 4],
    /// Of it, the idle part.
    pub(crate) idle_uj: u128,
    /// Energy of GPUs that were held but not used.
    pub(crate) gpu_unused_uj: u128,
    /// Of the energy, that which was measured rather than modelled.
    pub(crate) measured_uj: u128,
    /// Operational footprint in gCO2e.
    pub(crate) co2e_g: f64,
    /// Embodied footprint in gCO2e, where it is known.
    pub(crate) embodied_g: Option<f64>,
    /// Water in litres, where it is known.
    pub(crate) water_l: Option<f64>,
}

impl Part {
    /// A record as one part.
    pub(crate) fn whole(record: &Brief<'_>) -> Self {
        Splitter::new(record).part(&slice::whole(record))
    }

    /// The parts of a record by hour.
    ///
    /// # Errors
    ///
    /// A record that is longer than ten years.
    #[cfg(feature = "parquet")]
    pub(crate) fn by_hour(record: &Brief<'_>) -> Result<Vec<Self>, String> {
        let mut slices = Vec::new();
        slice::by_hour(record, &mut slices)?;
        let splitter = Splitter::new(record);
        Ok(slices.iter().map(|slice| splitter.part(slice)).collect())
    }
}

/// Makes parts of a record's slices.
pub(super) struct Splitter<'a> {
    record: &'a Brief<'a>,
    /// Energy of the whole record.
    all_uj: u128,
    /// Which components were measured rather than modelled, in the order of [`Component::ALL`].
    is_measured: [bool; 4],
}

impl<'a> Splitter<'a> {
    pub(super) fn new(record: &'a Brief<'a>) -> Self {
        let all_uj = components(&record.energy_j).iter().sum();
        Self { record, all_uj, is_measured: Component::ALL.map(|c| is_measured(record, c)) }
    }

    /// What a slice adds.
    pub(super) fn part(&self, slice: &Slice) -> Part {
        let record = self.record;
        let elapsed_s = record.elapsed_s * slice.time_share;
        let energy_uj = components(&slice.energy);
        let measured =
            energy_uj.iter().zip(self.is_measured).filter(|(_, is_measured)| *is_measured);
        let share = self.energy_share(slice, energy_uj.iter().sum());
        Part {
            hour: slice.hour,
            elapsed_s,
            covered_s: elapsed_s * record.coverage,
            core_s: elapsed_s * f64::from(record.alloc_cpus),
            gpu_s: elapsed_s * record.gpus,
            energy_uj,
            idle_uj: slice.idle_uj,
            gpu_unused_uj: slice.gpu_unused_uj,
            measured_uj: measured.map(|(uj, _)| uj).sum(),
            co2e_g: record.co2e_g * share,
            // A node is made of the same stuff whatever it draws.
            embodied_g: record.embodied_g.map(|g| g * slice.time_share),
            water_l: record.water_l.map(|l| l * share),
        }
    }

    /// A slice's share of the record's energy, or of its time where it used none.
    fn energy_share(&self, slice: &Slice, uj: u128) -> f64 {
        if self.all_uj == 0 { slice.time_share } else { uj as f64 / self.all_uj as f64 }
    }
}

fn components(energy: &ByComponent<Microjoules>) -> [u128; 4] {
    Component::ALL.map(|component| u128::from(energy.get(component).as_u64()))
}

fn is_measured(record: &Brief<'_>, component: Component) -> bool {
    let method = record.method.get(component).as_deref();
    method.is_some_and(|m| !m.starts_with("modelled") && !m.starts_with("simulated"))
}

/// Whose part it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobRef {
    pub(crate) cluster: ClusterHash,
    pub(crate) job_id: u32,
    pub(crate) restart: u32,
    pub(crate) start_ms: i64,
    pub(crate) n_nodes: u32,
    pub(crate) end: End,
    /// The record's number where its parts come from several files, and so not one after another;
    /// else 0.
    pub(crate) split_id: i64,
}

/// How a job ended, as sums tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its work is lost through a fault of its own or of its node.
    Failed,
    Cancelled,
    Other,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Cancelled => Self::Cancelled,
            EndReason::Failed
            | EndReason::Timeout
            | EndReason::OutOfMemory
            | EndReason::Deadline
            | EndReason::NodeFail
            | EndReason::BootFail => Self::Failed,
            _ => Self::Other,
        }
    }
}

impl JobRef {
    /// The job of a record that is at hand as a whole.
    pub(super) fn of(record: &Brief<'_>) -> Self {
        Self {
            cluster: ClusterHash::of(&record.cluster),
            job_id: record.job_id,
            restart: record.restart,
            start_ms: record.start.timestamp_millis(),
            n_nodes: record.n_nodes,
            end: record.end_reason.into(),
            split_id: 0,
        }
    }

    pub(super) fn key(&self) -> JobKey {
        let outside = if self.job_id == 0 { self.start_ms } else { 0 };
        (self.cluster, self.job_id, self.restart, outside)
    }
}
