//! A station whose meter and CPUs a test sets.

use std::fs;
use std::sync::{Arc, Mutex};

use ct_core::option::OptionSet;
use ct_core::protocol::{JobFacts, StepFacts};
use ct_core::source::{Device, ReadError, Source};

use super::*;

mod late;
mod laws;
mod looks;
mod outages;
mod packages;

/// A package whose counter a test sets, in microjoules; at `u64::MAX` it is gone.
struct Meter(Arc<Mutex<u64>>, [Device; 1]);

impl Source for Meter {
    fn devices(&self) -> &[Device] {
        &self.1
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let count = Some(*self.0.lock().unwrap()).filter(|c| *c != u64::MAX);
        vec![count.ok_or_else(|| ReadError::Gone { path: "energy_uj".into() })]
    }
}

/// Meters that are never asked: the test makes its intervals itself.
struct Silent(Vec<Device>);

impl Source for Silent {
    fn devices(&self) -> &[Device] {
        &self.0
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        self.0.iter().map(|_| Ok(0)).collect()
    }
}

struct Bench {
    station: Station,
    counter: Arc<Mutex<u64>>,
    _procfs: tempfile::TempDir,
}

impl Bench {
    /// Four CPUs, one package, no cgroups: every job has its allocated share.
    fn new() -> Self {
        let procfs = tempfile::tempdir().unwrap();
        let idle = |name: &str| format!("{name} 0 0 0 0 0 0 0 0\n");
        let stat: String = ["cpu ", "cpu0", "cpu1", "cpu2", "cpu3"].map(idle).concat();
        fs::write(procfs.path().join("stat"), stat).unwrap();
        let counter = Arc::new(Mutex::new(0));
        let device = Device::new(Component::Cpu, "cpu:0", "rapl:cpu-0", "rapl");
        let source = Box::new(Meter(Arc::clone(&counter), [device]));
        let sampler = Sampler::new(vec![source], procfs.path());
        let mut config = Config::default();
        config.path.procfs = procfs.path().to_owned();
        Self { station: Station::new(config, "n1".to_owned(), sampler), counter, _procfs: procfs }
    }

    fn draw(&self, joules: u64) {
        *self.counter.lock().unwrap() += joules * 1_000_000;
    }

    fn joules(&self, job_id: u32) -> u64 {
        self.station.jobs()[&job_id].energy.total().cpu.as_u64() / 1_000_000
    }
}

fn facts(job_id: u32, alloc_cpus: u32) -> JobFacts {
    JobFacts {
        job_id,
        uid: 1000,
        alloc_cpus: Some(alloc_cpus),
        option: Some("epochs:2".to_owned()),
        ..JobFacts::default()
    }
}

#[test]
fn a_job_is_charged_from_its_start_to_its_end_and_no_longer() {
    let mut bench = Bench::new();
    bench.draw(100);
    bench.station.job_start(facts(1, 2));
    assert_eq!(bench.joules(1), 0);
    bench.draw(40);
    bench.station.job_start(facts(2, 1));
    bench.draw(40);
    bench.station.job_end(1, Some(0), true);
    // Half of 80 J; the second job came after the first 40 J and has a quarter of the others.
    assert_eq!(bench.station.ended()[0].job.energy.total().cpu.as_u64(), 40_000_000);
    assert_eq!(bench.joules(2), 10);
    bench.draw(40);
    bench.station.sample();
    assert_eq!(bench.joules(2), 20);
    assert_eq!(bench.station.ended()[0].job.energy.total().cpu.as_u64(), 40_000_000);
}

#[test]
fn a_job_shorter_than_one_interval_has_what_was_drawn_in_its_life() {
    let mut bench = Bench::new();
    bench.station.job_start(JobFacts { option: Some("update_interval:10".into()), ..facts(1, 4) });
    bench.draw(30);
    // It comes and goes between two samples of its neighbour.
    bench.station.job_start(facts(2, 4));
    bench.draw(8);
    bench.station.job_end(2, Some(0), true);
    bench.draw(20);
    bench.station.job_end(1, Some(0), true);
    let joules =
        |index: usize| bench.station.ended()[index].job.energy.total().cpu.as_u64() / 1_000_000;
    // Both have all CPUs, so of the 8 J each has half.
    assert_eq!((joules(0), joules(1)), (4, 54));
}

#[test]
fn hooks_that_know_more_of_a_job_do_not_start_it_again() {
    let mut bench = Bench::new();
    let mut prolog = facts(1, 4);
    prolog.alloc_cpus = None;
    prolog.cpus_per_node = Some("2,4(x2)".to_owned());
    prolog.nodelist = Some("n[0-2]".to_owned());
    bench.station.job_start(prolog);
    bench.draw(10);
    let step = StepFacts { name: "batch".to_owned(), stepd_pid: 1, ..StepFacts::default() };
    let known = JobFacts { job_name: Some("train".to_owned()), ..facts(1, 1) };
    bench.station.step_start(known, &step);
    let job = &bench.station.jobs()[&1];
    assert_eq!(job.facts.alloc_cpus, Some(4), "by the position of n1 in the list");
    assert_eq!(job.facts.n_nodes, Some(3));
    assert_eq!(job.facts.job_name.as_deref(), Some("train"));
    assert!(!job.is_first_node);
    assert_eq!(bench.joules(1), 10);
}

