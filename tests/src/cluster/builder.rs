//! The description of a cluster, before it is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::require::has_cgroup_v1;

use super::layout::{self, Layout, MAX_NODES};
use super::reaper::Reaper;
use super::user::User;
use super::{Cluster, conf};

/// The major device number of the fake GPUs: one for experiments, without a driver, so that
/// opening such a device says ENXIO where it is allowed and EPERM where Slurm forbids it.
const FAKE_GPU_MAJOR: u32 = 240;
/// The same of the fake MIG capabilities.
const FAKE_CAPABILITY_MAJOR: u32 = 241;

/// How Slurm keeps track of a job's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proctrack {
    /// proctrack/cgroup, task/cgroup and jobacct_gather/cgroup on cgroup v1: cores, memory and
    /// devices are constrained, and each job has a cpuacct group.
    Cgroup,
    /// proctrack/linuxproc and jobacct_gather/linux: no control groups at all.
    Linuxproc,
}

/// Describes a cluster; made by [`Cluster::builder`].
///
/// The defaults: one node of two CPUs, no GPU, two users, [`Proctrack::Cgroup`] where cgroup v1 is
/// mounted and else [`Proctrack::Linuxproc`], `PrologFlags=Alloc`, `KillWait=5`, no accounting storage, below /tmp.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) n_nodes: usize,
    pub(super) n_gpus: usize,
    pub(super) gres: Option<(usize, String)>,
    pub(super) capabilities: Vec<u32>,
    pub(super) n_users: usize,
    pub(super) cpus_per_node: usize,
    pub(super) proctrack: Proctrack,
    pub(super) prolog_flags: String,
    pub(super) kill_wait_s: u32,
    pub(super) plugstack: String,
    pub(super) has_accounting: bool,
    pub(super) is_configless: bool,
    pub(super) extra: Vec<String>,
    pub(super) node_env: Vec<(usize, String, String)>,
    base: PathBuf,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            n_nodes: 1,
            n_gpus: 0,
            gres: None,
            capabilities: Vec::new(),
            n_users: 2,
            cpus_per_node: 2,
            proctrack: if has_cgroup_v1() { Proctrack::Cgroup } else { Proctrack::Linuxproc },
            prolog_flags: "Alloc".to_owned(),
            kill_wait_s: 5,
            plugstack: String::new(),
            has_accounting: false,
            is_configless: false,
            extra: Vec::new(),
            node_env: Vec::new(),
            base: PathBuf::from("/tmp"),
        }
    }
}

impl Builder {
    /// Sets the number of nodes.
    ///
    /// # Panics
    ///
    /// Where it is 0 or more than a cluster has ports for (31).
    #[track_caller]
    pub fn nodes(mut self, n: usize) -> Self {
        assert!((1..=MAX_NODES).contains(&n), "{n} nodes, expected 1 to {MAX_NODES}");
        self.n_nodes = n;
        self
    }

    /// Sets the number of CPUs each node claims. Cores can be constrained only to those the
    /// machine really has.
    pub fn cpus_per_node(mut self, n: usize) -> Self {
        self.cpus_per_node = n;
        self
    }

    /// Sets the number of fake GPUs of each node, with the gres device numbers 0, 1, ...
    pub fn gpus(mut self, n: usize) -> Self {
        self.n_gpus = n;
        self
    }

    /// Sets the lines of gres.conf in place of one with all fake GPUs in their order, and how many
    /// GPUs they make; 0 for GPUs that Slurm knows nothing of. `{dev}` in them is the directory of
    /// the device files `fakegpuN` and `nvidia-capN`.
    pub fn gres(mut self, n: usize, lines: &str) -> Self {
        self.gres = Some((n, lines.to_owned()));
        self
    }

    /// Adds device files like those of MIG instances, `nvidia-capN`.
    pub fn capabilities(mut self, numbers: &[u32]) -> Self {
        numbers.clone_into(&mut self.capabilities);
        self
    }

    /// How many GPUs Slurm is to know of.
    pub(super) fn n_gres(&self) -> usize {
        self.gres.as_ref().map_or(self.n_gpus, |(n, _)| *n)
    }

    /// Sets how many unprivileged users there are: `ctuser1` and so on, made where missing.
    pub fn users(mut self, n: usize) -> Self {
        self.n_users = n;
        self
    }

    /// Sets how Slurm keeps track of processes.
    pub fn track(mut self, proctrack: Proctrack) -> Self {
        self.proctrack = proctrack;
        self
    }

    /// Sets `PrologFlags`; empty for none.
    pub fn prolog_flags(mut self, flags: &str) -> Self {
        flags.clone_into(&mut self.prolog_flags);
        self
    }

