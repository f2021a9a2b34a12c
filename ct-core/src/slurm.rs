//! Slurm's own forms: host lists, counted lists, file name patterns, cgroup paths, steps' sockets.

mod cgroup_path;
mod hostlist;
mod pattern;
mod step_socket;

pub use cgroup_path::{CgroupPaths, job_cgroup};
pub use hostlist::{expand_counts, expand_hostlist};
pub use pattern::{PatternValues, expand};
pub use step_socket::{Spool, bound_paths, step_of_socket};
