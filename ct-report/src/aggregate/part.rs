//! What a part of a record adds to sums: the whole of it, or one of its hours.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use ct_core::energy::Component;
use ct_core::record::{EndReason, Record};

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
    pub(crate) fn whole(record: &Record) -> Self {
        Self::of(record, &slice::whole(record))
    }

    /// The parts of a record by hour.
    ///
    /// # Errors
    ///
    /// A record that is longer than ten years.
    #[cfg(feature = "parquet")]
    pub(crate) fn by_hour(record: &Record) -> Result<Vec<Self>, String> {
        let slices = slice::by_hour(record)?;
        Ok(slices.iter().map(|slice| Self::of(record, slice)).collect())
    }

    /// A slice of a record.
    pub(super) fn of(record: &Record, slice: &Slice) -> Self {
        let elapsed_s = record.elapsed_s * slice.time_share;
        let energy_uj = Component::ALL.map(|c| u128::from(slice.energy.get(c).as_u64()));
        let measured = Component::ALL.into_iter().zip(energy_uj);
        let measured = measured.filter(|(component, _)| is_measured(record, *component));
        let share = energy_share(record, slice);
        Self {
            hour: slice.hour,
            elapsed_s,
            covered_s: elapsed_s * record.coverage,
            core_s: elapsed_s * f64::from(record.alloc_cpus),
            gpu_s: elapsed_s * gpus(record),
            energy_uj,
            idle_uj: slice.idle_uj,
            gpu_unused_uj: slice.gpu_unused_uj,
            measured_uj: measured.map(|(_, uj)| uj).sum(),
            co2e_g: record.co2e_g * share,
            // A node is made of the same stuff whatever it draws.
            embodied_g: record.embodied_g.map(|g| g * slice.time_share),
            water_l: record.water_l.map(|l| l * share),
        }
    }
}

/// GPUs held, each with the share of it that was.
pub(crate) fn gpus(record: &Record) -> f64 {
    record.gpus.iter().map(|gpu| gpu.share).sum()
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
    pub(super) fn of(record: &Record) -> Self {
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

/// The slice's share of the record's energy, or of its time where it used none.
fn energy_share(record: &Record, slice: &Slice) -> f64 {
    let sum = |energy: &ct_core::energy::ByComponent<ct_core::units::Microjoules>| {
        Component::ALL.iter().map(|c| u128::from(energy.get(*c).as_u64())).sum::<u128>()
    };
    match sum(&record.energy_j) {
        0 => slice.time_share,
        all => sum(&slice.energy) as f64 / all as f64,
    }
}

fn is_measured(record: &Record, component: Component) -> bool {
    let method = record.method.get(component.as_str());
    method.is_some_and(|m| !m.starts_with("modelled") && !m.starts_with("simulated"))
}