#[test]
fn a_later_run_of_a_job_closes_the_run_whose_end_was_not_told() {
    let mut bench = Bench::new();
    let step = StepFacts { name: "batch".to_owned(), stepd_pid: 1, ..StepFacts::default() };
    bench.station.step_start(JobFacts { restart: Some(0), ..facts(1, 4) }, &step);
    bench.station.step_start(JobFacts { restart: Some(1), ..facts(1, 4) }, &step);
    assert_eq!(bench.station.ended().len(), 1);
    assert!(!bench.station.ended()[0].was_told);
    assert_eq!(bench.station.jobs()[&1].restart, 1);
    // A step of Slurm 22.05 knows no count: the run after one that ended is the next.
    bench.station.job_end(1, None, true);
    bench.station.step_start(facts(1, 4), &step);
    assert_eq!(bench.station.jobs()[&1].restart, 2);
}

#[test]
fn each_step_is_an_epoch_where_the_job_says_so() {
    let mut bench = Bench::new();
    let mut job = facts(1, 4);
    job.option = Some("epochs:2,epoch_by:step".to_owned());
    let step =
        |name: &str| StepFacts { name: name.to_owned(), stepd_pid: 1, ..StepFacts::default() };
    bench.station.step_start(job.clone(), &step("batch"));
    for name in ["0", "1"] {
        bench.station.step_start(job.clone(), &step(name));
        bench.draw(50);
        bench.station.step_end(1, name);
    }
    let energies: Vec<u64> =
        bench.station.jobs()[&1].epochs().iter().map(|e| e.energy.cpu.as_u64()).collect();
    assert_eq!(energies, [50_000_000, 50_000_000]);
}

#[test]
fn a_jobs_logs_are_wanted_once_by_their_names() {
    let mut bench = Bench::new();
    let mut job = facts(7, 4);
    job.option = Some("log_dir:logs/%x,log_file_prefix:run%j".to_owned());
    job.job_name = Some("a/b".to_owned());
    job.work_dir = Some("/home/ann".into());
    bench.station.job_start(job);
    let wanted = bench.station.wanted_logs(7).unwrap();
    assert_eq!(wanted.dir, std::path::Path::new("/home/ann/logs/a_b"));
    assert_eq!(wanted.names.len(), 4);
    assert!(
        wanted.names[0].starts_with("run7_7.0_") && wanted.names[0].ends_with("_carbontracker.log")
    );
    assert_eq!(bench.station.wanted_logs(7).unwrap(), wanted, "the names do not change");
    bench.station.job_start(JobFacts { option: Some("off".to_owned()), ..facts(8, 1) });
    assert!(bench.station.wanted_logs(8).is_none());
}

#[test]
fn a_program_declares_what_the_jobs_option_left_open() {
    let mut bench = Bench::new();
    let option = Some("epochs:7".to_owned());
    bench.station.job_start(JobFacts { option, ..facts(1, 4) });
    bench.station.declare(1, "epochs:100,epochs_before_pred:2,monitor_epochs:-1").unwrap();
    let settings = &bench.station.jobs()[&1].settings;
    assert_eq!((settings.epochs, settings.epochs_before_pred), (Some(7), 2));
    for (text, part) in [
        ("log_dir:/x", "log_dir is not a program's to declare"),
        ("epochs:-1", "epochs is \"-1\""),
        ("off", "expected KEY:VALUE"),
    ] {
        let message = bench.station.declare(1, text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn a_step_whose_slurmstepd_is_gone_keeps_no_other_from_being_an_epoch() {
    let mut bench = Bench::new();
    let mut job = facts(1, 4);
    job.option = Some("epochs:2,epoch_by:step".to_owned());
    let step = |name: &str, stepd_pid: u32| StepFacts {
        name: name.to_owned(),
        stepd_pid,
        ..StepFacts::default()
    };
    // No process has this pid.
    bench.station.step_start(job.clone(), &step("0", u32::MAX));
    bench.draw(70);
    bench.station.step_start(job, &step("1", u32::MAX - 1));
    bench.draw(30);
    bench.station.step_end(1, "1");
    let job = &bench.station.jobs()[&1];
    assert_eq!(
        job.epochs().iter().map(|e| e.energy.cpu.as_u64()).collect::<Vec<_>>(),
        [30_000_000]
    );
    assert!(job.warnings.iter().any(|w| w.contains("the end of step 0 was not told")));
}

#[test]
fn a_commands_own_station_takes_its_options() {
    let mut bench = Bench::new();
    let mut set = OptionSet::default();
    set.set("epochs", "9").unwrap();
    bench.station.start_local(facts(3, 4), &set);
    assert_eq!(bench.station.jobs()[&3].settings.epochs, Some(9));
    assert!(bench.station.jobs()[&3].tracked);
}

#[test]
fn a_meters_outage_is_said_once_to_each_job_of_its_time() {
    let mut bench = Bench::new();
    for job_id in [1, 2] {
        bench.station.job_start(facts(job_id, 1));
    }
    let before = std::mem::replace(&mut *bench.counter.lock().unwrap(), u64::MAX);
    let said = |warnings: &BTreeSet<String>| {
        let of_it = |w: &&String| w.starts_with("cpu:0: energy counter energy_uj vanished");
        let kind = |w: &String| {
            let kinds = ["not included since", "is included"];
            kinds.into_iter().find(|k| w.contains(k)).unwrap_or("?")
        };
        warnings.iter().filter(of_it).map(kind).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        bench.station.sample();
    }
    // A job that ends meanwhile has it with an open end.
    bench.station.job_end(1, Some(0), true);
    assert_eq!(said(&bench.station.ended()[0].job.warnings), ["not included since"]);
    *bench.counter.lock().unwrap() = before;
    bench.draw(40);
    bench.station.job_end(2, Some(0), true);
    let ended = &bench.station.ended()[1].job;
    assert_eq!(said(&ended.warnings), ["is included"]);
    // Job 1 left before the energy was known; of 40 J a quarter of the CPUs.
    assert_eq!(ended.energy.total().cpu.as_u64(), 10_000_000);
}
