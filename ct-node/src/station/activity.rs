//! What each job held and did since the last sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ct_core::attribution::{Holding, OnPackage};
use ct_core::config::Config;
use ct_core::job::{ActivitySource, Job};
use ct_core::sample::CpuBusy;
use ct_core::sampler::Sampler;
use ct_core::source::cgroup::{self, CpuReading, CpuTimeFile};
use ct_core::source::cpus::{CpuSet, Packages};
use ct_core::source::procfs::read_topology;
use ct_core::source::{Device, ReadError};

use super::Station;

/// CPU time by which the jobs may seem to be ahead of the node: some ticks on each of many CPUs.
const DEBT: Duration = Duration::from_secs(1);

/// Time between two looks at the CPUs that a job may use, once they are those it was allocated: a job
/// is resized seldom, and to look costs as much as the rest of its sample.
const LOOK_AT_CPUSET: Duration = Duration::from_secs(10);
/// How long they are looked at each time where they are others: slurmstepd makes the control group
/// first, with the CPUs of the one around it (v2), and where cores are not constrained they stay so.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// CPU time that was no job's.
///
/// `/proc/stat` counts in ticks of 10 ms and a cgroup in nanoseconds, so that over a short interval
/// the jobs may seem to have run longer than the node. What exceeds is carried over: the system's
/// time is the rise of the highest value that (node − jobs) has ever had.
#[derive(Clone, Copy, Debug, Default)]
struct SystemTime {
    node: Duration,
    jobs: Duration,
    highest: Duration,
}

impl SystemTime {
    fn advance(&mut self, node: Duration, jobs: Duration) -> Duration {
        self.node += node;
        self.jobs += jobs;
        // A debt beyond what ticks explain (time that was counted twice, or ticks that were never
        // counted) is forgiven: it would keep the system at nothing for as long.
        self.jobs = self.jobs.min((self.node + DEBT).saturating_sub(self.highest));
        let value = self.node.saturating_sub(self.jobs).max(self.highest);
        value - std::mem::replace(&mut self.highest, value)
    }
}

/// What the CPUs and the jobs on them did between the last two samples.
#[derive(Debug, Default)]
pub(super) struct Activities {
    /// Packages of the CPUs, where some meter counts a package by itself and there are several.
    packages: Packages,
    /// How many CPUs each of them has.
    n_cpus_on: Vec<usize>,
    n_threads: u32,
    /// Busy time of each CPU since the sample before; `None` where it is not known.
    busy: Option<Vec<Duration>>,
    system: SystemTime,
    by_package: Vec<SystemTime>,
    system_by_package: Vec<(u32, Duration)>,
    jobs: BTreeMap<u32, Activity>,
    /// How many jobs were given each CPU at the sample before.
    claims: Vec<u32>,
}

/// What is kept of a job's cgroup from one sample to the next.
#[derive(Debug, Default)]
struct Kept {
    /// The CPUs it may use, since when there are any, and when that was looked at.
    cpuset: Option<CpuSet>,
    found_at: Option<Instant>,
    looked_at: Option<Instant>,
    time: CpuTimeFile,
}

impl Kept {
    /// Slurm makes the cpuset with the first step, and changes it when a job is resized.
    fn look_at_cpuset(&mut self, job: &Job, node: &Activities, cgroupfs: &Path) {
        if !self.is_due(job, node) {
            return;
        }
        let now = job.cgroup.as_ref().and_then(|c| cgroup::read_cpuset(c, cgroupfs));
        self.looked_at = Some(Instant::now());
        self.cpuset = now.or(self.cpuset.take());
        if self.cpuset.is_some() {
            self.found_at.get_or_insert_with(Instant::now);
        }
    }

    fn is_due(&self, job: &Job, node: &Activities) -> bool {
        let is_older = |at: Option<Instant>, age| at.is_none_or(|at| at.elapsed() >= age);
        let Some(set) = &self.cpuset else { return true };
        let may_change =
            !node.is_as_many(set, job.facts.alloc_cpus) && !is_older(self.found_at, SETTLES_WITHIN);
        may_change || is_older(self.looked_at, LOOK_AT_CPUSET)
    }
}

