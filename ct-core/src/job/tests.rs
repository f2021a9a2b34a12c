//! A job from its start to its record.

use chrono::TimeDelta;

use super::*;
use crate::config::Config;
use crate::energy::Component;
use crate::option::{Choice, parse};
use crate::record::{EndReason, Record};

struct World {
    factors: Factors,
    devices: Vec<Device>,
    problems: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let device = |component, name| Device::new(component, name, name, "rapl");
        let devices = vec![device(Component::Cpu, "cpu:0"), device(Component::Dram, "dram:0")];
        let factors = Factors::from_config(&Config::default());
        Self { factors, devices, problems: BTreeSet::new() }
    }

    fn context(&self) -> Context<'_> {
        Context {
            factors: &self.factors,
            policy: Policy::Hybrid,
            devices: &self.devices,
            cluster: Some("lab"),
            node: "n1",
            n_cpus: 4,
            problems: &self.problems,
        }
    }
}

fn at(seconds: u64) -> Moment {
    let start: DateTime<chrono::Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
    Moment {
        since_boot: Duration::from_secs(1000 + seconds),
        wall: start + TimeDelta::seconds(i64::try_from(seconds).unwrap()),
    }
}

fn job(option: &str) -> Job {
    let Ok(Choice::On(set)) = parse(option) else { panic!("{option}") };
    let facts = JobFacts { job_id: 42, uid: 1000, alloc_cpus: Some(2), ..Default::default() };
    Job::new(facts, true, Settings::resolve(&set).unwrap(), at(0))
}

/// 100 W on the package and 20 W of memory since the last charge.
fn run_until(job: &mut Job, seconds: u64) {
    let duration = at(seconds).since(&job.last).as_secs();
    let joules = |watts: u64| Microjoules::new(watts * duration * 1_000_000);
    let energy = ByComponent { cpu: joules(100), dram: joules(20), ..Default::default() };
    let charge = Charge { energy, ..Default::default() };
    job.charge(at(seconds), &charge, true);
}

#[test]
fn logs_of_three_epochs_read_as_upstreams() {
    let world = World::new();
    let mut job = job("epochs:3,decimal_precision:6");
    let mut printed = job.begin_logs(at(0), world.context());
    for epoch in 0..3 {
        run_until(&mut job, epoch * 20 + 10);
        job.epoch_start(at(epoch * 20 + 10));
        run_until(&mut job, epoch * 20 + 20);
        printed.push_str(&job.epoch_end(at(epoch * 20 + 20), world.context()).unwrap());
    }
    run_until(&mut job, 70);
    printed.push_str(&job.close_logs(at(70), world.context()));

    let power = "Average power usage (W) for cpu: 120.0\n";
    assert_eq!(job.log.standard.matches(power).count(), 3, "{}", job.log.standard);
    assert!(job.log.standard.contains("Epoch 3:\n"));
    assert!(job.log.standard.ends_with("Monitoring thread ended.\n"));
    assert!(!job.log.standard.contains("interrupted"));
    // One epoch: 120 W for 10 s = 1.2 kJ; three with PUE 1.58: 5.688 kJ = 0.00158 kWh, at 445 g
    // 0.7031 g, by car 0.006583 km.
    let predicted = "CarbonTracker: \nPredicted consumption for 3 epoch(s):\n\tTime:\t0:00:30\n\
                     \tEnergy:\t0.001580 kWh\n\tCO2eq:\t0.703100 g\n\tThis is equivalent to:\n\
                     \t0.006583 km travelled by car\n";
    assert!(printed.starts_with(predicted), "{printed}");
    let actual = predicted.replace("Predicted", "Actual");
    assert!(
        printed.ends_with(&format!("{actual}CarbonTracker: Finished monitoring.\n")),
        "{printed}"
    );
    assert!(printed.contains("Actual consumption for 1 epoch(s)"));
}

#[test]
fn a_job_without_epochs_is_reported_whole() {
    let world = World::new();
    let mut job = job("interpretable:false,verbose:2");
    let printed = job.begin_logs(at(0), world.context());
    assert_eq!(
        printed,
        "CarbonTracker: The following components were found: CPU with device(s) cpu:0, dram:0.\n"
    );
    run_until(&mut job, 3600);
    let text = job.close_logs(at(3600), world.context());
    assert!(text.contains("445.00 gCO2eq/kWh"), "{text}");
    // 120 W for an hour with PUE 1.58 = 0.1896 kWh.
    assert!(
        text.contains("Actual consumption:\n\tTime:\t1:00:00\n\tEnergy:\t0.189600 kWh\n"),
        "{text}"
    );
    assert!(!text.contains("equivalent"));
    assert!(job.log.standard.contains("Epoch 1:\n"));
    assert_eq!(job.close_logs(at(3600), world.context()), "");
}

#[test]
fn an_early_end_is_said_in_the_log() {
    let world = World::new();
    let mut job = job("epochs:5");
    job.begin_logs(at(0), world.context());
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    job.epoch_end(at(10), world.context()).unwrap();
    job.epoch_start(at(10));
    run_until(&mut job, 15);
    job.close_logs(at(15), world.context());
    let line = "Training was interrupted before all 5 epochs were monitored.";
    assert_eq!(job.log.standard.matches(line).count(), 1);
    let record = job.record(EndReason::Cancelled, world.context());
    let epochs = record.epochs.unwrap();
    assert_eq!((epochs.declared, epochs.done), (Some(5), 1));
    // The whole job is measured, not only its epochs: 15 s at 120 W.
    assert_eq!(record.energy_j.total().as_u64(), 1_800_000_000);
}

