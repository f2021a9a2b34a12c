//! How much of a device each job holds and uses.

use std::time::Duration;

use super::{DeviceUse, Holding, Situation};
use crate::energy::Component;

/// Weights of one device: the jobs', the system's, those of jobs that ended before it answered, and
/// what is left over.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) jobs: Vec<f64>,
    pub(super) system: f64,
    pub(super) ended: f64,
    pub(super) unallocated: f64,
}

/// Who holds a device, and who uses it.
pub(super) struct DeviceWeights {
    pub(super) held: Weights,
    pub(super) used: Weights,
    /// The CPU time by which `used` was found; `None` where it is not by CPU time.
    pub(super) activity: Option<Duration>,
}

impl Weights {
    /// Jobs in their order, then system, then jobs that ended, then unallocated.
    pub(super) fn in_order(&self) -> Vec<f64> {
        let mut all = Vec::with_capacity(self.jobs.len() + 3);
        all.extend_from_slice(&self.jobs);
        all.extend([self.system, self.ended, self.unallocated]);
        all
    }

    /// Shares held; what the jobs do not hold is nobody's. Shares above the whole are scaled down.
    fn from_shares(jobs: Vec<f64>) -> Self {
        let held: f64 = jobs.iter().sum();
        Self { unallocated: (1.0 - held).max(0.0), ..Self::of(jobs) }
    }

    fn of(jobs: Vec<f64>) -> Self {
        Self { jobs, system: 0.0, ended: 0.0, unallocated: 0.0 }
    }

    fn sum(&self) -> f64 {
        self.jobs.iter().sum::<f64>() + self.system + self.ended + self.unallocated
    }

    pub(super) fn is_zero(&self) -> bool {
        self.sum() <= 0.0
    }

    /// The same weights, of the sum 1; all of it nobody's where they are nothing.
    pub(super) fn normal(mut self) -> Self {
        if self.is_zero() {
            self.unallocated = 1.0;
        }
        let sum = self.sum();
        self.jobs.iter_mut().for_each(|weight| *weight /= sum);
        self.system /= sum;
        self.ended /= sum;
        self.unallocated /= sum;
        self
    }
}

/// Weights of CPU packages, memory, and the rest of the node.
pub(super) fn cpu_weights(situation: &Situation, device: &DeviceUse) -> DeviceWeights {
    let share = |job: &Holding| match device.component {
        Component::Dram => job.mem_share.max(0.0),
        _ => job.cpu_share_of(device.package).max(0.0),
    };
    let shares: Vec<f64> = situation.jobs.iter().map(share).collect();
    let (used, activity) = active_weights(situation, device.package, &shares);
    DeviceWeights { held: Weights::from_shares(shares), used, activity: Some(activity) }
}

/// A job whose CPU time is unknown counts with its allocated share; the others and the system
/// divide what is left of the device by their CPU time on its package. Says how much that was.
fn active_weights(
    situation: &Situation,
    package: Option<u32>,
    shares: &[f64],
) -> (Weights, Duration) {
    let seconds = |job: &Holding| job.cpu_time_of(package).map(|t| t.as_secs_f64());
    let times: Vec<Option<f64>> = situation.jobs.iter().map(seconds).collect();
    let system = situation.system_cpu_time_of(package).unwrap_or(Duration::ZERO).as_secs_f64();
    let measured: f64 = times.iter().flatten().sum::<f64>() + system;
    if measured <= 0.0 {
        // Nobody did anything: by what is held.
        return (Weights::from_shares(shares.to_vec()), Duration::ZERO);
    }
    let activity = Duration::try_from_secs_f64(measured).unwrap_or_default();
    let of_unknown = |(time, share): (&Option<f64>, &f64)| time.is_none().then_some(*share);
    let unknown: f64 = times.iter().zip(shares).filter_map(of_unknown).sum();
    let left = (1.0 - unknown).max(0.0);
    let weight = |(time, share): (&Option<f64>, &f64)| time.map_or(*share, |s| left * s / measured);
    let jobs: Vec<f64> = times.iter().zip(shares).map(weight).collect();
    if !times.is_empty() && times.iter().all(Option::is_none) {
        // The system's time holds the jobs' own: nothing can be told apart.
        return (Weights { unallocated: left, ..Weights::of(jobs) }, activity);
    }
    (Weights { system: left * system / measured, ..Weights::of(jobs) }, activity)
}

/// Weights of a GPU: its holders', busy or not.
///
/// Of a GPU that is held in part, by MIG instances, the idle part of the other slices is nobody's;
/// what it draws beyond that is its holders', as nobody else can have used it.
pub(super) fn gpu_weights(jobs: &[Holding], device: usize) -> DeviceWeights {
    let share = |job: &Holding| -> f64 {
        job.gpus.iter().filter(|(d, _)| *d == device).map(|(_, s)| s.max(0.0)).sum()
    };
    let shares: Vec<f64> = jobs.iter().map(share).collect();
    let is_held = shares.iter().any(|s| *s > 0.0);
    let unallocated = if is_held { 0.0 } else { 1.0 };
    let used = Weights { unallocated, ..Weights::of(shares.clone()) };
    DeviceWeights { held: Weights::from_shares(shares), used, activity: None }
}
