//! The end-to-end harness: a throwaway Slurm cluster, a power plant, and what they need.
//!
//! [`Cluster`] boots real Slurm daemons in a directory of their own and takes everything down
//! again when it is dropped, whatever happened in between. [`PowerPlant`] drives the counters of
//! a simulated machine at watts a test has chosen, so that the test knows how many joules are
//! right. The library `libfake_nvml.so` ([`artifact::fake_nvml`]) answers for the plant's GPUs.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::time::Duration;
//!
//! use ct_tests::Cluster;
//!
//! if !ct_tests::e2e_is_possible() {
//!     return Ok(());
//! }
//! let cluster = Cluster::builder().nodes(2).start()?;
//! let user = cluster.user(1);
//! let job = cluster.sbatch(user, "#!/bin/sh\n#SBATCH -N2\nsrun hostname\n")?;
//! assert_eq!(cluster.wait_for(job, Duration::from_secs(30))?.state(), "COMPLETED");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here knows what is tested: which plugin is installed, how it is configured and what a
//! test expects of it is the business of the tests.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod artifact;
pub mod cluster;
pub mod packages;
pub mod plant;
mod process;
mod require;
pub mod shim;
pub mod site;
mod tree;

pub use cluster::{Cluster, JobId, JobInfo, Output, Proctrack, User};
pub use plant::{Meter, PowerPlant};
pub use require::{
    accounting_test_is_possible, cgroup_test_is_possible, e2e_is_possible, has_cgroup_v1,
    has_program, rpm_test_is_wanted, say_skipped,
};
pub use shim::Shim;
pub use site::Site;