#[test]
fn an_epoch_that_was_not_started_cannot_end() {
    let world = World::new();
    let mut job = job("epochs:5");
    assert_eq!(job.epoch_end(at(1), world.context()), Err(EpochError::NotRunning));
    job.stop(at(1), world.context());
    job.epoch_start(at(1));
    assert_eq!(job.epoch_end(at(2), world.context()), Err(EpochError::Stopped));
}

#[test]
fn a_record_comes_back_as_it_went() {
    let world = World::new();
    let mut job = job("epochs:2");
    job.facts.n_nodes = Some(2);
    job.others = Others {
        energy: ByComponent { cpu: Microjoules::new(7), ..Default::default() },
        n_seen: 1,
        missing: Vec::new(),
    };
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    job.epoch_end(at(10), world.context()).unwrap();
    let record = job.record(EndReason::Completed, world.context());
    let line = record.to_line().unwrap();
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    assert!(line.contains(r#""energy_j":{"cpu":1000.000000,"dram":200.000000,"#), "{line}");
    assert_eq!(record.method["dram"], "rapl");
    assert_eq!(record.coverage, 1.0);
    assert_eq!(record.job_total.unwrap().energy_j.cpu.as_u64(), 1_000_000_007);
}

#[test]
fn simulated_components_are_shown_and_what_is_charged_stays() {
    let world = World::new();
    let mut job = job("epochs:2,sim_cpu:Xeon X,sim_cpu_tdp:100,sim_gpu:A100,sim_gpu_watts:400,\
                       sim_gpu_util:0.25");
    let printed = job.begin_logs(at(0), world.context());
    assert_eq!(
        printed,
        "CarbonTracker: Using simulated GPU: A100 with power consumption: 100.00W (at 25% \
         utilization)\nCarbonTracker: Using simulated CPU: Xeon X with TDP: 50.00W (at 50% \
         utilization)\n"
    );
    let found = "The following components were found: GPU with device(s) A100. CPU with device(s) \
                 Xeon X.\n";
    assert!(job.log.standard.contains(found), "{}", job.log.standard);
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let printed = job.epoch_end(at(10), world.context()).unwrap();
    // 100 W · 0.5 · 10 s = 500 J, 400 W · 0.25 · 10 s = 1 kJ; two epochs with PUE 1.58 4.74 kJ.
    assert!(
        printed.contains("2 epoch(s):\n\tTime:\t0:00:20\n\tEnergy:\t0.001317 kWh"),
        "{printed}"
    );
    for power in ["(W) for gpu: 100.0\n", "(W) for cpu: 50.0\n"] {
        assert!(job.log.standard.contains(power), "{}", job.log.standard);
    }
    run_until(&mut job, 20);
    let record = job.record(EndReason::Completed, world.context());
    assert_eq!(record.epochs.as_ref().unwrap().energy_j, [Microjoules::new(1_500_000_000)]);
    assert_eq!(record.prediction.as_ref().unwrap().energy_j, 3000.0);
    // The meters' 100 W and 20 W for 20 s are charged all the same.
    let metered = ByComponent {
        cpu: Microjoules::new(2_000_000_000),
        dram: Microjoules::new(400_000_000),
        ..Default::default()
    };
    assert_eq!((record.energy_j, record.method["cpu"].as_str()), (metered, "rapl"));
    let line = record.to_line().unwrap();
    let field = r#""simulated":{"cpu":{"name":"Xeon X","method":"simulated:Xeon X","power_w":50.0,"energy_j":1000.000000},"gpu":{"#;
    assert!(line.contains(field), "{line}");
    assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    assert_eq!(job.shown_methods(world.context())["cpu"], "simulated:Xeon X");
    assert_eq!(job.visible_energy().total().as_u64(), 3_000_000_000);
}

#[test]
fn a_simulated_component_that_is_not_chosen_is_not_shown() {
    let world = World::new();
    let mut job = job("components:cpu,sim_gpu:A100,sim_gpu_watts:400");
    job.begin_logs(at(0), world.context());
    run_until(&mut job, 10);
    assert!(!job.log.standard.contains("A100"), "{}", job.log.standard);
    assert_eq!(job.visible_energy().gpu, Microjoules::ZERO);
    let record = job.record(EndReason::Completed, world.context());
    assert!(!record.to_line().unwrap().contains("simulated"));
    // Nor is anything on another node of the job, or to the owner of a job that is not tracked.
    job.settings.components.gpu = true;
    assert_eq!(job.visible_energy().gpu.as_u64(), 2_000_000_000);
    for (tracked, is_first_node) in [(false, true), (true, false)] {
        (job.tracked, job.is_first_node) = (tracked, is_first_node);
        assert_eq!(job.visible_energy().gpu, Microjoules::ZERO);
    }
}

#[test]
fn state_comes_back_as_it_went() {
    let world = World::new();
    let mut job = job("epochs:2");
    job.begin_logs(at(0), world.context());
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let json = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
}
