//! A Slurm cluster that lives in one directory and leaves nothing behind.
//!
//! All nodes are `slurmd`s of this machine, told apart by name and port; munge, the controller
//! and every path are the cluster's own, and so are the node names, because the control groups of
//! the nodes (`/sys/fs/cgroup/*/slurm_<node>`) share one tree. Any number of clusters therefore
//! run side by side.
//!
//! The clean-up does not depend on the test's manners: a supervising process (`ct-cluster reap`)
//! holds the end of a pipe and takes the cluster down when the test drops it, panics, is
//! interrupted or killed.
//!
//! This module knows nothing of the plugin under test; see [`Cluster::install_plugin`] and
//! [`Cluster::set_node_env`] for how one gets in.

mod accounting;
mod boot;
mod builder;
mod command;
mod conf;
mod job;
mod layout;
mod reaper;
mod report;
mod teardown;
mod user;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

pub use self::builder::{Builder, Proctrack};
pub use self::command::{ClusterCommand, Output};
pub use self::job::{JobId, JobInfo};
use self::layout::Layout;
use self::reaper::Reaper;
pub use self::reaper::reap;
pub use self::teardown::teardown;
pub use self::user::User;

/// The environment variable that all processes of a cluster carry; its value is the directory.
pub const CLUSTER_DIR_VARIABLE: &str = "CT_CLUSTER_DIR";

/// A throwaway Slurm cluster; dropping it takes it down.
///
/// Nodes are numbered from 1, as users are. Where the dropping thread panics, or where one of the
/// methods here returned an error, everything worth reading is printed to stderr first. With
/// `CT_KEEP=1` in the environment the directory stays.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    config: Builder,
    users: Vec<User>,
    node_env: Vec<BTreeMap<String, String>>,
    /// The daemons started here, by name, kept so that none remains a zombie.
    daemons: Mutex<BTreeMap<String, Child>>,
    reaper: Option<Reaper>,
    has_failed: AtomicBool,
}

impl Cluster {
    /// Begins the description of a cluster.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The cluster's directory; everything it writes is below it.
    pub fn dir(&self) -> &Path {
        self.layout.dir()
    }

    /// The directory of slurm.conf, cgroup.conf, gres.conf and plugstack.conf.
    pub fn conf_dir(&self) -> PathBuf {
        self.layout.conf_dir()
    }

    /// The value of `SLURM_CONF` with which Slurm's commands talk to this cluster.
    pub fn slurm_conf(&self) -> PathBuf {
        self.conf_dir().join("slurm.conf")
    }

    /// The number of nodes.
    pub fn n_nodes(&self) -> usize {
        self.config.n_nodes
    }

    /// The name of a node, unique among the clusters of this machine.
    ///
    /// # Panics
    ///
    /// Where there is no such node.
    #[track_caller]
    pub fn node(&self, node: usize) -> String {
        assert!((1..=self.n_nodes()).contains(&node), "no node {node}: {} nodes", self.n_nodes());
        self.layout.node_name(node)
    }

    /// The log file of a node's slurmd and of its slurmstepds.
    #[track_caller]
    pub fn slurmd_log(&self, node: usize) -> PathBuf {
        self.dir().join(format!("log/slurmd.{}.log", self.node(node)))
    }

    /// The control group (v1, cpuacct) below which a node's jobs use CPU time; it comes into being
    /// with the node's first job, and only under [`Proctrack::Cgroup`].
    #[track_caller]
    pub fn cpuacct(&self, node: usize) -> PathBuf {
        Path::new("/sys/fs/cgroup/cpuacct").join(format!("slurm_{}", self.node(node)))
    }

    /// The unprivileged user `ctuser<n>`; the builder made it.
    ///
    /// # Panics
    ///
    /// Where the builder was asked for fewer users.
    #[track_caller]
    pub fn user(&self, n: usize) -> &User {
        let index = n.checked_sub(1).expect("users are numbered from 1");
        self.users.get(index).unwrap_or_else(|| panic!("no user {n}: {} users", self.users.len()))
    }

    /// The user's home in this cluster: a directory of the user's own, in which jobs are
    /// submitted where nothing else is said. For root it is the cluster's directory.
    pub fn home(&self, user: &User) -> PathBuf {
        if user.uid() == 0 { self.dir().to_owned() } else { self.layout.home(user.name()) }
    }

    /// Adds a variable to the environment of a node's slurmd, and so of all it starts; it counts
    /// from the next start of that slurmd on.
    #[track_caller]
    pub fn set_node_env(&mut self, node: usize, key: &str, value: impl Into<String>) {
        self.node(node);
        self.node_env[node - 1].insert(key.to_owned(), value.into());
    }

    /// Copies a SPANK plugin to `lib/` in the cluster's directory, under the file name given, and
    /// writes plugstack.conf. Returns the copy's path, which plugstack.conf is to name.
    ///
    /// slurmd reads plugstack.conf when it starts, everything else whenever it is used: call this
    /// between [`Builder::create`] and [`Cluster::boot`].
    ///
    /// # Errors
    ///
    /// Where a file cannot be written.
    pub fn install_plugin(
        &self,
        library: &Path,
        file_name: &str,
        plugstack: impl FnOnce(&Path) -> String,
    ) -> Result<PathBuf> {
        let copy = self.dir().join("lib").join(file_name);
        fs::copy(library, &copy)
            .with_context(|| format!("cannot copy {} to {}", library.display(), copy.display()))?;
        let main = self.conf_dir().join("plugstack.conf");
        if self.config.is_configless {
            // Only the file that includes is fetched; what it includes is the node's.
            let own = self.dir().join("plugstack.conf.d");
            fs::create_dir_all(&own)?;
            layout::write(&own.join("carbontracker.conf"), &plugstack(&copy))?;
            layout::write(&main, &format!("include {}/*.conf\n", own.display()))?;
        } else {
            layout::write(&main, &plugstack(&copy))?;
        }
        Ok(copy)
    }

    /// Ends the supervision: the cluster outlives this process, and `ct-cluster down DIR` or
    /// [`teardown()`] takes it down. Returns its directory.
    pub fn detach(mut self) -> PathBuf {
        if let Some(reaper) = self.reaper.take() {
            reaper.dismiss();
        }
        self.dir().to_owned()
    }

    /// What went wrong so far was meant to: the end need not show the logs for it.
    pub fn forgive(&self) {
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// Keeps in mind that something went wrong, so that the end shows the logs.
    fn note_failure<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(reaper) = self.reaper.take() else { return };
        if thread::panicking() || self.has_failed.load(Ordering::Relaxed) {
            report::print(self.dir());
        }
        reaper.finish(self.dir());
        let daemons = self.daemons.get_mut().unwrap_or_else(PoisonError::into_inner);
        for daemon in daemons.values_mut() {
            // Killed by the reaper; here the zombie goes.
            let _ = daemon.try_wait();
        }
    }
}