/// What a job's cgroup said of its CPU time.
#[derive(Debug)]
struct CpuTime {
    read: Result<CpuReading, ReadError>,
    /// Whether it is another cgroup than the one before.
    is_another: bool,
}

/// The same of all jobs that have one, at one look.
#[derive(Debug, Default)]
pub(super) struct CpuTimes(BTreeMap<u32, CpuTime>);

impl CpuTimes {
    /// Whether every cgroup was there, and the same as before.
    pub(super) fn is_whole(&self) -> bool {
        self.0.values().all(|time| time.read.is_ok() && !time.is_another)
    }
}

/// What one job did.
#[derive(Debug, Default)]
struct Activity {
    kept: Kept,
    /// The same where they are what it was allocated.
    own: Option<CpuSet>,
    time: Option<Duration>,
    packages: Vec<OnPackage>,
}

impl Activities {
    pub(super) fn of_node(config: &Config, sampler: &Sampler) -> Self {
        let n_cpus = sampler.n_cpus();
        let topology = read_topology(&config.path.sysfs, &config.path.procfs, n_cpus);
        let packages = Packages::read(&config.path.sysfs);
        let tells_apart = |device: &Device| device.package.is_some();
        let is_split = packages.len() > 1 && sampler.devices().iter().any(tells_apart);
        let packages = if is_split { packages } else { Packages::default() };
        Self {
            by_package: vec![SystemTime::default(); packages.len()],
            n_cpus_on: packages.count(None),
            packages,
            n_threads: (n_cpus / topology.n_cores).max(1),
            ..Self::default()
        }
    }

    pub(super) fn packages(&self) -> &Packages {
        &self.packages
    }

    pub(super) fn system_by_package(&self) -> Vec<(u32, Duration)> {
        self.system_by_package.clone()
    }

    fn busy_of(&self, cpu: u32) -> Duration {
        let busy = self.busy.as_ref().and_then(|busy| busy.get(cpu as usize));
        busy.copied().unwrap_or_default()
    }

    /// Notes how many jobs were given each CPU.
    fn count_claims(&mut self) {
        self.claims.clear();
        for cpu in self.jobs.values().filter_map(|a| a.own.as_ref()).flat_map(CpuSet::iter) {
            let cpu = cpu as usize;
            if self.claims.len() <= cpu {
                self.claims.resize(cpu + 1, 0);
            }
            self.claims[cpu] += 1;
        }
    }

    /// What the CPUs of a set did, as a job that was given them can be said to have done: a CPU that
    /// several jobs were given is divided among them.
    fn done_by(&self, set: &CpuSet) -> Option<CpuReading> {
        let mut reading = self.busy_of_set(set)?;
        let is_shared = |cpu: u32| self.claims.get(cpu as usize).is_some_and(|n| *n > 1);
        for cpu in set.iter().filter(|cpu| is_shared(*cpu)) {
            let anothers = self.busy_of(cpu) - self.busy_of(cpu) / self.claims[cpu as usize];
            reading.total = reading.total.saturating_sub(anothers);
            if let Some(index) = self.packages.index_of(cpu) {
                let of = &mut reading.by_package[index].1;
                *of = of.saturating_sub(anothers);
            }
        }
        Some(reading)
    }

    /// Busy time of a set's CPUs, all in all and by package; `None` before the second reading.
    fn busy_of_set(&self, set: &CpuSet) -> Option<CpuReading> {
        self.busy.as_ref()?;
        let mut by_package = self.packages.zeros();
        let mut total = Duration::ZERO;
        for cpu in set.iter() {
            let busy = self.busy_of(cpu);
            total += busy;
            if let Some(index) = self.packages.index_of(cpu) {
                by_package[index].1 += busy;
            }
        }
        Some(CpuReading { total, by_package })
    }

    /// Whether a set says what the job was allocated. One of all CPUs may mean that cores are not
    /// constrained: it is believed where the job was given as many, counted as CPUs or as cores.
    fn is_allocation(&self, set: &CpuSet, alloc_cpus: Option<u32>, n_cpus: u32) -> bool {
        let given = |n: u32| n >= n_cpus || n.saturating_mul(self.n_threads) >= n_cpus;
        set.len() < n_cpus as usize || alloc_cpus.is_none_or(given)
    }

