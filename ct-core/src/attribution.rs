//! Splits the energy of an interval among jobs, the system, and nobody.
//!
//! Per device: an idle part, up to the baseline, by what is allocated; the dynamic rest by
//! activity. Every split is of whole microjoules by [`apportion()`], so that jobs, `system` and
//! `unallocated` sum to the meters exactly. Values in, values out.

mod apportion;
mod weights;

pub use apportion::apportion;

use std::time::Duration;

use crate::config::Policy;
use crate::energy::{ByComponent, Component};
use crate::units::{Microjoules, Watts};
use weights::{Weights, cpu_weights, gpu_weights};

/// A device in an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceUse {
    /// What it is.
    pub component: Component,
    /// What it drew.
    pub energy: Microjoules,
    /// What it draws with no job, where known.
    pub idle: Option<Watts>,
    /// The time in which it drew that: the interval, or longer where it did not answer before.
    pub duration: Duration,
}

/// What one job held and did in an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holding {
    /// Allocated share of the node's CPUs, 0 to 1.
    pub cpu_share: f64,
    /// Allocated share of the node's memory, 0 to 1.
    pub mem_share: f64,
    /// CPU time, where it was measured.
    pub cpu_time: Option<Duration>,
    /// Shares of GPUs held: index among the devices, share.
    pub gpus: Vec<(usize, f64)>,
}

/// The interval and all that happened in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// Every device.
    pub devices: Vec<DeviceUse>,
    /// Every job that was there for the whole of it.
    pub jobs: Vec<Holding>,
    /// CPU time that was no job's, where known.
    pub system_cpu_time: Option<Duration>,
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
}

/// A GPU within this factor of its baseline does nothing.
const UNUSED_WITHIN: f64 = 1.05;

