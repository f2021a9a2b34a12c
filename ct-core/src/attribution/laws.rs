//! Laws that hold for every machine, every set of jobs and every interval.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

const CASES: u32 = 10_000;

/// Two packages with memory, two GPUs, and the rest of the node.
const MACHINE: [(Component, Option<u32>); 7] = [
    (Component::Cpu, Some(0)),
    (Component::Cpu, Some(1)),
    (Component::Dram, Some(0)),
    (Component::Dram, Some(1)),
    (Component::Gpu, None),
    (Component::Gpu, None),
    (Component::Rest, None),
];

fn millis() -> impl Strategy<Value = Duration> {
    (0..5_000_u64).prop_map(Duration::from_millis)
}

fn any_share() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.5), 0.0..1.5_f64]
}

fn any_packages() -> impl Strategy<Value = Vec<OnPackage>> {
    let on = |package| {
        (any_share(), millis()).prop_map(move |(cpu_share, cpu_time)| OnPackage {
            package,
            cpu_share,
            cpu_time,
        })
    };
    prop_oneof![
        Just(Vec::new()),
        on(0).prop_map(|p| vec![p]),
        (on(0), on(1)).prop_map(|(a, b)| vec![a, b])
    ]
}

fn any_job() -> impl Strategy<Value = Holding> {
    let gpus = vec((4..6_usize, 0.0..1.0_f64), 0..3);
    (any_share(), any_share(), of(millis()), any_packages(), gpus).prop_map(
        |(cpu_share, mem_share, cpu_time, packages, gpus)| Holding {
            cpu_share,
            mem_share,
            cpu_time,
            packages,
            gpus,
            ..Holding::default()
        },
    )
}

fn any_device() -> impl Strategy<Value = (u64, Option<f64>)> {
    (prop_oneof![Just(0_u64), 0..1_000_u64, 0..10_u64.pow(13)], of(0.0..500.0_f64))
}

fn any_situation() -> impl Strategy<Value = Situation> {
    let system = (of(millis()), vec(millis(), 0..3));
    (vec(any_job(), 0..5), vec(any_device(), MACHINE.len()), millis(), system).prop_map(
        |(mut jobs, devices, duration, (system_cpu_time, by_package))| {
            for (job, id) in jobs.iter_mut().zip(1..) {
                job.job_id = id;
            }
            let device = |((component, package), (energy, idle)): (_, (_, Option<f64>))| {
                let (energy, idle) = (Microjoules::new(energy), idle.map(Watts::new));
                DeviceUse { component, energy, idle, package, duration, backlog: None }
            };
            Situation {
                devices: MACHINE.into_iter().zip(devices).map(device).collect(),
                jobs,
                system_cpu_time,
                system_by_package: (0..).zip(by_package).collect(),
            }
        },
    )
}

fn additive() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Hybrid), Just(Policy::Allocated), Just(Policy::Usage)]
}

/// The situation with every time and energy cut at a part of its interval.
fn cut(situation: &Situation, part: f64) -> (Situation, Situation) {
    let (mut first, mut second) = (situation.clone(), situation.clone());
    let cut = |a: &mut Duration, b: &mut Duration| {
        *a = a.mul_f64(part);
        *b -= *a;
    };
    for (a, b) in first.devices.iter_mut().zip(&mut second.devices) {
        let energy = apportion(a.energy, &[part, 1.0 - part]);
        (a.energy, b.energy) = (energy[0], energy[1]);
        cut(&mut a.duration, &mut b.duration);
    }
    for (a, b) in first.jobs.iter_mut().zip(&mut second.jobs) {
        if let (Some(a), Some(b)) = (&mut a.cpu_time, &mut b.cpu_time) {
            cut(a, b);
        }
        for (a, b) in a.packages.iter_mut().zip(&mut b.packages) {
            cut(&mut a.cpu_time, &mut b.cpu_time);
        }
    }
    if let (Some(a), Some(b)) = (&mut first.system_cpu_time, &mut second.system_cpu_time) {
        cut(a, b);
    }
    for (a, b) in first.system_by_package.iter_mut().zip(&mut second.system_by_package) {
        cut(&mut a.1, &mut b.1);
    }
    (first, second)
}

