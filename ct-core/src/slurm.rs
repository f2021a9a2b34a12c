//! Slurm's own forms: host lists, counted lists, file name patterns, cgroup paths.

mod cgroup_path;
mod hostlist;
mod pattern;

pub use cgroup_path::{CgroupPaths, job_cgroup};
pub use hostlist::{expand_counts, expand_hostlist};
pub use pattern::{PatternValues, expand};
