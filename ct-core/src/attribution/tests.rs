//! Splits of single intervals, by hand.

use super::*;

const S: Duration = Duration::from_secs(1);

fn uj(joules: u64) -> Microjoules {
    Microjoules::new(joules * 1_000_000)
}

fn device(component: Component, joules: u64, idle: Option<f64>) -> DeviceUse {
    DeviceUse {
        component,
        energy: uj(joules),
        idle: idle.map(Watts::new),
        package: None,
        duration: S,
        backlog: None,
    }
}

fn job(cpu_share: f64, cpu_time: Option<f64>) -> Holding {
    let cpu_time = cpu_time.map(Duration::from_secs_f64);
    Holding { cpu_share, mem_share: cpu_share, cpu_time, ..Holding::default() }
}

#[test]
fn idle_goes_by_allocation_and_the_rest_by_activity() {
    // 100 J in 1 s with a 40 W baseline: 40 J idle, 60 J dynamic.
    let situation = Situation {
        devices: vec![device(Component::Cpu, 100, Some(40.0))],
        jobs: vec![job(0.5, Some(0.9)), job(0.25, Some(0.0))],
        system_cpu_time: Some(Duration::from_millis(100)),
        ..Situation::default()
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
        ..Situation::default()
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
        ..Situation::default()
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
        ..Situation::default()
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
        ..Situation::default()
    };
    let split = split(&situation, Policy::Node);
    assert_eq!((split.jobs[0].energy.cpu, split.jobs[1].energy.cpu), (uj(100), uj(100)));
}

/// A package of a machine with two.
fn package(number: u32, joules: u64, idle: Option<f64>) -> DeviceUse {
    DeviceUse { package: Some(number), ..device(Component::Cpu, joules, idle) }
}

fn on(package: u32, cpu_share: f64, cpu_s: f64) -> OnPackage {
    OnPackage { package, cpu_share, cpu_time: Duration::from_secs_f64(cpu_s) }
}

#[test]
fn a_job_on_one_package_is_charged_nothing_of_the_other() {
    let bound = Holding { packages: vec![on(0, 0.5, 0.6)], ..job(0.25, Some(0.6)) };
    let both =
        Holding { packages: vec![on(0, 0.25, 0.2), on(1, 0.5, 0.9)], ..job(0.375, Some(1.1)) };
    let situation = Situation {
        devices: vec![package(0, 100, Some(20.0)), package(1, 50, Some(20.0))],
        jobs: vec![bound, both],
        system_cpu_time: Some(Duration::from_millis(300)),
        system_by_package: vec![(0, Duration::from_millis(200)), (1, Duration::from_millis(100))],
    };
    let split = split(&situation, Policy::Hybrid);
    // Package 0: 0.5·20 + 0.6·80 = 58; the other 0.25·20 + 0.2·80 = 21; package 1: 0.5·20 + 0.9·30.
    assert_eq!(split.jobs[0].energy.cpu, uj(58));
    assert_eq!(split.jobs[1].energy.cpu, uj(21 + 37));
    assert_eq!(split.system.energy.cpu, uj(16 + 3));
    assert_eq!(split.unallocated.energy.cpu, uj(5 + 10));
    assert!(!situation.is_unheld(1));
    let alone = Situation { jobs: vec![situation.jobs[0].clone()], ..situation };
    assert!(alone.is_unheld(1) && !alone.is_unheld(0));
}

#[test]
fn oversubscribed_cores_share_what_there_is() {
    // Three jobs on the same half of the cores, and one on the other: 4 times a half.
    let situation = Situation {
        devices: vec![device(Component::Cpu, 100, Some(40.0))],
        jobs: vec![job(0.5, Some(0.5)), job(0.5, Some(0.5)), job(0.5, Some(0.0)), job(0.5, None)],
        ..Situation::default()
    };
    let split = split(&situation, Policy::Hybrid);
    assert!(split.jobs.iter().all(|j| j.idle.cpu == uj(10)), "{split:?}");
    // Half of 60 J by allocation, the other half between the two that ran.
    let dynamic: Vec<u64> =
        split.jobs.iter().map(|j| j.energy.cpu.as_u64() - j.idle.cpu.as_u64()).collect();
    assert_eq!(dynamic, [15_000_000, 15_000_000, 0, 30_000_000]);
    assert_eq!(split.unallocated, Charge::default());
}

#[test]
fn a_suspended_job_keeps_its_idle_share_and_nothing_else() {
    let situation = Situation {
        devices: vec![device(Component::Cpu, 100, Some(40.0))],
        jobs: vec![job(0.5, Some(0.0)), job(0.5, Some(1.0))],
        system_cpu_time: Some(Duration::ZERO),
        ..Situation::default()
    };
    let split = split(&situation, Policy::Hybrid);
    assert_eq!(split.jobs[0].energy.cpu, uj(20));
    assert_eq!(split.jobs[1].energy.cpu, uj(80));
}

