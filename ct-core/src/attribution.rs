//! Splits the energy of an interval among jobs, the system, and nobody.
//!
//! Per device: an idle part, up to the baseline, by what is allocated; the dynamic rest by
//! activity. Every split is of whole microjoules by [`apportion()`], so that jobs, `system` and
//! `unallocated` sum to the meters exactly. Values in, values out.

mod apportion;
mod backlog;
mod weights;

pub use apportion::apportion;
pub use backlog::Backlog;

use std::time::Duration;

use crate::config::Policy;
use crate::energy::{ByComponent, Component};
use crate::units::{Microjoules, Watts};
use weights::{DeviceWeights, Weights, cpu_weights, gpu_weights};

/// A device in an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceUse {
    /// What it is.
    pub component: Component,
    /// What it drew.
    pub energy: Microjoules,
    /// What it draws with no job, where known.
    pub idle: Option<Watts>,
    /// The package (socket) it belongs to; `None` where it serves the whole node.
    pub package: Option<u32>,
    /// The time in which it drew that: the interval, or longer where it did not answer before.
    pub duration: Duration,
    /// Whose it was in that time, where it did not answer before the interval.
    pub backlog: Option<Backlog>,
}

/// What one job held and did in an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holding {
    /// Raw job id: of equal remainders the lower id's is rounded up first.
    pub job_id: u32,
    /// Allocated share of the node's CPUs, 0 to 1.
    pub cpu_share: f64,
    /// Allocated share of the node's memory, 0 to 1.
    pub mem_share: f64,
    /// CPU time, where it was measured.
    pub cpu_time: Option<Duration>,
    /// The same by package, where packages are told apart; a package that is absent is not held.
    pub packages: Vec<OnPackage>,
    /// Shares of GPUs held: index among the devices, share.
    pub gpus: Vec<(usize, f64)>,
}

/// What a job held of one package, and did there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OnPackage {
    /// The package.
    pub package: u32,
    /// Allocated share of its CPUs, 0 to 1.
    pub cpu_share: f64,
    /// The part of the job's CPU time that was spent on it, where the job's is known.
    pub cpu_time: Duration,
}

impl Holding {
    /// Allocated share of a package's CPUs, or of the node's.
    pub fn cpu_share_of(&self, package: Option<u32>) -> f64 {
        match package.filter(|_| !self.packages.is_empty()) {
            Some(package) => self.on(package).map_or(0.0, |p| p.cpu_share),
            None => self.cpu_share,
        }
    }

    /// CPU time on a package, or on the node.
    pub fn cpu_time_of(&self, package: Option<u32>) -> Option<Duration> {
        match package.filter(|_| !self.packages.is_empty()) {
            Some(package) => {
                self.cpu_time.map(|_| self.on(package).map_or(Duration::ZERO, |p| p.cpu_time))
            }
            None => self.cpu_time,
        }
    }

    fn on(&self, package: u32) -> Option<&OnPackage> {
        self.packages.iter().find(|p| p.package == package)
    }
}

/// The interval, or its part in one hour, and all that happened in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// Every device.
    pub devices: Vec<DeviceUse>,
    /// Every job that was there for the whole of it.
    pub jobs: Vec<Holding>,
    /// CPU time that was no job's, where known.
    pub system_cpu_time: Option<Duration>,
    /// The same by package, where packages are told apart.
    pub system_by_package: Vec<(u32, Duration)>,
}

impl Situation {
    fn system_cpu_time_of(&self, package: Option<u32>) -> Option<Duration> {
        let on_package = |p| self.system_by_package.iter().find(|(of, _)| *of == p).map(|s| s.1);
        package.and_then(on_package).or(self.system_cpu_time)
    }

    /// Whether no job holds a part of a device: what it draws then is its idle power.
    pub fn is_unheld(&self, device: usize) -> bool {
        let Some(use_of) = self.devices.get(device) else { return false };
        let holds = |job: &Holding| match use_of.component {
            Component::Gpu => job.gpus.iter().any(|(d, share)| *d == device && *share > 0.0),
            // The memory of a package is every job's that may allocate there.
            Component::Dram | Component::Rest => true,
            Component::Cpu => job.packages.is_empty() || job.cpu_share_of(use_of.package) > 0.0,
        };
        !self.jobs.iter().any(holds)
    }
}

/// Energy charged to one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// All of it.
    pub energy: ByComponent<Microjoules>,
    /// Its idle part.
    pub idle: ByComponent<Microjoules>,
    /// Energy of held GPUs that stayed at their baseline.
    pub gpu_unused: Microjoules,
}

/// An interval, split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// By job, in the order of [`Situation::jobs`].
    pub jobs: Vec<Charge>,
    /// What the system did.
    pub system: Charge,
    /// What nobody held.
    pub unallocated: Charge,
    /// The part of `unallocated` that was of jobs which had ended when a device answered again.
    pub of_ended: Microjoules,
}

/// A GPU within this factor of its baseline does nothing.
const UNUSED_WITHIN: f64 = 1.05;

