//! The sections of carbontracker.toml, with their defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::option::{OptionError, OptionSet};

/// `[node]`: the daemon on each node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// User the daemon becomes after opening the counters; `nobody` where it does not exist.
    pub service_user: String,
    /// Directory of the socket.
    pub run_dir: PathBuf,
    /// Directory of the running jobs' state.
    pub state_dir: PathBuf,
    /// Seconds between samples while no job runs.
    pub sample_idle_s: f64,
    /// NVML library, where it is not in the loader's path.
    pub nvml_library: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            service_user: "carbontracker".to_owned(),
            run_dir: "/run/carbontracker".into(),
            state_dir: "/var/lib/carbontracker".into(),
            sample_idle_s: 60.0,
            nvml_library: None,
        }
    }
}

/// `[path]`: where the kernel's trees are, as node_exporter names them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// sysfs.
    pub sysfs: PathBuf,
    /// procfs.
    pub procfs: PathBuf,
    /// The cgroup mount point.
    pub cgroupfs: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { sysfs: "/sys".into(), procfs: "/proc".into(), cgroupfs: "/sys/fs/cgroup".into() }
    }
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    On,
    /// Off.
    #[default]
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// `[track]`: which jobs are tracked, and with what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Track {
    /// Whether a job without the option is tracked. The ledger has every job either way.
    pub default: Switch,
    /// Site defaults of the option's keys.
    pub options: BTreeMap<String, toml::Value>,
    /// Bounds on what a job may ask for.
    pub limits: Limits,
    /// Whether ct-noded itself may end a job that asked to be ended at its budget.
    pub allow_stop: bool,
    /// Seconds between the request to end and the end, for a job that passed its budget.
    pub stop_grace_s: f64,
    /// Seconds that a job waits for an answer; 0: for ever.
    pub confirm_timeout_s: f64,
    /// What counts as the answer where nobody gives one.
    pub confirm_default: YesNo,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            default: Switch::Off,
            options: BTreeMap::new(),
            limits: Limits::default(),
            allow_stop: false,
            stop_grace_s: 30.0,
            confirm_timeout_s: 600.0,
            confirm_default: YesNo::Y,
        }
    }
}

/// `y` or `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum YesNo {
    /// The job goes on.
    Y,
    /// The job ends.
    N,
}

impl Track {
    /// The site defaults as an option set.
    ///
    /// # Errors
    ///
    /// [`OptionError`] for a key or value the option would refuse.
    pub fn options(&self) -> Result<OptionSet, OptionError> {
        let mut set = OptionSet::default();
        for (key, value) in &self.options {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(n) => n.to_string(),
                toml::Value::Float(n) => n.to_string(),
                toml::Value::Boolean(b) => b.to_string(),
                other => other.type_str().to_owned(),
            };
            set.set(key, &text)?;
        }
        Ok(set)
    }
}

/// `[track.limits]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Shortest update_interval in seconds; a shorter one is raised to it.
    pub update_interval_min_s: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { update_interval_min_s: 0.1 }
    }
}

/// How the energy of an interval is split among jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Idle energy by allocation, the rest by activity.
    #[default]
    Hybrid,
    /// Everything by allocation.
    Allocated,
    /// Everything by activity.
    Usage,
    /// The whole node to each job; not additive.
    Node,
}

impl Policy {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Allocated => "allocated",
            Self::Usage => "usage",
            Self::Node => "node",
        }
    }
}

/// `[attribution]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attribution {
    /// The policy.
    pub policy: Policy,
    /// Idle power of one device of each component.
    pub idle_w: IdleWatts,
}

/// `[attribution.idle_w]`: watts that one device of a component draws with no job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdleWatts {
    /// One CPU package.
    pub cpu: Option<f64>,
    /// The memory of one package.
    pub dram: Option<f64>,
    /// One GPU.
    pub gpu: Option<f64>,
    /// The rest of the node.
    pub rest: Option<f64>,
}

/// `[power]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Power {
    /// Power usage effectiveness; 1.58 if unset, and said so.
    pub pue: Option<f64>,
    /// TDP of one CPU package, for nodes without a counter.
    pub cpu_tdp_watts: Option<f64>,
    /// Idle power of one CPU package, for nodes without a counter.
    pub cpu_idle_watts: Option<f64>,
}

/// `[ledger]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Directory of the ledger, shared by all nodes where that is possible.
    pub dir: PathBuf,
    /// Cluster name in records; Slurm's own where unset.
    pub cluster: Option<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { dir: "/var/spool/carbontracker/ledger".into(), cluster: None }
    }
}
