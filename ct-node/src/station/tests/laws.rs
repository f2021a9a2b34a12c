//! Whole lives of a node, at random: every hour's jobs, system and nobody sum to its meters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ct_core::config::Policy;
use ct_core::counter::difference;
use ct_core::energy::ByComponent;
use ct_core::record::NodeRecord;
use ct_core::sample::{CpuBusy, DeviceEnergy, Interval, Moment};
use ct_core::slurm::CgroupPaths;
use ct_core::units::Microjoules;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

/// Counters wrap often.
const MODULUS: u64 = 40_000_000;

const KINDS: [(Component, Option<u32>); 4] = [
    (Component::Cpu, Some(0)),
    (Component::Cpu, Some(1)),
    (Component::Dram, Some(0)),
    (Component::Gpu, None),
];

/// What happens at the end of an interval.
#[derive(Clone, Debug)]
enum Event {
    Start { cpus: u32, has_cgroup: bool, has_gpu: bool },
    End { which: usize },
    Restart,
    Nothing,
}

#[derive(Clone, Debug)]
struct Step {
    millis: u64,
    drawn_uj: [u64; 4],
    silent: Option<usize>,
    used_us: u64,
    event: Event,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..4_u32, any::<bool>(), any::<bool>())
            .prop_map(|(cpus, has_cgroup, has_gpu)| Event::Start { cpus, has_cgroup, has_gpu }),
        3 => (0..4_usize).prop_map(|which| Event::End { which }),
        1 => Just(Event::Restart),
        2 => Just(Event::Nothing),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    // From a fraction of a second to hours, so that some intervals cross several.
    let millis = prop_oneof![3 => 0..2_000_u64, 2 => 0..2_000_000_u64, 1 => 0..12_000_000_u64];
    let drawn = [0..MODULUS, 0..MODULUS, 0..MODULUS, 0..MODULUS];
    let silent = prop_oneof![4 => Just(None), 1 => (0..4_usize).prop_map(Some)];
    (millis, drawn, silent, 0..3_000_000_u64, any_event()).prop_map(
        |(millis, drawn_uj, silent, used_us, event)| Step {
            millis,
            drawn_uj,
            silent,
            used_us,
            event,
        },
    )
}

/// A node whose clock and counters a test turns.
struct Life {
    station: Station,
    root: PathBuf,
    at: Moment,
    /// Raw counters; what was read of each last, and when.
    counters: [u64; 4],
    read: [(u64, Moment); 4],
    /// What the counters counted until each was last read.
    metered: ByComponent<Microjoules>,
    next_id: u32,
    lines: Vec<NodeRecord>,
    ended: Vec<Job>,
    used_us: u64,
}