impl Split {
    fn new(n_jobs: usize) -> Self {
        Self { jobs: vec![Charge::default(); n_jobs], ..Self::default() }
    }

    /// Takes a job's charge from it, as nobody knows whether it was still there: it is nobody's.
    pub fn disown(&mut self, job: usize) {
        let Some(charge) = self.jobs.get_mut(job).map(std::mem::take) else { return };
        self.unallocated.energy += charge.energy;
        self.unallocated.idle += charge.idle;
        self.of_ended += charge.energy.total();
    }

    /// All of it: jobs, system and nobody.
    pub fn total(&self) -> Charge {
        let mut sum = Charge::default();
        for charge in self.jobs.iter().chain([&self.system, &self.unallocated]) {
            sum.energy += charge.energy;
            sum.idle += charge.idle;
            sum.gpu_unused += charge.gpu_unused;
        }
        sum
    }
}

/// Splits an interval by the policy.
///
/// Jobs, system and unallocated sum to the devices' energy, exactly; with [`Policy::Node`] they do
/// not, as each job is given the whole node. The order of the jobs changes nothing: they are
/// weighed and rounded in that of their ids.
pub fn split(situation: &Situation, policy: Policy) -> Split {
    if situation.jobs.is_sorted_by_key(|job| job.job_id) {
        return split_in_order(situation, policy);
    }
    let mut order: Vec<usize> = (0..situation.jobs.len()).collect();
    order.sort_by_key(|i| situation.jobs[*i].job_id);
    let jobs = order.iter().map(|i| situation.jobs[*i].clone()).collect();
    let sorted = split_in_order(&Situation { jobs, ..situation.clone() }, policy);
    let mut out = Split { jobs: vec![Charge::default(); order.len()], ..sorted };
    for (place, charge) in order.into_iter().zip(sorted.jobs) {
        out.jobs[place] = charge;
    }
    out
}

fn split_in_order(situation: &Situation, policy: Policy) -> Split {
    let mut out = Split::new(situation.jobs.len());
    for (index, device) in situation.devices.iter().enumerate() {
        if policy == Policy::Node && !out.jobs.is_empty() {
            charge_whole(&mut out, device, &situation.jobs);
            continue;
        }
        let DeviceWeights { held, used, .. } = match &device.backlog {
            Some(backlog) => backlog.weights(situation),
            None => weigh(situation, index),
        };
        let (idle, dynamic) = idle_and_dynamic(device, policy);
        let by = if policy == Policy::Allocated { &held } else { &used };
        charge(&mut out, device.component, idle, &held, true);
        charge(&mut out, device.component, dynamic, by, false);
        if device.component == Component::Gpu && is_unused(device) {
            let shares = apportion(device.energy, &held.in_order());
            for (job, share) in out.jobs.iter_mut().zip(shares) {
                job.gpu_unused += share;
            }
        }
    }
    out
}

/// Who holds and uses a device in an interval.
fn weigh(situation: &Situation, device: usize) -> DeviceWeights {
    match situation.devices.get(device) {
        Some(use_of) if use_of.component != Component::Gpu => cpu_weights(situation, use_of),
        _ => gpu_weights(&situation.jobs, device),
    }
}

/// To each job all of a device, of the time in which it was there.
fn charge_whole(out: &mut Split, device: &DeviceUse, jobs: &[Holding]) {
    for (charge, job) in out.jobs.iter_mut().zip(jobs) {
        let presence = device.backlog.as_ref().map_or(1.0, |b| b.presence(job.job_id));
        let parts = apportion(device.energy, &[presence, 1.0 - presence]);
        *charge.energy.get_mut(device.component) += parts[0];
    }
}

fn idle_and_dynamic(device: &DeviceUse, policy: Policy) -> (Microjoules, Microjoules) {
    let baseline = match (policy, device.idle) {
        (Policy::Usage, _) | (_, None) => Microjoules::ZERO,
        (_, Some(watts)) => (watts * device.duration).to_microjoules(),
    };
    let idle = baseline.min(device.energy);
    (idle, device.energy.saturating_sub(idle))
}

fn is_unused(device: &DeviceUse) -> bool {
    device.idle.is_some_and(|w| {
        device.energy.to_joules().as_joules() <= (w * device.duration).as_joules() * UNUSED_WITHIN
    })
}

fn charge(out: &mut Split, component: Component, energy: Microjoules, by: &Weights, is_idle: bool) {
    if energy == Microjoules::ZERO {
        return;
    }
    let mut shares = apportion(energy, &by.in_order());
    // Jobs that ended come before the last, which is nobody's, and are nobody's.
    let of_ended = shares.remove(out.jobs.len() + 1);
    out.of_ended += of_ended;
    if let Some(nobodys) = shares.last_mut() {
        *nobodys += of_ended;
    }
    let buckets = out.jobs.iter_mut().chain([&mut out.system, &mut out.unallocated]);
    for (bucket, share) in buckets.zip(shares) {
        *bucket.energy.get_mut(component) += share;
        if is_idle {
            *bucket.idle.get_mut(component) += share;
        }
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