/// A package that did not answer for 10 s, in which job 1 with half of it was there until the last
/// second, job 2 with the other half all the time, and job 3 came when job 1 had left.
fn outage(policy: Policy) -> Split {
    let mut silent = device(Component::Cpu, 1000, Some(40.0));
    silent.duration = 10 * S;
    let job = |job_id, cpu_s| Holding { job_id, ..job(0.5, Some(cpu_s)) };
    let of = |jobs: &[Holding], system_s| Situation {
        devices: vec![device(Component::Cpu, 0, Some(40.0))],
        jobs: jobs.to_vec(),
        system_cpu_time: Some(Duration::from_secs(system_s)),
        ..Situation::default()
    };
    let mut backlog = Backlog::default();
    backlog.add(&of(&[job(1, 14.0), job(2, 2.0)], 2), 0, 9 * S);
    backlog.end(1);
    let last = of(&[job(2, 1.0), job(3, 1.0)], 0);
    backlog.add(&last, 0, S);
    silent.backlog = Some(backlog);
    split(&Situation { devices: vec![silent], ..last }, policy)
}

#[test]
fn what_a_silent_device_drew_is_split_as_it_was_held_and_used_and_the_ended_jobs_part_is_nobodys() {
    // 400 J idle: job 1 held 4.5 of 10 s, job 2 held 5, job 3 held 0.5. 600 J dynamic over 20 s of
    // CPU time: 14, 3, 1, and 2 of the system.
    let split = outage(Policy::Hybrid);
    assert_eq!(split.jobs[0].energy.cpu, uj(200 + 90));
    assert_eq!(split.jobs[0].idle.cpu, uj(200));
    assert_eq!(split.jobs[1].energy.cpu, uj(20 + 30));
    assert_eq!(split.system.energy.cpu, uj(60));
    assert_eq!((split.unallocated.energy.cpu, split.of_ended), (uj(180 + 420), uj(180 + 420)));
    assert_eq!(split.total().energy.cpu, uj(1000));
    let by_hold = outage(Policy::Allocated);
    assert_eq!((by_hold.jobs[0].energy.cpu, by_hold.of_ended), (uj(500), uj(450)));
    // With policy node each has the whole of the time in which it was there.
    let whole = outage(Policy::Node).jobs;
    assert_eq!((whole[0].energy.cpu, whole[1].energy.cpu), (uj(1000), uj(100)));
}

#[test]
fn what_is_taken_from_a_job_is_nobodys() {
    let situation = Situation {
        devices: vec![device(Component::Cpu, 10, Some(4.0))],
        jobs: vec![job(0.5, Some(1.0)), job(0.5, Some(2.0))],
        ..Situation::default()
    };
    let mut split = split(&situation, Policy::Hybrid);
    split.disown(0);
    // 2 J idle and a third of 6 J.
    assert_eq!((split.unallocated.energy.cpu, split.unallocated.idle.cpu), (uj(4), uj(2)));
    assert_eq!((split.jobs[0], split.of_ended), (Charge::default(), uj(4)));
    assert_eq!(split.total().energy.cpu, uj(10));
}

#[test]
fn the_worked_example_of_the_method_is_what_comes_out() {
    let whole = |s| Some(Duration::from_secs(s));
    let on = |package, cpu_share, cpu_s| on(package, cpu_share, f64::from(cpu_s));
    let held =
        |job_id, cpu_time, packages| Holding { job_id, cpu_time, packages, ..Holding::default() };
    let situation = Situation {
        devices: [(0, 1000), (1, 600)]
            .map(|(number, joules)| DeviceUse {
                duration: 10 * S,
                ..package(number, joules, Some(40.0))
            })
            .to_vec(),
        jobs: vec![
            held(1, whole(15), vec![on(0, 0.5, 15)]),
            held(2, whole(6), vec![on(0, 0.5, 2), on(1, 0.5, 4)]),
        ],
        system_cpu_time: whole(4),
        system_by_package: vec![(0, 3 * S), (1, S)],
    };
    let text = include_str!("../../../docs/METHOD.md");
    let one = |index: usize| {
        let devices = vec![situation.devices[index].clone()];
        split(&Situation { devices, ..situation.clone() }, Policy::Hybrid)
    };
    let (first, second) = (one(0), one(1));
    let row = |name: &str, first: &Charge, second: &Charge| {
        let parts = |c: &Charge| {
            let (all, idle) = (c.energy.cpu.as_u64(), c.idle.cpu.as_u64());
            (idle / 1_000_000, (all - idle) / 1_000_000)
        };
        let ((a, b), (c, d)) = (parts(first), parts(second));
        let row = format!("| {name} | {a} | {b} | {c} | {d} | {} |\n", a + b + c + d);
        assert!(text.contains(&row), "METHOD.md lacks {row}");
    };
    row("job A", &first.jobs[0], &second.jobs[0]);
    row("job B", &first.jobs[1], &second.jobs[1]);
    row("system", &first.system, &second.system);
    row("unallocated", &first.unallocated, &second.unallocated);
    row("meters", &first.total(), &second.total());
}
