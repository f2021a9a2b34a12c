//! How much of a device each job holds and uses.

use super::{Holding, Situation};
use crate::energy::Component;

/// Weights of one device: the jobs', the system's, and what is left over.
pub(super) struct Weights {
    jobs: Vec<f64>,
    system: f64,
    unallocated: f64,
}

impl Weights {
    /// Jobs in their order, then system, then unallocated.
    pub(super) fn in_order(&self) -> Vec<f64> {
        let mut all = self.jobs.clone();
        all.extend([self.system, self.unallocated]);
        all
    }

    /// Shares held; what the jobs do not hold is nobody's. Shares above the whole are scaled down.
    fn from_shares(jobs: Vec<f64>) -> Self {
        let held: f64 = jobs.iter().sum();
        Self { jobs, system: 0.0, unallocated: (1.0 - held).max(0.0) }
    }
}

/// Allocated and active weights of CPU packages, memory, and the rest of the node.
pub(super) fn cpu_weights(situation: &Situation, component: Component) -> (Weights, Weights) {
    let share = |job: &Holding| match component {
        Component::Dram => job.mem_share.max(0.0),
        _ => job.cpu_share.max(0.0),
    };
    let shares: Vec<f64> = situation.jobs.iter().map(share).collect();
    let allocated = Weights::from_shares(shares.clone());
    let active = active_weights(situation, &shares);
    (allocated, active)
}

/// A job whose CPU time is unknown counts with its allocated share; the others and the system
/// divide what is left of the device by their CPU time.
fn active_weights(situation: &Situation, shares: &[f64]) -> Weights {
    let seconds = |job: &Holding| job.cpu_time.map(|t| t.as_secs_f64());
    let system = situation.system_cpu_time.map_or(0.0, |t| t.as_secs_f64());
    let measured: f64 = situation.jobs.iter().filter_map(seconds).sum::<f64>() + system;
    let is_unknown = |job: &&Holding| job.cpu_time.is_none();
    if measured <= 0.0 {
        // Nobody did anything: by what is held.
        return Weights::from_shares(shares.to_vec());
    }
    let n_unknown = situation.jobs.iter().filter(is_unknown).count();
    let unknown: f64 = situation
        .jobs
        .iter()
        .zip(shares)
        .filter(|(job, _)| job.cpu_time.is_none())
        .map(|(_, share)| share)
        .sum();
    let left = (1.0 - unknown).max(0.0);
    let weight = |(job, share): (&Holding, &f64)| match seconds(job) {
        Some(s) => left * s / measured,
        None => *share,
    };
    let jobs: Vec<f64> = situation.jobs.iter().zip(shares).map(weight).collect();
    if n_unknown > 0 && n_unknown == situation.jobs.len() {
        // The system's time holds the jobs' own: nothing can be told apart.
        return Weights { jobs, system: 0.0, unallocated: left };
    }
    Weights { jobs, system: left * system / measured, unallocated: 0.0 }
}

/// Weights of a GPU: its holders', busy or not.
///
/// Of a GPU that is held in part, by MIG instances, the idle part of the other slices is nobody's;
/// what it draws beyond that is its holders', as nobody else can have used it.
pub(super) fn gpu_weights(jobs: &[Holding], device: usize) -> (Weights, Weights) {
    let share = |job: &Holding| -> f64 {
        job.gpus.iter().filter(|(d, _)| *d == device).map(|(_, s)| s.max(0.0)).sum()
    };
    let shares: Vec<f64> = jobs.iter().map(share).collect();
    let is_held = shares.iter().any(|s| *s > 0.0);
    let unallocated = if is_held { 0.0 } else { 1.0 };
    let active = Weights { jobs: shares.clone(), system: 0.0, unallocated };
    (Weights::from_shares(shares), active)
}
