//! A station whose GPUs, processes and partitions a test sets.

use std::fs;
use std::sync::{Arc, Mutex};

use ct_core::config::Config;
use ct_core::option::OptionSet;
use ct_core::protocol::StepFacts;
use ct_core::sampler::Sampler;
use ct_core::source::{Device, ReadError, Source};

use super::*;

/// Counters in millijoules, processes and partitions, which a test sets.
#[derive(Default)]
struct Meters {
    counters: [u64; 3],
    processes: Vec<GpuProcess>,
    partitions: Vec<Partition>,
    n_asked: u32,
}

struct Gpus3(Arc<Mutex<Meters>>, Vec<Device>);

impl Source for Gpus3 {
    fn devices(&self) -> &[Device] {
        &self.1
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        self.0.lock().unwrap().counters.map(Ok).into()
    }
    fn partitions(&mut self) -> Vec<Partition> {
        let mut meters = self.0.lock().unwrap();
        meters.n_asked += 1;
        meters.partitions.clone()
    }
    fn processes(&mut self) -> Vec<GpuProcess> {
        self.0.lock().unwrap().processes.clone()
    }
}

struct Bench {
    station: Station,
    meters: Arc<Mutex<Meters>>,
    root: tempfile::TempDir,
}

impl Bench {
    /// GPUs `GPU-0` to `GPU-2` with the files 2, 0, 1; a tree for /proc and the cgroups.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("stat"), "cpu 0 0 0 0 0 0 0 0\ncpu0 0\n").unwrap();
        fs::write(root.path().join("devices"), "Character devices:\n195 nvidia\n").unwrap();
        let gpu = |(index, minor): (u32, u32)| Device {
            minor: Some(minor),
            index: Some(index),
            unit_uj: 1000,
            ..Device::new(Component::Gpu, "A", &format!("GPU-{index}"), "nvml-energy")
        };
        let devices = [(0, 2), (1, 0), (2, 1)].map(gpu).to_vec();
        let meters = Arc::new(Mutex::new(Meters::default()));
        let source = Box::new(Gpus3(Arc::clone(&meters), devices));
        let sampler = Sampler::new(vec![source], root.path());
        let mut config = Config::default();
        config.path.procfs = root.path().to_owned();
        config.path.cgroupfs = root.path().join("cgroup");
        let mut station = Station::new(config, "n1".to_owned(), sampler);
        let list = [0, 1, 2].map(|minor| vec![DeviceFile::Nvidia(minor)]).to_vec();
        station.number_gpus_with(Box::new(move |_| list.clone()));
        Self { station, meters, root }
    }

    fn draw(&mut self, joules: u64) {
        for counter in &mut self.meters.lock().unwrap().counters {
            *counter += joules * 1000;
        }
        self.station.sample();
    }

    fn step(&mut self, facts: JobFacts, name: &str) {
        let id = facts.job_id;
        let cgroup = format!("4:freezer:/slurm/job_{id}/step_{name}\n");
        let step = StepFacts { name: name.to_owned(), stepd_pid: 1, cgroup };
        self.station.step_start(facts, &step);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join("cgroup").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run_on(&self, processes: &[(u32, &str, Option<&str>)]) {
        let process = |(pid, id, partition): &(u32, &str, Option<&str>)| GpuProcess {
            pid: *pid,
            device_id: (*id).to_owned(),
            partition: partition.map(str::to_owned),
        };
        self.meters.lock().unwrap().processes = processes.iter().map(process).collect();
    }

    fn joules(&self, job_id: u32) -> u64 {
        self.station.jobs()[&job_id].energy.total().gpu.as_u64() / 1_000_000
    }

    fn held(&self, job_id: u32) -> Vec<(&str, f64)> {
        let gpus = self.station.jobs()[&job_id].all_gpus();
        gpus.map(|g| (g.uuid.as_str(), g.share)).collect()
    }

    fn warnings(&self, job_id: u32) -> usize {
        let warnings = &self.station.jobs()[&job_id].warnings;
        warnings.iter().filter(|w| w.starts_with(WARNING)).count()
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn facts(job_id: u32) -> JobFacts {
    JobFacts { job_id, uid: 1000, alloc_cpus: Some(1), ..JobFacts::default() }
}

#[test]
fn gpus_of_steps_are_the_jobs_together_where_the_job_has_no_list() {
    let mut bench = Bench::new();
    bench.step(JobFacts { step_gpus: some("2"), ..facts(1) }, "0");
    assert_eq!(bench.held(1), [("GPU-0", 1.0)]);
    bench.step(JobFacts { step_gpus: some("0, 2"), ..facts(1) }, "1");
    assert_eq!(bench.held(1), [("GPU-0", 1.0), ("GPU-1", 1.0)]);
    let asked = bench.meters.lock().unwrap().n_asked;
    bench.step(JobFacts { step_gpus: some("0"), ..facts(1) }, "2");
    bench.draw(10);
    assert_eq!(bench.meters.lock().unwrap().n_asked, asked, "nothing new, nothing asked");
    assert_eq!(bench.joules(1), 20);
    // A step has no more than its job.
    bench.station.job_start(JobFacts { job_gpus: some("1"), ..facts(2) });
    bench.step(JobFacts { step_gpus: some("0"), ..facts(2) }, "0");
    assert_eq!(bench.held(2), [("GPU-2", 1.0)]);
}

#[test]
fn the_first_steps_gpus_were_the_jobs_from_its_start() {
    let mut bench = Bench::new();
    // Slurm knows only of the file 0, GPU-1.
    bench.station.number_gpus_with(Box::new(|_| vec![vec![DeviceFile::Nvidia(0)]]));
    bench.station.job_start(facts(1));
    bench.meters.lock().unwrap().counters = [7000; 3];
    bench.step(JobFacts { cuda_visible_devices: some("GPU-0"), ..facts(1) }, "batch");
    assert_eq!(bench.joules(1), 7);
    // Whatever a later one names is from then on.
    bench.meters.lock().unwrap().counters = [9000; 3];
    bench.step(JobFacts { step_gpus: some("0"), ..facts(1) }, "0");
    assert_eq!((bench.joules(1), bench.held(1)), (9, vec![("GPU-1", 1.0)]));
}

#[test]
fn a_cgroup_that_says_what_it_allows_has_the_last_word() {
    let mut bench = Bench::new();
    bench.step(JobFacts { job_gpus: some("0"), ..facts(1) }, "batch");
    bench.draw(10);
    assert_eq!((bench.held(1), bench.warnings(1)), (vec![("GPU-1", 1.0)], 0));
    bench.write("devices/slurm/job_1/devices.list", "a *:* rwm\n");
    bench.draw(10);
    assert_eq!(bench.held(1), [("GPU-1", 1.0)]);
    bench.write("devices/slurm/job_1/devices.list", "c 195:2 rwm\nc 195:255 rw\n");
    bench.draw(10);
    assert_eq!((bench.held(1), bench.warnings(1)), (vec![("GPU-0", 1.0)], 1));
    bench.write("devices/slurm/job_1/devices.list", "c 195:0 rwm\n");
    bench.draw(10);
    assert_eq!((bench.held(1), bench.warnings(1)), (vec![("GPU-1", 1.0)], 0));
    assert_eq!(bench.joules(1), 40);
}

#[test]
fn a_job_by_processes_pays_for_what_it_holds_and_for_what_its_processes_use() {
    let mut bench = Bench::new();
    let by_pid = |job_id| JobFacts { option: some("devices_by_pid:true"), ..facts(job_id) };
    // The prolog knows what Slurm gave, the step what the user wants.
    bench.station.job_start(JobFacts { job_gpus: some("0"), ..facts(1) });
    assert_eq!(bench.held(1), [("GPU-1", 1.0)]);
    bench.step(by_pid(1), "batch");
    bench.step(by_pid(2), "batch");
    bench.write("freezer/slurm/job_1/step_batch/task_0/cgroup.procs", "11\n12\n");
    bench.write("freezer/slurm/job_2/step_batch/task_0/cgroup.procs", "21\n");
    // A GPU that it holds and does not use is its own all the same: nobody else can have it.
    bench.draw(10);
    assert_eq!((bench.joules(1), bench.held(1)), (10, vec![("GPU-1", 1.0)]));
    bench.run_on(&[(12, "GPU-0", None), (99, "GPU-2", None)]);
    bench.draw(10);
    assert_eq!((bench.joules(1), bench.joules(2)), (30, 0));
    // Two jobs on one GPU that neither holds have half of it each.
    bench.run_on(&[(12, "GPU-0", None), (21, "GPU-0", None)]);
    bench.draw(10);
    assert_eq!((bench.joules(1), bench.joules(2)), (45, 5));
    // Gone at the end of an interval, there at its start.
    bench.run_on(&[(21, "GPU-0", None), (12, "GPU-1", None)]);
    bench.draw(10);
    assert_eq!((bench.joules(1), bench.joules(2)), (60, 10));
    bench.draw(10);
    assert_eq!((bench.joules(1), bench.joules(2)), (70, 20));
    // What it used once it has used: the record names it.
    assert_eq!(bench.held(1), [("GPU-1", 1.0), ("GPU-0", 1.0)]);
    assert!(bench.station.next_sample_in() <= LOOK_AT_PROCESSES);
}

#[test]
fn a_process_in_an_instance_holds_its_slices_and_not_the_gpu() {
    let mut bench = Bench::new();
    let instance = |uuid: &str, slices: f64| Partition {
        uuid: uuid.to_owned(),
        device_id: "GPU-0".to_owned(),
        share: slices / 7.0,
    };
    bench.meters.lock().unwrap().partitions = vec![instance("MIG-a", 4.0), instance("MIG-b", 2.0)];
    bench.station.config.attribution.idle_w.gpu = Some(1e6);
    let mut set = OptionSet::default();
    set.set("devices_by_pid", "true").unwrap();
    bench.station.start_local(facts(1), &set);
    // No cgroup: the processes that descend from its own, which is this one.
    let own = std::process::id();
    bench.station.job_mut(1).unwrap().stepd_pids.insert(own);
    bench.run_on(&[(own, "GPU-0", Some("MIG-a")), (own, "GPU-0", Some("MIG-b"))]);
    bench.draw(70);
    // All of it idle: 6 of 7 slices.
    assert_eq!((bench.joules(1), bench.held(1)), (60, vec![("GPU-0", 6.0 / 7.0)]));
}