    /// Whether a set has as many CPUs as the job was given, counted as CPUs or as cores.
    fn is_as_many(&self, set: &CpuSet, alloc_cpus: Option<u32>) -> bool {
        let given = |n: u32| n as usize..=n.saturating_mul(self.n_threads) as usize;
        alloc_cpus.is_some_and(|n| given(n).contains(&set.len()))
    }

    /// Spreads a job's share and time over the packages.
    fn on_packages(&self, share: f64, set: Option<&CpuSet>, time: &CpuReading) -> Vec<OnPackage> {
        if self.packages.is_empty() {
            return Vec::new();
        }
        let all = &self.n_cpus_on;
        let held = set.map(|set| self.packages.count(Some(set)));
        let share_on = |index: usize| match &held {
            Some(held) => held[index] as f64 / all[index].max(1) as f64,
            None => share,
        };
        let times = self.spread(set, time, held.as_ref().unwrap_or(all));
        let on = |(index, (package, cpu_time))| OnPackage {
            package,
            cpu_share: share_on(index),
            cpu_time,
        };
        times.into_iter().enumerate().map(on).collect()
    }

    /// A job's time by package: as its cgroup tells, else as the CPUs that it may use were busy, else
    /// by their number.
    fn spread(
        &self,
        set: Option<&CpuSet>,
        time: &CpuReading,
        n_cpus: &[usize],
    ) -> Vec<(u32, Duration)> {
        if !time.by_package.is_empty() {
            return time.by_package.clone();
        }
        let busy = set.and_then(|set| self.busy_of_set(set)).filter(|b| !b.total.is_zero());
        let weights: Vec<f64> = match busy {
            Some(busy) => busy.by_package.iter().map(|(_, t)| t.as_secs_f64()).collect(),
            None => n_cpus.iter().map(|n| *n as f64).collect(),
        };
        let sum: f64 = weights.iter().sum();
        let part = |weight: f64| if sum > 0.0 { weight / sum } else { 0.0 };
        let zeros = self.packages.zeros().into_iter().zip(weights);
        zeros.map(|((p, _), w)| (p, time.total.mul_f64(part(w)))).collect()
    }

    /// Sets the system's part of each package: what its CPUs did and no job did on it.
    fn advance_packages(&mut self) {
        let Some(busy) = &self.busy else {
            self.system_by_package.clear();
            return;
        };
        let mut node = self.packages.zeros();
        for (cpu, time) in (0..).zip(busy) {
            if let Some(index) = self.packages.index_of(cpu) {
                node[index].1 += *time;
            }
        }
        let on = |job: &Activity, package: u32| {
            job.packages.iter().find(|p| p.package == package).map(|p| p.cpu_time)
        };
        self.system_by_package.clear();
        for ((package, node), system) in node.into_iter().zip(&mut self.by_package) {
            let known = self.jobs.values().filter(|job| job.time.is_some());
            let jobs = known.filter_map(|job| on(job, package)).sum();
            self.system_by_package.push((package, system.advance(node, jobs)));
        }
    }
}

impl Station {
    /// Reads the CPU time of every job.
    pub(super) fn look_at_activity(&mut self) -> CpuTimes {
        let activities = &mut self.activities;
        let mut times = BTreeMap::new();
        for (job_id, job) in &self.jobs {
            let Some(cgroup) = &job.cgroup else { continue };
            let file = &mut activities.jobs.entry(*job_id).or_default().kept.time;
            let read = file.read(cgroup, &self.config.path.cgroupfs, &activities.packages);
            times.insert(*job_id, CpuTime { read, is_another: file.is_another() });
        }
        CpuTimes(times)
    }

