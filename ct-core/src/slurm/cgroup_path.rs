//! The job's cgroup, from a step's `/proc/PID/cgroup`: read, never built.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A job's directory below the cgroup mount point, by cgroup version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupPaths {
    /// v1: the path that is the same in every controller's hierarchy, without a leading slash.
    V1(PathBuf),
    /// v2: the path below the mount point, without a leading slash.
    V2(PathBuf),
}

/// Finds the job's cgroup in the text of a slurmstepd's `/proc/PID/cgroup`.
///
/// The path is cut after the component `job_ID`. On v1 slurmstepd is in the job's cgroup of only
/// one hierarchy at first (freezer); the other controllers use the same path. Returns `None` where
/// Slurm does not use cgroups (`proctrack/linuxproc`).
pub fn job_cgroup(proc_cgroup: &str, job_id: u32) -> Option<CgroupPaths> {
    let name = format!("job_{job_id}");
    let mut v1 = None;
    for line in proc_cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let Some(job) = cut_after(path, &name) else { continue };
        if controllers.is_empty() {
            return Some(CgroupPaths::V2(job));
        }
        v1 = v1.or(Some(job));
    }
    v1.map(CgroupPaths::V1)
}

fn cut_after(path: &str, name: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let mut out = PathBuf::new();
    for part in path.split('/') {
        if part == ".." {
            return None;
        }
        out.push(part);
        if part == name {
            return Some(out);
        }
    }
    None
}

impl CgroupPaths {
    /// The file that holds the CPU time of the job, below the cgroup mount point `root`.
    pub fn cpu_file(&self, root: &Path) -> PathBuf {
        match self {
            Self::V1(job) => root.join("cpuacct").join(job).join("cpuacct.usage"),
            Self::V2(job) => root.join(job).join("cpu.stat"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_found_in_either_version() {
        let v1 = "9:name=systemd:/\n5:freezer:/slurm_n1/uid_1000/job_42\n4:cpuacct:/\n";
        let v1 = job_cgroup(v1, 42).unwrap();
        assert_eq!(v1, CgroupPaths::V1("slurm_n1/uid_1000/job_42".into()));
        assert_eq!(
            v1.cpu_file(Path::new("/c")),
            Path::new("/c/cpuacct/slurm_n1/uid_1000/job_42/cpuacct.usage")
        );
        let v2 = "0::/system.slice/slurmstepd.scope/job_42/step_batch/slurm\n";
        let v2 = job_cgroup(v2, 42).unwrap();
        assert_eq!(
            v2.cpu_file(Path::new("/c")),
            Path::new("/c/system.slice/slurmstepd.scope/job_42/cpu.stat")
        );
    }

    #[test]
    fn what_is_not_the_jobs_is_not_taken() {
        for text in ["", "0::/user.slice\n", "0::/x/job_421/step_0\n", "garbage", "0::/../job_42"] {
            assert_eq!(job_cgroup(text, 42), None, "{text}");
        }
    }
}