/// A situation of some length whose energies are good to a microjoule in floats of 15 digits.
fn of_an_outage(mut situation: Situation) -> Situation {
    for device in &mut situation.devices {
        device.energy = Microjoules::new(device.energy.as_u64() % 1_000_000_000_000);
        device.duration += Duration::from_millis(1);
    }
    situation
}

/// The situation as it is when its devices answer after these intervals, between the first two of
/// which a job may have ended.
fn answered(situation: &Situation, intervals: &[Situation; 2], ended: Option<u32>) -> Situation {
    let mut answer = situation.clone();
    for (index, device) in answer.devices.iter_mut().enumerate() {
        let mut backlog = Backlog::default();
        for interval in intervals {
            backlog.add(interval, index, interval.devices[index].duration);
            ended.into_iter().for_each(|job_id| backlog.end(job_id));
        }
        device.backlog = Some(backlog);
    }
    answer
}

fn buckets(split: &Split) -> Vec<Charge> {
    split.jobs.iter().chain([&split.system, &split.unallocated]).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_charged_is_what_was_metered(situation in any_situation(), policy in additive()) {
        let total = split(&situation, policy).total();
        for component in Component::ALL {
            let of = situation.devices.iter().filter(|d| d.component == component);
            let metered: Microjoules = of.map(|d| d.energy).sum();
            prop_assert_eq!(*total.energy.get(component), metered);
            prop_assert!(total.idle.get(component) <= total.energy.get(component));
        }
    }

    #[test]
    fn the_order_of_jobs_changes_nothing(
        (situation, order) in any_situation().prop_flat_map(|s| {
            let order: Vec<usize> = (0..s.jobs.len()).collect();
            (Just(s), Just(order).prop_shuffle())
        }),
        policy in additive(),
    ) {
        let plain = split(&situation, policy);
        let jobs = order.iter().map(|i| situation.jobs[*i].clone()).collect();
        let shuffled = split(&Situation { jobs, ..situation }, policy);
        for (place, i) in order.iter().enumerate() {
            prop_assert_eq!(shuffled.jobs[place], plain.jobs[*i]);
        }
        prop_assert_eq!((shuffled.system, shuffled.unallocated), (plain.system, plain.unallocated));
    }

    /// Each part is rounded by less than a microjoule, the idle and the dynamic one by themselves,
    /// for the whole as for both halves; the baseline is rounded as well.
    #[test]
    fn an_interval_cut_in_two_is_split_as_the_whole(
        situation in any_situation(),
        part in 0.01..0.99_f64,
        policy in additive(),
    ) {
        let mut situation = situation;
        for device in &mut situation.devices {
            // The weights of floats are good to 15 digits; an interval draws less than a megajoule.
            device.energy = Microjoules::new(device.energy.as_u64() % 1_000_000_000_000);
        }
        let whole = split(&situation, policy);
        let (first, second) = cut(&situation, part);
        let (first, second) = (split(&first, policy), split(&second, policy));
        let halves = buckets(&first).into_iter().zip(buckets(&second));
        for (whole, (a, b)) in buckets(&whole).into_iter().zip(halves) {
            for component in Component::ALL {
                let n = MACHINE.iter().filter(|(c, _)| *c == component).count() as u64;
                let (a, b) = (a.energy.get(component).as_u64(), b.energy.get(component).as_u64());
                let off = (a + b).abs_diff(whole.energy.get(component).as_u64());
                prop_assert!(off <= 6 * n, "{component:?}: {a} + {b} against {whole:?}");
            }
        }
    }

    /// What a device drew while it did not answer is split as if it had drawn it in one interval.
    #[test]
    fn an_outage_is_split_as_one_interval(
        situation in any_situation(),
        part in 0.01..0.99_f64,
        policy in additive(),
    ) {
        let situation = of_an_outage(situation);
        let (first, second) = cut(&situation, part);
        let outage = split(&answered(&situation, &[first, second], None), policy);
        prop_assert_eq!(outage.of_ended, Microjoules::ZERO);
        let whole = split(&situation, policy);
        for (a, b) in buckets(&whole).into_iter().zip(buckets(&outage)) {
            for component in Component::ALL {
                let (a, b) = (a.energy.get(component).as_u64(), b.energy.get(component).as_u64());
                prop_assert!(a.abs_diff(b) <= 20, "{component:?}: {a} against {b}");
            }
        }
    }

    /// A job that ended in an outage leaves its part to nobody: no neighbour pays for it.
    #[test]
    fn who_ended_in_an_outage_costs_no_neighbour_anything(
        situation in any_situation(),
        part in 0.01..0.99_f64,
        policy in additive(),
    ) {
        let mut situation = of_an_outage(situation);
        if situation.jobs.len() < 2 {
            return Ok(());
        }
        let (first, mut second) = cut(&situation, part);
        // From then on it holds and does nothing: that it still runs makes no other difference.
        second.jobs[0] = Holding { job_id: 1, ..Holding::default() };
        let runs = split(&answered(&situation, &[first.clone(), second.clone()], None), policy);
        second.jobs.remove(0);
        situation.jobs.remove(0);
        let ended = split(&answered(&situation, &[first, second], Some(1)), policy);
        let metered: Microjoules = situation.devices.iter().map(|d| d.energy).sum();
        prop_assert_eq!(ended.total().energy.total(), metered);
        for (before, after) in runs.jobs[1..].iter().zip(&ended.jobs) {
            let (a, b) = (before.energy.total().as_u64(), after.energy.total().as_u64());
            prop_assert!(a.abs_diff(b) <= 20, "{a} against {b}");
        }
        let (a, b) = (runs.jobs[0].energy.total().as_u64(), ended.of_ended.as_u64());
        prop_assert!(a.abs_diff(b) <= 20, "{a} against {b}");
    }

    #[test]
    fn a_neighbour_takes_no_idle_energy_of_mine_and_adds_no_dynamic(
        situation in any_situation(),
        neighbour in any_job(),
    ) {
        let mut situation = situation;
        situation.jobs.push(neighbour);
        for job in &mut situation.jobs {
            // Nothing is allocated twice: five jobs of at most a fifth each.
            job.cpu_share = (job.cpu_share / 7.5).min(0.2);
            job.mem_share = (job.mem_share / 7.5).min(0.2);
            job.packages.iter_mut().for_each(|p| p.cpu_share = (p.cpu_share / 7.5).min(0.2));
            job.gpus.clear();
        }
        let with = split(&situation, Policy::Hybrid);
        situation.jobs.pop();
        let without = split(&situation, Policy::Hybrid);
        for (index, mine) in without.jobs.iter().enumerate() {
            for component in [Component::Cpu, Component::Dram, Component::Rest] {
                let of = |c: &Charge| {
                    let idle = c.idle.get(component).as_u64();
                    (idle, c.energy.get(component).as_u64() - idle)
                };
                let ((idle, dynamic), (idle_before, dynamic_before)) =
                    (of(&with.jobs[index]), of(mine));
                // One microjoule of rounding for each of at most two devices.
                prop_assert!(idle + 2 >= idle_before, "{idle} after {idle_before}");
                prop_assert!(dynamic <= dynamic_before + 2, "{dynamic} after {dynamic_before}");
                prop_assert!(idle + 2 >= allocated(&situation, index, component));
            }
        }
    }
}

/// Σ a·min(B·τ, E) over the devices of a component.
fn allocated(situation: &Situation, job: usize, component: Component) -> u64 {
    let of = situation.devices.iter().filter(|d| d.component == component);
    let part = |device: &DeviceUse| {
        let baseline = device.idle.map_or(0.0, |w| (w * device.duration).as_joules() * 1e6);
        let job = &situation.jobs[job];
        let a = match component {
            Component::Dram => job.mem_share,
            _ => job.cpu_share_of(device.package),
        };
        (a * baseline.min(device.energy.as_u64() as f64)) as u64
    };
    of.map(part).sum()
}