    /// Takes what a look said of the CPU time of every job; returns the system's where the node's is
    /// known.
    pub(super) fn take_activity(
        &mut self,
        node: Option<&CpuBusy>,
        mut times: CpuTimes,
    ) -> Option<Duration> {
        // A job's CPU time may be out of reach at any time, and then that of its CPUs is wanted.
        let by_cpu = node.map(|busy| busy.by_cpu.clone());
        self.activities.busy = by_cpu.filter(|by_cpu| !by_cpu.is_empty());
        self.activities.count_claims();
        let mut earlier = std::mem::take(&mut self.activities.jobs);
        let mut jobs = BTreeMap::new();
        let n_cpus = self.sampler.n_cpus();
        let mut total = Duration::ZERO;
        for (job_id, job) in &mut self.jobs {
            let kept = earlier.remove(job_id).map(|a| a.kept).unwrap_or_default();
            let cgroupfs = &self.config.path.cgroupfs;
            let read = times.0.remove(job_id);
            let activity = take_job(job, kept, read, &self.activities, cgroupfs, n_cpus);
            total += activity.time.unwrap_or_default();
            jobs.insert(*job_id, activity);
        }
        self.activities.jobs = jobs;
        self.activities.advance_packages();
        node.map(|busy| self.activities.system.advance(busy.all, total))
    }

    pub(super) fn holding(&self, job: &Job) -> Holding {
        let n_cpus = self.sampler.n_cpus();
        let cpu_share = job.cpu_share(n_cpus);
        let memory = job.facts.alloc_mem_mb.zip(self.mem_total_mb.filter(|t| *t > 0));
        let mem_share = memory.map_or(cpu_share, |(job, node)| (job as f64 / node as f64).min(1.0));
        let index = |uuid: &str| self.sampler.devices().iter().position(|d| d.id == uuid);
        let held = self.gpus_of(job);
        let gpus = held.iter().filter_map(|g| Some((index(&g.uuid)?, g.share))).collect();
        let activity = self.activities.jobs.get(&job.facts.job_id);
        Holding {
            job_id: job.facts.job_id,
            cpu_share,
            mem_share,
            cpu_time: activity.and_then(|a| a.time),
            packages: activity.map(|a| a.packages.clone()).unwrap_or_default(),
            gpus,
        }
    }
}

/// What a job held and did since the last sample.
fn take_job(
    job: &mut Job,
    mut kept: Kept,
    read: Option<CpuTime>,
    node: &Activities,
    cgroupfs: &Path,
    n_cpus: u32,
) -> Activity {
    kept.look_at_cpuset(job, node, cgroupfs);
    let cpuset = &kept.cpuset;
    let is_own = |set: &&CpuSet| node.is_allocation(set, job.facts.alloc_cpus, n_cpus);
    let own = cpuset.as_ref().filter(is_own).cloned();
    if let Some(set) = &own {
        job.cpuset_share = Some((set.len() as f64 / f64::from(n_cpus.max(1))).min(1.0));
    }
    let (time, source) = match take_time(job, read, cgroupfs) {
        Reading::Time(time) => (Some(time), ActivitySource::Cgroup),
        // While its cgroup is gone the job runs nothing, unless it was gone before we could look.
        Reading::Gone => {
            let done = own.as_ref().and_then(|set| node.done_by(set));
            let nothing = CpuReading { by_package: node.packages().zeros(), ..Default::default() };
            (Some(done.unwrap_or(nothing)), ActivitySource::Cpuset)
        }
        Reading::Unknown => {
            (own.as_ref().and_then(|set| node.done_by(set)), ActivitySource::Cpuset)
        }
    };
    if time.is_some() {
        job.activity = job.activity.max(source);
    }
    // A set of all CPUs that is no allocation tells where the job may have run, not what it holds.
    let share = job.cpu_share(n_cpus);
    let (time, reading) = (time.as_ref().map(|t| t.total), time.unwrap_or_default());
    let mut packages = node.on_packages(share, cpuset.as_ref(), &reading);
    if own.is_none() {
        packages.iter_mut().for_each(|p| p.cpu_share = share);
    }
    Activity { kept, time, packages, own }
}

/// What a job's cgroup says of its CPU time.
#[derive(Debug, PartialEq)]
enum Reading {
    /// CPU time since the last reading.
    Time(CpuReading),
    /// It was read, and is gone altogether: between two steps, or after the last.
    Gone,
    /// There is none, or none that can be read.
    Unknown,
}