/// Splits an interval by the policy.
///
/// Jobs, system and unallocated sum to the devices' energy, exactly; with [`Policy::Node`] they do
/// not, as each job is given the whole node.
pub fn split(situation: &Situation, policy: Policy) -> Split {
    let mut out = Split { jobs: vec![Charge::default(); situation.jobs.len()], ..Split::default() };
    for (index, device) in situation.devices.iter().enumerate() {
        if policy == Policy::Node && !out.jobs.is_empty() {
            for job in &mut out.jobs {
                *job.energy.get_mut(device.component) += device.energy;
            }
            continue;
        }
        let (allocated, active) = match device.component {
            Component::Gpu => gpu_weights(&situation.jobs, index),
            component => cpu_weights(situation, component),
        };
        let (idle, dynamic) = idle_and_dynamic(device, policy);
        let by = if policy == Policy::Allocated { &allocated } else { &active };
        charge(&mut out, device.component, idle, &allocated, true);
        charge(&mut out, device.component, dynamic, by, false);
        if device.component == Component::Gpu && is_unused(device) {
            let shares = apportion(device.energy, &allocated.in_order());
            for (job, share) in out.jobs.iter_mut().zip(shares) {
                job.gpu_unused += share;
            }
        }
    }
    out
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
    let shares = apportion(energy, &by.in_order());
    let buckets = out.jobs.iter_mut().chain([&mut out.system, &mut out.unallocated]);
    for (bucket, share) in buckets.zip(shares) {
        *bucket.energy.get_mut(component) += share;
        if is_idle {
            *bucket.idle.get_mut(component) += share;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn uj(joules: u64) -> Microjoules {
        Microjoules::new(joules * 1_000_000)
    }

    fn device(component: Component, joules: u64, idle: Option<f64>) -> DeviceUse {
        DeviceUse { component, energy: uj(joules), idle: idle.map(Watts::new), duration: S }
    }

    fn job(cpu_share: f64, cpu_time: Option<f64>) -> Holding {
        let cpu_time = cpu_time.map(Duration::from_secs_f64);
        Holding { cpu_share, mem_share: cpu_share, cpu_time, gpus: Vec::new() }
    }

    #[test]
    fn idle_goes_by_allocation_and_the_rest_by_activity() {
        // 100 J in 1 s with a 40 W baseline: 40 J idle, 60 J dynamic.
        let situation = Situation {
            devices: vec![device(Component::Cpu, 100, Some(40.0))],
            jobs: vec![job(0.5, Some(0.9)), job(0.25, Some(0.0))],
            system_cpu_time: Some(Duration::from_millis(100)),
        };
        let split = split(&situation, Policy::Hybrid);
        // Busy: 0.5·40 + 0.9·60 = 74; sleeper: 0.25·40 = 10; system: 0.1·60 = 6; nobody: 10.
        assert_eq!(split.jobs[0].energy.cpu, uj(74));
        assert_eq!(split.jobs[0].idle.cpu, uj(20));
        assert_eq!(split.jobs[1].energy.cpu, uj(10));
        assert_eq!(split.system.energy.cpu, uj(6));
        assert_eq!(split.unallocated.energy.cpu, uj(10));
    }

    #[test]
    fn a_job_whose_activity_is_unknown_has_its_allocated_share() {
        let situation = Situation {
            devices: vec![device(Component::Cpu, 100, None)],
            jobs: vec![job(0.5, None), job(0.25, Some(0.3))],
            system_cpu_time: Some(Duration::from_millis(100)),
        };
        let split = split(&situation, Policy::Hybrid);
        // Half of 100 J by allocation; of the other 50 J, 0.3 s against 0.1 s.
        assert_eq!(split.jobs[0].energy.cpu, uj(50));
        assert_eq!(split.jobs[1].energy.cpu.as_u64(), 37_500_000);
        assert_eq!(split.system.energy.cpu.as_u64(), 12_500_000);
    }

    #[test]
    fn a_gpu_is_its_holders_busy_or_not() {
        let mut holder = job(0.1, Some(0.1));
        holder.gpus = vec![(1, 1.0)];
        let situation = Situation {
            devices: vec![
                device(Component::Gpu, 50, Some(50.0)),
                device(Component::Gpu, 51, Some(50.0)),
            ],
            jobs: vec![job(0.9, Some(0.9)), holder],
            system_cpu_time: None,
        };
        let split = split(&situation, Policy::Hybrid);
        assert_eq!(split.jobs[0].energy.gpu, Microjoules::ZERO);
        assert_eq!(split.jobs[1].energy.gpu, uj(51));
        assert_eq!(split.jobs[1].gpu_unused, uj(51));
        assert_eq!(split.unallocated.energy.gpu, uj(50));
    }

    #[test]
    fn slices_that_nobody_holds_idle_for_nobody_and_use_nothing() {
        let holds = |share| Holding { gpus: vec![(0, share)], ..job(0.1, None) };
        let situation = Situation {
            devices: vec![device(Component::Gpu, 170, Some(70.0))],
            jobs: vec![holds(3.0 / 7.0), holds(2.0 / 7.0)],
            system_cpu_time: None,
        };
        // 70 J idle: 30, 20, and 20 of two free slices; 100 J beyond: 60 and 40.
        let hybrid = split(&situation, Policy::Hybrid);
        assert_eq!(hybrid.jobs.iter().map(|j| j.energy.gpu).collect::<Vec<_>>(), [uj(90), uj(60)]);
        assert_eq!(hybrid.unallocated.energy.gpu, uj(20));
        // Two jobs that hold all of one GPU have half of it each.
        let both = Situation { jobs: vec![holds(1.0), holds(1.0)], ..situation };
        let hybrid = split(&both, Policy::Hybrid);
        assert_eq!(hybrid.jobs.iter().map(|j| j.energy.gpu).collect::<Vec<_>>(), [uj(85), uj(85)]);
    }

    #[test]
    fn policy_node_gives_the_whole_node_to_each() {
        let situation = Situation {
            devices: vec![device(Component::Cpu, 100, Some(40.0))],
            jobs: vec![job(0.5, None), job(0.5, None)],
            system_cpu_time: None,
        };
        let split = split(&situation, Policy::Node);
        assert_eq!((split.jobs[0].energy.cpu, split.jobs[1].energy.cpu), (uj(100), uj(100)));
    }

    fn any_holding() -> impl Strategy<Value = Holding> {
        let share = prop_oneof![Just(0.0), 0.0..1.5_f64];
        let time = proptest::option::of((0..5_000_u64).prop_map(Duration::from_millis));
        let gpus = proptest::collection::vec((2..4_usize, 0.0..1.0_f64), 0..3);
        (share.clone(), share, time, gpus).prop_map(|(cpu_share, mem_share, cpu_time, gpus)| {
            Holding { cpu_share, mem_share, cpu_time, gpus }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_charged_is_what_was_metered(
            jobs in proptest::collection::vec(any_holding(), 0..6),
            energies in proptest::collection::vec(0..10_u64.pow(13), 4),
            idle in proptest::collection::vec(proptest::option::of(0.0..500.0_f64), 4),
            system_ms in proptest::option::of(0..5_000_u64),
            policy in prop_oneof![
                Just(Policy::Hybrid), Just(Policy::Allocated), Just(Policy::Usage)
            ],
        ) {
            let kinds = [Component::Cpu, Component::Dram, Component::Gpu, Component::Gpu];
            let devices = kinds.iter().zip(&energies).zip(&idle).map(|((component, e), idle)| {
                let energy = Microjoules::new(*e);
                DeviceUse { component: *component, energy, idle: idle.map(Watts::new), duration: S }
            });
            let situation = Situation {
                devices: devices.collect(),
                jobs,
                system_cpu_time: system_ms.map(Duration::from_millis),
            };
            let split = split(&situation, policy);
            let buckets = split.jobs.iter().chain([&split.system, &split.unallocated]);
            let charged: Microjoules = buckets.map(|c| c.energy.total()).sum();
            prop_assert_eq!(charged.as_u64(), energies.iter().sum::<u64>());
        }
    }
}
