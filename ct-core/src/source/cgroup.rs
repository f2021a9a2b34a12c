//! CPU time of a job, from its cgroup.
//!
//! A job's cgroup may appear after its start, vanish before its end and start over: time is
//! accumulated per lifetime of the cgroup, so that nothing is lost or counted twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ReadError;
use crate::slurm::CgroupPaths;

/// Reads the CPU time of a job's cgroup: v1 `cpuacct.usage` in ns, v2 `cpu.stat` in µs.
///
/// # Errors
///
/// [`ReadError::Gone`] where the cgroup does not exist (yet, or any more).
pub fn read_cpu_time(cgroup: &CgroupPaths, cgroupfs: &Path) -> Result<Duration, ReadError> {
    let path = cgroup.cpu_file(cgroupfs);
    let text = fs::read_to_string(&path).map_err(|e| ReadError::from_io(&path, e))?;
    let time = match cgroup {
        CgroupPaths::V1(_) => text.trim().parse().ok().map(Duration::from_nanos),
        CgroupPaths::V2(_) => parse_cpu_stat(&text),
    };
    time.ok_or_else(|| ReadError::Parse { path, text: text.chars().take(60).collect() })
}

fn parse_cpu_stat(text: &str) -> Option<Duration> {
    let usage = text.lines().find_map(|l| l.strip_prefix("usage_usec "))?;
    usage.trim().parse().ok().map(Duration::from_micros)
}

/// Whether the job's cgroup is there.
pub fn exists(cgroup: &CgroupPaths, cgroupfs: &Path) -> bool {
    let dirs: Vec<PathBuf> = match cgroup {
        CgroupPaths::V1(job) => {
            ["freezer", "cpuacct", "cpuset", "memory"].map(|c| cgroupfs.join(c).join(job)).into()
        }
        CgroupPaths::V2(job) => vec![cgroupfs.join(job)],
    };
    dirs.iter().any(|d| d.is_dir())
}

/// CPU time of a job across lifetimes of its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    total: Duration,
    last: Duration,
    is_known: bool,
}

impl CpuTime {
    /// Takes a reading and returns the time since the previous one.
    ///
    /// A reading below the previous one is that of a new cgroup, which began at zero.
    pub fn advance(&mut self, reading: Duration) -> Duration {
        let step = reading.checked_sub(self.last).unwrap_or(reading);
        self.last = reading;
        self.total += step;
        self.is_known = true;
        step
    }

    /// Notes a reading from which time counts: what was before it is nobody's interval.
    pub fn begin_at(&mut self, reading: Duration) {
        self.last = reading;
        self.is_known = true;
    }

    /// Whether the cgroup was ever read.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Notes that the cgroup is gone: the next one begins at zero.
    pub fn lifetime_ended(&mut self) {
        self.last = Duration::ZERO;
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let v1 = CgroupPaths::V1("slurm_n1/job_1".into());
        let v2 = CgroupPaths::V2("scope/job_1".into());
        assert!(matches!(read_cpu_time(&v1, root.path()), Err(ReadError::Gone { .. })));
        assert!(!exists(&v1, root.path()));
        for (cgroup, text) in [(&v1, "1500000000\n"), (&v2, "usage_usec 2500000\nuser_usec 1\n")] {
            let file = cgroup.cpu_file(root.path());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert_eq!(read_cpu_time(&v1, root.path()).unwrap(), Duration::from_millis(1500));
        assert_eq!(read_cpu_time(&v2, root.path()).unwrap(), Duration::from_millis(2500));
        assert!(exists(&v2, root.path()));
        fs::write(v2.cpu_file(root.path()), "user_usec 1\n").unwrap();
        assert!(matches!(read_cpu_time(&v2, root.path()), Err(ReadError::Parse { .. })));
    }

    #[test]
    fn time_is_kept_when_the_cgroup_starts_over() {
        let mut time = CpuTime::default();
        let s = Duration::from_secs;
        assert_eq!(time.advance(s(2)), s(2));
        assert_eq!(time.advance(s(5)), s(3));
        // A new lifetime that was seen to begin, even above the old reading.
        time.lifetime_ended();
        assert_eq!(time.advance(s(6)), s(6));
        // A new lifetime nobody saw begin.
        assert_eq!(time.advance(s(1)), s(1));
        assert_eq!(time.total(), s(12));
        // A cgroup that is met in mid-life.
        let mut late = CpuTime::default();
        assert!(!late.is_known());
        late.begin_at(s(100));
        assert_eq!(late.advance(s(101)), s(1));
        assert!(late.is_known());
    }
}
