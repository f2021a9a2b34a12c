//! What each job held and did since the last sample.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ct_core::attribution::Holding;
use ct_core::job::Job;
use ct_core::source::{ReadError, cgroup};

use super::Station;

/// CPU time by which the jobs may seem to be ahead of the node: some ticks on each of many CPUs.
const DEBT: Duration = Duration::from_secs(1);

/// CPU time that was no job's.
///
/// `/proc/stat` counts in ticks of 10 ms and a cgroup in nanoseconds, so that over a short interval
/// the jobs may seem to have run longer than the node. What exceeds is carried over: the system's
/// time is the rise of the highest value that (node − jobs) has ever had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SystemTime {
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

impl Station {
    /// Reads the CPU time of every job; returns the system's where the node's is known.
    pub(super) fn read_activity(&mut self, node_busy: Option<Duration>) -> Option<Duration> {
        let cgroupfs = self.config.path.cgroupfs.clone();
        let mut jobs = Duration::ZERO;
        for job in self.jobs.values_mut() {
            job.activity = read_job(job, &cgroupfs);
            jobs += job.activity.unwrap_or_default();
        }
        node_busy.map(|node| self.system.advance(node, jobs))
    }

    pub(super) fn holding(&self, job: &Job) -> Holding {
        let n_cpus = self.sampler.n_cpus();
        let cpu_share = job.cpu_share(n_cpus);
        let memory = job.facts.alloc_mem_mb.zip(self.mem_total_mb.filter(|t| *t > 0));
        let mem_share = memory.map_or(cpu_share, |(job, node)| (job as f64 / node as f64).min(1.0));
        let index = |uuid: &str| self.sampler.devices().iter().position(|d| d.id == uuid);
        let held = self.gpus_of(job);
        let gpus = held.iter().filter_map(|g| Some((index(&g.uuid)?, g.share))).collect();
        Holding { cpu_share, mem_share, cpu_time: job.activity, gpus }
    }
}

/// CPU time since the last reading; `None` where the job has no cgroup that can be read.
fn read_job(job: &mut Job, cgroupfs: &Path) -> Option<Duration> {
    let cgroup = job.cgroup.as_ref()?;
    match cgroup::read_cpu_time(cgroup, cgroupfs) {
        Ok(time) => Some(job.cpu_time.advance(time)),
        Err(ReadError::Gone { .. }) => {
            // Whatever comes next begins at zero.
            job.cpu_time.lifetime_ended();
            // Between two steps, or after the last, the job runs nothing. While another controller
            // has it, or before it was ever read, its time is unknown: on v1 cpuacct comes after
            // freezer, and without jobacct_gather/cgroup it never comes.
            let runs_nothing = job.cpu_time.is_known() && !cgroup::exists(cgroup, cgroupfs);
            runs_nothing.then_some(Duration::ZERO)
        }
        Err(e) => {
            job.warnings.insert(format!("CPU time unknown, share by allocation: {e}"));
            None
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
        assert_eq!(read_job(&mut job, root.path()), None);
        // Once it was read and is gone altogether, the job runs nothing; the next begins at zero.
        let cpuacct = root.path().join("cpuacct/slurm/job_7");
        fs::create_dir_all(&cpuacct).unwrap();
        fs::write(cpuacct.join("cpuacct.usage"), "1000000000\n").unwrap();
        assert_eq!(read_job(&mut job, root.path()), Some(Duration::from_secs(1)));
        fs::remove_dir_all(root.path().join("cpuacct")).unwrap();
        fs::remove_dir_all(root.path().join("freezer")).unwrap();
        assert_eq!(read_job(&mut job, root.path()), Some(Duration::ZERO));
        fs::create_dir_all(root.path().join("freezer/slurm/job_7")).unwrap();
        assert_eq!(read_job(&mut job, root.path()), None);
        fs::create_dir_all(&cpuacct).unwrap();
        fs::write(cpuacct.join("cpuacct.usage"), "1500000000\n").unwrap();
        assert_eq!(read_job(&mut job, root.path()), Some(Duration::from_millis(1500)));
    }
}
