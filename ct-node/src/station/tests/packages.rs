//! Shared nodes: two packages, cpusets, jobs that come and go, idle power.

use ct_core::record::NodeRecord;
use ct_core::sample::{CpuBusy, DeviceEnergy, Interval};
use ct_core::slurm::CgroupPaths;
use ct_core::units::Microjoules;

use super::*;

/// Four CPUs on two packages, the meters of which a test sets, and control groups below a tree.
struct Machine {
    station: Station,
    dir: tempfile::TempDir,
    busy_ms: [u64; 4],
}

fn package(number: u32) -> Device {
    let id = format!("rapl:cpu-{number}");
    Device { package: Some(number), ..Device::new(Component::Cpu, "cpu", &id, "rapl") }
}

impl Machine {
    fn new(idle_w: Option<f64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for cpu in 0..4 {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/topology");
            let topology = dir.path().join(path);
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("physical_package_id"), (cpu / 2).to_string()).unwrap();
            fs::write(topology.join("core_id"), cpu.to_string()).unwrap();
        }
        fs::create_dir_all(dir.path().join("proc")).unwrap();
        let cpus: String = (0..4).map(|cpu| format!("cpu{cpu} 0 0 0 0 0 0 0 0\n")).collect();
        fs::write(dir.path().join("proc/stat"), format!("cpu  0 0 0 0 0 0 0 0\n{cpus}")).unwrap();
        let mut config = Config::default();
        config.path.procfs = dir.path().join("proc");
        config.path.sysfs = dir.path().join("sys");
        config.path.cgroupfs = dir.path().join("cgroup");
        config.attribution.idle_w.cpu = idle_w;
        let gpu = Device::new(Component::Gpu, "gpu", "GPU-1", "nvml-energy");
        let source = Box::new(Silent(vec![package(0), package(1), gpu]));
        let sampler = Sampler::new(vec![source], &config.path.procfs);
        let station = Station::new(config, "n1".to_owned(), sampler);
        Self { station, dir, busy_ms: [0; 4] }
    }

    /// A job of v1 with this cpuset, and with or without a cpuacct group.
    fn job(&mut self, id: u32, alloc_cpus: u32, cpuset: Option<&str>, has_cpuacct: bool) {
        self.station.job_start(facts(id, alloc_cpus));
        let path = format!("job_{id}");
        let job = self.station.job_mut(id).unwrap();
        if cpuset.is_some() || has_cpuacct {
            job.cgroup = Some(CgroupPaths::V1(path.clone().into()));
        }
        if let Some(cpus) = cpuset {
            self.write(&format!("cpuset/{path}/cpuset.cpus"), cpus);
        }
        if has_cpuacct {
            self.used(id, [0; 4]);
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join("cgroup").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Sets what a job has used of each CPU so far, in milliseconds.
    fn used(&self, id: u32, ms: [u64; 4]) {
        let ns = ms.map(|ms| (ms * 1_000_000).to_string());
        self.write(&format!("cpuacct/job_{id}/cpuacct.usage_percpu"), &ns.join(" "));
        let sum: u64 = ms.iter().sum();
        self.write(&format!("cpuacct/job_{id}/cpuacct.usage"), &(sum * 1_000_000).to_string());
    }

    /// Sets how long each CPU is busy in the next interval, in milliseconds.
    fn busy(&mut self, ms: [u64; 4]) {
        self.busy_ms = ms;
    }

    /// An interval of so many seconds in which the devices drew so many joules.
    fn interval(&mut self, seconds: u64, joules: [u64; 3]) {
        let start = self.station.sampler.last_at().unwrap();
        let mut end = start;
        end.since_boot += Duration::from_secs(seconds);
        let device = |joules: u64| DeviceEnergy {
            energy: Microjoules::new(joules * 1_000_000),
            answered: true,
            span: Duration::from_secs(seconds),
        };
        let devices = joules.map(device).to_vec();
        let by_cpu = std::mem::take(&mut self.busy_ms).map(Duration::from_millis).to_vec();
        let busy = Some(CpuBusy { all: by_cpu.iter().sum(), by_cpu });
        let times = self.station.look_at_activity();
        self.station.charge(&Interval { start, end, devices, busy }, times);
    }

    fn cpu_j(&self, id: u32) -> f64 {
        self.station.jobs()[&id].energy.total().cpu.to_joules().as_joules()
    }

    fn line(&mut self) -> NodeRecord {
        self.station.close_line();
        self.station.lines_mut().pop().unwrap()
    }
}

#[test]
fn cpus_that_slurmstepd_has_not_bound_yet_are_looked_at_again_at_the_next_sample() {
    let mut machine = Machine::new(Some(10.0));
    machine.job(1, 2, None, false);
    machine.station.job_mut(1).unwrap().cgroup = Some(CgroupPaths::V2("job_1".into()));
    // A control group that is just made has the CPUs of the one around it: all four.
    machine.write("job_1/cpuset.cpus.effective", "0-3");
    machine.interval(1, [10, 10, 0]);
    // By its two CPUs of four it has half of the idle energy; idle is all there is.
    assert_eq!(machine.cpu_j(1), 10.0);
    machine.write("job_1/cpuset.cpus.effective", "0-1");
    machine.interval(1, [10, 0, 0]);
    // From the next sample on it is bound to package 0, whose 10 J are all its own.
    assert_eq!(machine.cpu_j(1), 20.0);
    assert_eq!(machine.station.jobs()[&1].cpuset_share, Some(0.5));
    // What it was allocated it is believed to keep for a while: no look at each sample.
    machine.write("job_1/cpuset.cpus.effective", "0");
    machine.interval(1, [10, 10, 0]);
    assert_eq!(machine.station.jobs()[&1].cpuset_share, Some(0.5));
}

#[test]
fn a_job_bound_to_one_package_pays_for_that_one_only() {
    let mut machine = Machine::new(Some(10.0));
    machine.job(1, 2, Some("0-1"), true);
    machine.job(2, 2, Some("2-3"), true);
    machine.used(1, [1000, 1000, 0, 0]);
    machine.busy([1000, 1000, 0, 0]);
    machine.interval(1, [110, 10, 0]);
    assert_eq!((machine.cpu_j(1), machine.cpu_j(2)), (110.0, 10.0));
    let line = machine.line();
    assert_eq!(line.jobs_j + line.system_j + line.unallocated_j, line.meter_j);
    assert_eq!(line.jobs.len(), 2);
}

#[test]
fn time_of_a_job_over_both_packages_is_split_as_its_cgroup_tells() {
    let mut machine = Machine::new(Some(0.0));
    machine.job(1, 4, Some("0-3"), true);
    machine.used(1, [900, 0, 300, 0]);
    // The system has the rest of each package.
    machine.busy([1000, 0, 600, 0]);
    machine.interval(1, [100, 100, 0]);
    assert!((machine.cpu_j(1) - (90.0 + 50.0)).abs() < 0.01, "{}", machine.cpu_j(1));
}

#[test]
fn without_time_by_cpu_a_jobs_time_is_split_as_its_cpus_were_busy() {
    let mut machine = Machine::new(Some(0.0));
    machine.station.job_start(facts(1, 4));
    machine.station.job_mut(1).unwrap().cgroup = Some(CgroupPaths::V2("job_1".into()));
    machine.write("job_1/cpuset.cpus.effective", "1-2\n");
    machine.write("job_1/cpu.stat", "usage_usec 0\n");
    machine.interval(1, [0, 0, 0]);
    machine.write("job_1/cpu.stat", "usage_usec 800000\n");
    // CPU 1 was busy three times as long as CPU 2: 600 ms and 200 ms of the job's 800.
    machine.busy([0, 900, 300, 600]);
    machine.interval(1, [90, 90, 0]);
    assert!((machine.cpu_j(1) - (60.0 + 20.0)).abs() < 0.01, "{}", machine.cpu_j(1));
    assert_eq!(machine.station.jobs()[&1].activity.as_str(), "cgroup");
}

#[test]
fn without_cpu_time_of_its_own_a_jobs_cpus_speak_for_it() {
    let mut machine = Machine::new(Some(0.0));
    machine.job(1, 1, Some("0"), false);
    machine.job(2, 1, None, false);
    machine.interval(1, [0, 0, 0]);
    machine.busy([1000, 0, 0, 0]);
    machine.interval(1, [100, 0, 0]);
    // The second has no cgroup at all: a quarter by allocation, and the first what is left.
    assert_eq!((machine.cpu_j(1), machine.cpu_j(2)), (75.0, 25.0));
    let name = |id| machine.station.jobs()[&id].activity.as_str();
    assert_eq!((name(1), name(2)), ("cpuset", "allocation"));
}

#[test]
fn a_job_whose_cgroup_went_before_its_last_reading_is_charged_by_its_cpus() {
    let mut machine = Machine::new(Some(0.0));
    machine.job(1, 1, Some("0"), true);
    machine.job(2, 1, Some("1"), true);
    machine.interval(1, [0, 0, 0]);
    // The first ran all the time and is over; the second slept.
    machine.busy([1000, 0, 0, 0]);
    for controller in ["cpuset", "cpuacct"] {
        fs::remove_dir_all(machine.dir.path().join("cgroup").join(controller).join("job_1"))
            .unwrap();
    }
    machine.interval(1, [100, 0, 0]);
    assert_eq!((machine.cpu_j(1), machine.cpu_j(2)), (100.0, 0.0));
    assert_eq!(machine.station.jobs()[&1].activity.as_str(), "cgroup");
}

#[test]
fn a_cpu_given_to_two_jobs_speaks_for_half_of_each() {
    let mut machine = Machine::new(Some(0.0));
    machine.job(1, 2, Some("0-1"), false);
    machine.job(2, 2, Some("1-2"), false);
    machine.interval(1, [0, 0, 0]);
    machine.interval(1, [0, 0, 0]);
    machine.busy([600, 400, 200, 0]);
    // 800 and 400 ms: package 0 has 600 + 200 of the one and 200 of the other.
    machine.interval(1, [100, 60, 0]);
    assert_eq!((machine.cpu_j(1), machine.cpu_j(2)), (80.0, 20.0 + 60.0));
}

#[test]
fn threads_of_a_core_count_once() {
    let mut machine = Machine::new(Some(40.0));
    // Slurm counts two cores, Linux four CPUs: both are two threads of one core.
    for cpu in 0..4 {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id");
        fs::write(machine.dir.path().join(path), "0").unwrap();
    }
    machine.station.activities =
        Activities::of_node(machine.station.config(), machine.station.sampler());
    machine.job(1, 2, Some("0-3"), true);
    machine.interval(1, [40, 40, 0]);
    assert_eq!(machine.cpu_j(1), 80.0);
    assert_eq!(machine.station.jobs()[&1].cpu_share(4), 1.0);
    // One of two cores, bound to it.
    machine.station.job_end(1, None, true);
    machine.job(2, 1, Some("0-1"), true);
    machine.interval(1, [40, 40, 0]);
    assert_eq!(machine.cpu_j(2), 40.0);
    // A set of all CPUs where one core of two was given: cores are not constrained.
    machine.station.job_end(2, None, true);
    machine.job(3, 1, Some("0-3"), true);
    machine.interval(1, [40, 40, 0]);
    assert_eq!(machine.cpu_j(3), 20.0);
}

#[test]
fn jobs_on_the_same_cores_share_them() {
    let mut machine = Machine::new(Some(10.0));
    for id in 1..=3 {
        machine.job(id, 2, Some("0-1"), true);
    }
    machine.used(1, [600, 0, 0, 0]);
    machine.used(2, [300, 0, 0, 0]);
    machine.busy([900, 0, 0, 0]);
    machine.interval(1, [100, 10, 0]);
    let all: f64 = (1..=3).map(|id| machine.cpu_j(id)).sum();
    assert!((machine.cpu_j(3) - 10.0 / 3.0).abs() < 0.01, "idle only: {}", machine.cpu_j(3));
    assert!((machine.cpu_j(1) - 60.0 - 10.0 / 3.0).abs() < 0.01, "{}", machine.cpu_j(1));
    assert!((all - 100.0).abs() < 0.01, "{all}");
    let line = machine.line();
    assert_eq!(line.unallocated_j.cpu, Microjoules::new(10_000_000), "the other package");
}

#[test]
fn a_suspended_job_pays_for_what_it_holds_and_goes_on_after() {
    let mut machine = Machine::new(Some(10.0));
    machine.job(1, 2, Some("0-1"), true);
    machine.used(1, [1000, 0, 0, 0]);
    machine.busy([1000, 0, 0, 0]);
    machine.interval(1, [60, 10, 0]);
    assert_eq!(machine.cpu_j(1), 60.0);
    // Suspended: the system alone runs on its package.
    machine.busy([500, 0, 0, 0]);
    machine.interval(1, [30, 10, 0]);
    assert_eq!(machine.cpu_j(1), 70.0);
    machine.used(1, [2000, 0, 0, 0]);
    machine.busy([1000, 0, 0, 0]);
    machine.interval(1, [60, 10, 0]);
    assert_eq!(machine.cpu_j(1), 130.0);
}

#[test]
fn a_jobs_time_counts_whatever_its_steps_do() {
    let mut machine = Machine::new(Some(0.0));
    machine.job(1, 2, Some("0-1"), true);
    // Steps within steps come and go; the job's own group holds all they used.
    let step = |name: &str, cgroup: &str| StepFacts {
        name: name.to_owned(),
        stepd_pid: 1,
        cgroup: cgroup.to_owned(),
    };
    for (name, cgroup) in
        [("batch", "4:cpuacct:/job_1/step_batch\n"), ("0", "4:cpuacct:/job_1/step_0/task_0\n")]
    {
        machine.station.step_start(facts(1, 2), &step(name, cgroup));
    }
    machine.used(1, [1000, 0, 0, 0]);
    machine.busy([1000, 0, 0, 0]);
    machine.interval(1, [50, 0, 0]);
    machine.station.step_end(1, "0");
    machine.used(1, [1500, 0, 0, 0]);
    machine.busy([500, 0, 0, 0]);
    machine.interval(1, [25, 0, 0]);
    assert_eq!(machine.cpu_j(1), 75.0);
}

#[test]
fn idle_power_is_learned_while_nobody_holds_a_device_and_used_then() {
    let mut machine = Machine::new(None);
    let lacks = |machine: &Machine| {
        let problems = machine.station.context().problems;
        problems.iter().any(|p| p.starts_with("no idle baseline of cpu"))
    };
    for n in 0..9 {
        machine.interval(10, [200 + n, 300, 400]);
        assert!(lacks(&machine));
    }
    // Loaded intervals teach nothing of what is held, and the others go on.
    machine.job(1, 2, Some("0-1"), true);
    machine.station.job_mut(1).unwrap().gpus.push(ct_core::record::GpuShare {
        uuid: "GPU-1".to_owned(),
        name: "gpu".to_owned(),
        share: 1.0,
    });
    machine.used(1, [1, 0, 0, 0]);
    for _ in 0..20 {
        machine.interval(10, [3000, 300, 400]);
    }
    assert!(lacks(&machine), "package 0 was seen nine times only");
    machine.station.job_end(1, None, true);
    machine.interval(10, [290, 300, 400]);
    assert!(!lacks(&machine));
    let baseline = machine.line().baseline;
    let of = |id: &str| (baseline[id].watts, baseline[id].n_samples, baseline[id].source.clone());
    assert_eq!(of("rapl:cpu-0"), (20.0, 10, "learned".to_owned()));
    assert_eq!(of("rapl:cpu-1"), (30.0, 30, "learned".to_owned()));
    // A GPU that is held and stays at its learned power is unused.
    machine.job(2, 2, Some("0-1"), true);
    machine.station.job_mut(2).unwrap().gpus.push(ct_core::record::GpuShare {
        uuid: "GPU-1".to_owned(),
        name: "gpu".to_owned(),
        share: 1.0,
    });
    machine.interval(10, [200, 300, 410]);
    let context = machine.station.context();
    let record = machine.station.jobs()[&2].record(ct_core::record::EndReason::Completed, context);
    assert_eq!(record.gpu_unused_j, Microjoules::new(410_000_000));
    assert_eq!(record.idle_j.gpu, Microjoules::new(400_000_000));
}

#[test]
fn what_the_site_says_of_idle_power_comes_first() {
    let mut machine = Machine::new(Some(7.0));
    for _ in 0..20 {
        machine.interval(10, [200, 200, 100]);
    }
    let baseline = machine.line().baseline;
    assert_eq!((baseline["rapl:cpu-0"].watts, baseline["GPU-1"].watts), (7.0, 10.0));
    assert_eq!(baseline["rapl:cpu-0"].source, "configured");
}

#[test]
fn a_line_ends_when_the_node_is_idle_and_names_its_jobs() {
    let mut machine = Machine::new(Some(10.0));
    machine.job(1, 2, Some("0-1"), true);
    machine.job(2, 2, Some("2-3"), true);
    machine.interval(5, [50, 50, 0]);
    machine.station.job_end(1, None, true);
    assert!(machine.station.lines_mut().is_empty());
    machine.interval(5, [50, 50, 0]);
    machine.station.job_end(2, None, true);
    let line = machine.station.lines_mut().pop().unwrap();
    let charged: Vec<(u32, u64)> =
        line.jobs.iter().map(|c| (c.0, c.2.as_u64() / 1_000_000)).collect();
    assert_eq!(charged, [(1, 50), (2, 100)]);
    assert_eq!((line.kind.as_str(), line.node.as_str(), line.gap_s), ("node", "n1", 0.0));
    assert_eq!(line.jobs_j + line.system_j + line.unallocated_j, line.meter_j);
}
