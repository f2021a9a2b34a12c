//! A job from its start to its record.

mod budgets;
mod logs;
mod output_lines;
mod predictions;
mod pricing;
mod said;
mod simulated;

use std::sync::Arc;

use chrono::TimeDelta;

use super::*;
use crate::carbon::intensity::IntensitySeries;
use crate::carbon::series;
use crate::config::Config;
use crate::energy::Component;
use crate::option::{Choice, parse};
use crate::record::{EndReason, Record};
use crate::sample::{DeviceEnergy, Interval};

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

    /// PUE 1.5, zone DK1 with a series, else Denmark's 143.3 g/kWh.
    fn with_series(file: &str) -> Self {
        let mut config = Config::default();
        config.power.pue = Some(1.5);
        config.carbon.zone = Some("DK1".to_owned());
        config.carbon.embodied_g_per_node_hour = Some(10.0);
        let series = IntensitySeries::new("DK1", &series::parse(file).0);
        let mut factors = Factors::from_config(&config);
        factors.series = Some(Arc::new(series));
        Self { factors, ..Self::new() }
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
    let (start, end) = (job.last, at(seconds));
    let duration = end.since(&start).as_secs();
    let device = |watts: u64| DeviceEnergy {
        energy: Microjoules::new(watts * duration * 1_000_000),
        ..DeviceEnergy::default()
    };
    let devices = vec![device(100), device(20)];
    for part in (Interval { start, end, devices, busy: None }).by_hour() {
        let energy =
            ByComponent { cpu: part.devices[0], dram: part.devices[1], ..Default::default() };
        job.charge(part.hour, &Charge { energy, ..Default::default() });
    }
    job.advance(end, true);
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
fn state_comes_back_as_it_went() {
    let world = World::new();
    let mut job = job("epochs:2");
    job.begin_logs(at(0), world.context());
    job.epoch_start(at(0));
    run_until(&mut job, 10);
    let json = serde_json::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
}