    /// Sets `KillWait`, the seconds between SIGTERM and SIGKILL at a job's end.
    pub fn kill_wait_s(mut self, seconds: u32) -> Self {
        self.kill_wait_s = seconds;
        self
    }

    /// Sets the text of plugstack.conf. Where it is to name paths in the cluster's directory,
    /// [`Cluster::install_plugin`] suits better.
    pub fn plugstack(mut self, text: &str) -> Self {
        text.clone_into(&mut self.plugstack);
        self
    }

    /// Keeps accounts: a MariaDB and a slurmdbd of the cluster's own. The last node's port is theirs.
    pub fn accounting(mut self) -> Self {
        self.has_accounting = true;
        self
    }

    /// Lets every slurmd fetch its configuration from slurmctld (`--conf-server`), in a /run and an
    /// /etc/slurm of its own.
    pub fn configless(mut self) -> Self {
        self.is_configless = true;
        self
    }

    /// Adds lines to slurm.conf; they win over the harness's own.
    pub fn extra(mut self, lines: &str) -> Self {
        self.extra.push(lines.to_owned());
        self
    }

    /// Adds a variable to the environment of a node's slurmd, and so of all it starts.
    pub fn node_env(mut self, node: usize, key: &str, value: &str) -> Self {
        self.node_env.push((node, key.to_owned(), value.to_owned()));
        self
    }

    /// Sets the directory below which the cluster's own is made. Keep it short: paths of Unix
    /// sockets end at 107 bytes.
    pub fn base(mut self, dir: impl Into<PathBuf>) -> Self {
        self.base = dir.into();
        self
    }

    /// Makes the cluster's directory, users and configuration, and starts no daemon yet: the
    /// moment to add files and variables that [`Cluster::boot`] is to find.
    ///
    /// # Errors
    ///
    /// Where a file or a user cannot be made; that needs root.
    pub fn create(self) -> Result<Cluster> {
        let layout = Layout::claim(&self.base, self.n_nodes)?;
        let reaper = Reaper::start(layout.dir())?;
        let mut cluster = Cluster {
            node_env: vec![Default::default(); self.n_nodes],
            config: self,
            users: Vec::new(),
            daemons: Mutex::default(),
            reaper: Some(reaper),
            has_failed: AtomicBool::new(false),
            layout,
        };
        cluster.furnish()?;
        Ok(cluster)
    }

    /// Makes the cluster and boots it; returns when all nodes are idle.
    ///
    /// # Errors
    ///
    /// As [`Builder::create`], and where a daemon does not come up.
    pub fn start(self) -> Result<Cluster> {
        let cluster = self.create()?;
        cluster.boot()?;
        Ok(cluster)
    }
}

impl Cluster {
    fn furnish(&mut self) -> Result<()> {
        for n in 1..=self.config.n_users {
            self.users.push(User::unprivileged(n)?);
        }
        for user in &self.users {
            let home = self.layout.home(user.name());
            user.make_dir(&home)?;
        }
        for (node, key, value) in self.config.node_env.clone() {
            self.set_node_env(node, &key, value);
        }
        self.make_fake_gpus()?;
        self.write_conf()
    }

    fn make_fake_gpus(&self) -> Result<()> {
        for gpu in 0..self.config.n_gpus {
            let minor = u32::try_from(gpu).context("too many GPUs")?;
            make_device(&self.layout.fake_gpu(gpu), FAKE_GPU_MAJOR, minor)?;
        }
        for number in &self.config.capabilities {
            let path = self.layout.dev().join(format!("nvidia-cap{number}"));
            make_device(&path, FAKE_CAPABILITY_MAJOR, *number)?;
        }
        Ok(())
    }

    fn write_conf(&self) -> Result<()> {
        let dir = self.conf_dir();
        layout::write(&self.slurm_conf(), &conf::slurm_conf(&self.layout, &self.config))?;
        layout::write(&dir.join("cgroup.conf"), &conf::cgroup_conf(&self.config))?;
        layout::write(&dir.join("plugstack.conf"), &self.config.plugstack)?;
        if let Some(gres) = conf::gres_conf(&self.layout, &self.config) {
            layout::write(&dir.join("gres.conf"), &gres)?;
        }
        Ok(())
    }
}

fn make_device(path: &Path, major: u32, minor: u32) -> Result<()> {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(major, minor))
        .with_context(|| format!("cannot make device {}", path.display()))?;
    // Open to all like /dev/nvidia0; mknod's own mode is cut by the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(())
}