fn take_time(job: &mut Job, read: Option<CpuTime>, cgroupfs: &Path) -> Reading {
    let Some((cgroup, CpuTime { read, is_another })) = job.cgroup.as_ref().zip(read) else {
        return Reading::Unknown;
    };
    match read {
        Ok(time) => {
            if is_another {
                job.cpu_time.lifetime_ended();
            }
            Reading::Time(job.cpu_time.advance(time))
        }
        Err(ReadError::Gone { .. }) => {
            // Whatever comes next begins at zero.
            job.cpu_time.lifetime_ended();
            // While another controller has it, or before it was ever read, its time is unknown: on
            // v1 cpuacct comes after freezer and goes before it, and without jobacct_gather/cgroup
            // it never comes.
            let is_gone = job.cpu_time.is_known() && !cgroup::exists(cgroup, cgroupfs);
            if is_gone { Reading::Gone } else { Reading::Unknown }
        }
        Err(e) => {
            job.warnings.insert(format!("CPU time of the cgroup unknown: {e}"));
            Reading::Unknown
        }
    }
}

/// Memory of the node in MB.
pub(super) fn mem_total_mb(procfs: &Path) -> Option<u64> {
    let text = fs::read_to_string(procfs.join("meminfo")).ok()?;
    let kb = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    kb.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_lag_behind_the_jobs_are_carried_over() {
        let ms = Duration::from_millis;
        let mut system = SystemTime::default();
        // The node's ticks lag by 10 ms, then catch up: nothing of it is the system's.
        assert_eq!(system.advance(ms(90), ms(100)), ms(0));
        assert_eq!(system.advance(ms(110), ms(100)), ms(0));
        // 50 ms that no job used.
        assert_eq!(system.advance(ms(150), ms(100)), ms(50));
        assert_eq!(system.advance(ms(95), ms(100)), ms(0));
        assert_eq!(system.advance(ms(105), ms(100)), ms(0));
        // An hour of CPU time that appears at once is no hour without a system.
        assert_eq!(system.advance(ms(100), ms(3_600_000)), ms(0));
        assert_eq!(system.advance(ms(2000), ms(0)), ms(1000));
    }

    #[test]
    fn a_job_whose_cgroup_counts_no_time_has_its_allocated_share() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("freezer/slurm/job_7")).unwrap();
        let at = ct_core::sampler::now();
        let facts = ct_core::protocol::JobFacts { job_id: 7, ..Default::default() };
        let mut job = Job::new(facts, true, Default::default(), at);
        job.cgroup = Some(ct_core::slurm::CgroupPaths::V1("slurm/job_7".into()));
        let packages = Packages::default();
        let mut file = CpuTimeFile::default();
        let mut read = |job: &mut Job| {
            let read = file.read(job.cgroup.as_ref().unwrap(), root.path(), &packages);
            let is_another = file.is_another();
            take_time(job, Some(CpuTime { read, is_another }), root.path())
        };
        let time = |ms| {
            Reading::Time(CpuReading { total: Duration::from_millis(ms), ..CpuReading::default() })
        };
        assert_eq!(read(&mut job), Reading::Unknown);
        // Once it was read and is gone altogether, the job runs nothing; the next begins at zero.
        let cpuacct = root.path().join("cpuacct/slurm/job_7");
        fs::create_dir_all(&cpuacct).unwrap();
        fs::write(cpuacct.join("cpuacct.usage"), "1000000000\n").unwrap();
        assert_eq!(read(&mut job), time(1000));
        fs::remove_dir_all(root.path().join("cpuacct")).unwrap();
        fs::remove_dir_all(root.path().join("freezer")).unwrap();
        assert_eq!(read(&mut job), Reading::Gone);
        fs::create_dir_all(root.path().join("freezer/slurm/job_7")).unwrap();
        assert_eq!(read(&mut job), Reading::Unknown);
        fs::create_dir_all(&cpuacct).unwrap();
        fs::write(cpuacct.join("cpuacct.usage"), "1500000000\n").unwrap();
        assert_eq!(read(&mut job), time(1500));
    }
}