impl Life {
    fn new(root: &Path, sysfs: &Path, policy: Policy, idle_w: Option<f64>) -> Self {
        let mut config = Config::default();
        config.path.procfs = root.to_owned();
        config.path.sysfs = sysfs.to_owned();
        config.path.cgroupfs = root.to_owned();
        config.attribution.policy = policy;
        config.attribution.idle_w.cpu = idle_w;
        let device = |(n, (component, package)): (usize, (Component, Option<u32>))| {
            let id = format!("device-{n}");
            let device = Device::new(component, &id, &id, "rapl");
            Device { modulus: Some(MODULUS), package, ..device }
        };
        let devices = KINDS.into_iter().enumerate().map(device).collect();
        let sampler = Sampler::new(vec![Box::new(Silent(devices))], &config.path.procfs);
        let at = Moment {
            since_boot: Duration::from_secs(1_000_000),
            wall: "2026-01-31T21:59:58.750Z".parse().unwrap(),
        };
        Self {
            station: Station::new(config, "n1".to_owned(), sampler),
            root: root.to_owned(),
            at,
            counters: [0; 4],
            read: [(0, at); 4],
            metered: ByComponent::default(),
            next_id: 1,
            lines: Vec::new(),
            ended: Vec::new(),
            used_us: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        let start = self.at;
        let duration = Duration::from_millis(step.millis);
        self.at.since_boot += duration;
        self.at.wall += duration;
        self.used_us += step.used_us;
        for id in self.station.jobs.keys() {
            let path = self.root.join(format!("job_{id}/cpu.stat"));
            if path.exists() {
                let part = u64::from(*id % 3);
                fs::write(path, format!("usage_usec {}\n", self.used_us * part / 3)).unwrap();
            }
        }
        let mut devices = Vec::new();
        for index in 0..4 {
            self.counters[index] = (self.counters[index] + step.drawn_uj[index]) % MODULUS;
            devices.push(self.read_device(index, step.silent == Some(index)));
        }
        // Two CPUs, of which the first is busy twice as long as the second.
        let by_cpu = [2, 1].map(|n| Duration::from_micros(step.used_us * n / 3)).to_vec();
        let busy = Some(CpuBusy { all: Duration::from_micros(step.used_us), by_cpu });
        let interval = Interval { start, end: self.at, devices, busy };
        let times = self.station.look_at_activity();
        self.station.charge(&interval, times);
        self.lines.append(self.station.lines_mut());
    }

    fn read_device(&mut self, index: usize, is_silent: bool) -> DeviceEnergy {
        let (before, since) = self.read[index];
        let span = self.at.since(&since);
        if is_silent {
            return DeviceEnergy { span, ..DeviceEnergy::default() };
        }
        let energy =
            Microjoules::new(difference(before, self.counters[index], Some(MODULUS)).unwrap());
        self.read[index] = (self.counters[index], self.at);
        *self.metered.get_mut(KINDS[index].0) += energy;
        DeviceEnergy { energy, answered: true, span }
    }

    fn event(&mut self, event: &Event) {
        match *event {
            Event::Start { cpus, has_cgroup, has_gpu } => self.start(cpus, has_cgroup, has_gpu),
            Event::End { which } => self.end(which),
            Event::Restart => {
                // Books and jobs are written down and taken up by another life.
                let json = serde_json::to_string(self.station.books()).unwrap();
                self.station.restore_books(serde_json::from_str(&json).unwrap());
                let json = serde_json::to_string(&self.station.jobs).unwrap();
                self.station.jobs = serde_json::from_str(&json).unwrap();
                self.station.is_resumed = true;
            }
            Event::Nothing => {}
        }
    }

    fn start(&mut self, cpus: u32, has_cgroup: bool, has_gpu: bool) {
        let id = self.next_id;
        self.next_id += 1;
        let mut job = Job::new(facts(id, cpus), false, Default::default(), self.at);
        if has_cgroup {
            job.cgroup = Some(CgroupPaths::V2(format!("job_{id}").into()));
            fs::create_dir_all(self.root.join(format!("job_{id}"))).unwrap();
            fs::write(self.root.join(format!("job_{id}/cpu.stat")), "usage_usec 0\n").unwrap();
            let cpus = ["0\n", "1\n", "0-1\n"][cpus as usize % 3];
            let cpuset = self.root.join(format!("job_{id}/cpuset.cpus.effective"));
            fs::write(cpuset, cpus).unwrap();
        }
        if has_gpu {
            let uuid = "device-3".to_owned();
            job.gpus.push(ct_core::record::GpuShare { name: uuid.clone(), uuid, share: 1.0 });
        }
        self.station.jobs.insert(id, job);
    }

    fn end(&mut self, which: usize) {
        let Some(id) = self.station.jobs.keys().nth(which).copied() else { return };
        self.ended.extend(self.station.jobs.remove(&id));
        if self.station.jobs.is_empty() {
            self.station.close_line();
            self.lines.append(self.station.lines_mut());
        }
    }

    fn finish(&mut self) {
        self.station.close_line();
        self.lines.append(self.station.lines_mut());
        self.ended.extend(std::mem::take(&mut self.station.jobs).into_values());
    }
}

type Hour = DateTime<Utc>;

fn hour_of(at: Hour) -> Hour {
    at.duration_trunc(TimeDelta::hours(1)).unwrap()
}

/// Energy of all jobs by hour.
type OfAll = BTreeMap<Hour, ByComponent<Microjoules>>;
/// Microjoules of each job by hour.
type OfEach = BTreeMap<(Hour, u32), u64>;

fn by_hour(jobs: &[Job]) -> (OfAll, OfEach) {
    let (mut all, mut each) = (BTreeMap::new(), BTreeMap::new());
    for job in jobs {
        for hour in job.energy.by_hour() {
            *all.entry(hour.0).or_insert_with(ByComponent::default) += hour.energy();
            *each.entry((hour.0, job.facts.job_id)).or_insert(0) += hour.energy().total().as_u64();
        }
    }
    (all, each)
}

fn check(life: &Life) {
    let (mut all, mut each) = (BTreeMap::new(), BTreeMap::new());
    let mut metered = ByComponent::default();
    for line in &life.lines {
        let parts = line.jobs_j + line.system_j + line.unallocated_j;
        assert_eq!(parts, line.meter_j, "{line:?}");
        metered += line.meter_j;
        let hour = hour_of(line.start);
        assert!(line.start <= line.end && line.end <= hour + TimeDelta::hours(1), "{line:?}");
        *all.entry(hour).or_insert_with(ByComponent::default) += line.jobs_j;
        let named: Microjoules = line.jobs.iter().map(|c| c.2).sum();
        assert_eq!(named, line.jobs_j.total(), "{line:?}");
        for charge in &line.jobs {
            *each.entry((hour, charge.0)).or_insert(0) += charge.2.as_u64();
        }
    }
    assert!(life.lines.windows(2).all(|w| w[0].end <= w[1].start), "{:?}", life.lines);
    assert_eq!(metered, life.metered, "what the counters counted is what the lines say");
    let (mut all_of_jobs, mut each_of_jobs) = by_hour(&life.ended);
    all.retain(|_, e| e.total() > Microjoules::ZERO);
    all_of_jobs.retain(|_, e| e.total() > Microjoules::ZERO);
    each.retain(|_, e| *e > 0);
    each_of_jobs.retain(|_, e| *e > 0);
    assert_eq!(all, all_of_jobs);
    assert_eq!(each, each_of_jobs);
}

/// `/proc/stat` of two CPUs that do nothing by themselves.
const STAT: &str = "cpu  0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\n";

#[test]
fn every_hour_of_every_life_sums_to_the_meters() {
    // Control groups and /proc/stat, in memory where that is possible; one life after another.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let (root, sysfs) = (root.unwrap(), sysfs());
    let policies = prop_oneof![Just(Policy::Hybrid), Just(Policy::Allocated), Just(Policy::Usage)];
    let life = (vec(any_step(), 1..8), policies, proptest::option::of(0.0..20.0_f64));
    let config =
        ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&life, |(steps, policy, idle_w)| {
        fs::write(root.path().join("stat"), STAT).unwrap();
        let mut life = Life::new(root.path(), sysfs.path(), policy, idle_w);
        for step in &steps {
            life.run(step);
            life.event(&step.event);
        }
        life.finish();
        check(&life);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
}

/// The topology of a machine with two packages.
fn sysfs() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for cpu in ["0", "1"] {
        let topology = tree.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
        fs::create_dir_all(&topology).unwrap();
        fs::write(topology.join("physical_package_id"), cpu).unwrap();
        fs::write(topology.join("core_id"), cpu).unwrap();
    }
    tree
}
