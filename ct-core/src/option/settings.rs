//! The values a job is tracked with: every default filled in, every combination checked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Budget, DEFAULT_PATTERN, OptionError, OptionSet, Simulated, simulated};

/// Which components a job's logs and totals cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Components {
    /// CPU packages, and the memory and node meters that go with them.
    pub cpu: bool,
    /// GPUs.
    pub gpu: bool,
}

impl Components {
    /// Reads `all`, or `cpu` and `gpu` joined by `+` or a comma.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("all") {
            return Some(Self { cpu: true, gpu: true });
        }
        let mut out = Self { cpu: false, gpu: false };
        for word in text.split(['+', ',']) {
            match word.trim().to_ascii_lowercase().as_str() {
                "cpu" => out.cpu = true,
                "gpu" => out.gpu = true,
                _ => return None,
            }
        }
        Some(out)
    }
}

/// What begins and ends an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochBy {
    /// `ct-track epoch start|end`.
    Mark,
    /// Each srun step is an epoch.
    Step,
    /// A line of the job's output begins one.
    Pattern,
}

/// What a job is tracked with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Epochs of the whole training.
    pub epochs: Option<u32>,
    /// Epochs before the prediction: -1 all, 0 none.
    pub epochs_before_pred: i64,
    /// Epochs before the actual block: -1 all.
    pub monitor_epochs: i64,
    /// Time between two samples.
    pub update_interval: Duration,
    /// Whether equivalents are printed.
    pub interpretable: bool,
    /// Whether errors are kept from the job's output.
    pub ignore_errors: bool,
    /// What is covered.
    pub components: Components,
    /// Whether the job's GPUs are those on which it has a process.
    #[serde(default)]
    pub devices_by_pid: bool,
    /// Directory of the logs, patterns not yet expanded.
    pub log_dir: Option<String>,
    /// First part of the logs' names, patterns not yet expanded.
    pub log_file_prefix: String,
    /// 0, 1 or 2.
    pub verbose: u8,
    /// Decimals of energies and masses.
    pub decimal_precision: usize,
    /// What begins and ends an epoch.
    pub epoch_by: EpochBy,
    /// The line that begins one, with [`EpochBy::Pattern`].
    #[serde(default = "default_pattern")]
    pub epoch_pattern: String,
    /// Whether the program is held after the prediction until somebody answers.
    #[serde(default)]
    pub stop_and_confirm: bool,
    /// What the job may draw.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// The CPU that is shown in place of the measured one.
    #[serde(default)]
    pub sim_cpu: Option<Simulated>,
    /// The GPU that is shown in place of the measured ones.
    #[serde(default)]
    pub sim_gpu: Option<Simulated>,
}

fn default_pattern() -> String {
    DEFAULT_PATTERN.to_owned()
}

impl Default for Settings {
    /// Upstream's documented defaults; `ignore_errors` is true here: tracking never ends a job.
    fn default() -> Self {
        Self {
            epochs: None,
            epochs_before_pred: 1,
            monitor_epochs: 1,
            update_interval: Duration::from_secs(10),
            interpretable: true,
            ignore_errors: true,
            components: Components { cpu: true, gpu: true },
            devices_by_pid: false,
            log_dir: None,
            log_file_prefix: String::new(),
            verbose: 1,
            decimal_precision: 6,
            epoch_by: EpochBy::Mark,
            epoch_pattern: default_pattern(),
            stop_and_confirm: false,
            budget: None,
            sim_cpu: None,
            sim_gpu: None,
        }
    }
}

impl Settings {
    /// Fills in the defaults and checks what depends on several keys.
    ///
    /// # Errors
    ///
    /// [`OptionError::MonitorBeforePrediction`], [`OptionError::Incomplete`]; single values were checked when they were set.
    pub fn resolve(set: &OptionSet) -> Result<Self, OptionError> {
        let d = Self::default();
        let whole = |key| set.get(key).and_then(|v| v.parse::<i64>().ok());
        let flag = |key, default| set.get(key).and_then(parse_bool).unwrap_or(default);
        let seconds = set.get("update_interval").and_then(|v| v.parse().ok());
        let out = Self {
            epochs: set.get("epochs").and_then(|v| v.parse().ok()),
            epochs_before_pred: whole("epochs_before_pred").unwrap_or(d.epochs_before_pred),
            monitor_epochs: whole("monitor_epochs").unwrap_or(d.monitor_epochs),
            update_interval: seconds.map_or(d.update_interval, Duration::from_secs_f64),
            interpretable: flag("interpretable", d.interpretable),
            ignore_errors: flag("ignore_errors", d.ignore_errors),
            components: set.get("components").and_then(Components::parse).unwrap_or(d.components),
            devices_by_pid: flag("devices_by_pid", d.devices_by_pid),
            log_dir: set.get("log_dir").map(str::to_owned),
            log_file_prefix: set.get("log_file_prefix").unwrap_or_default().to_owned(),
            verbose: set.get("verbose").and_then(|v| v.parse().ok()).unwrap_or(d.verbose),
            decimal_precision: set
                .get("decimal_precision")
                .and_then(|v| v.parse().ok())
                .unwrap_or(d.decimal_precision),
            epoch_by: match set.get("epoch_by") {
                Some("step") => EpochBy::Step,
                Some("pattern") => EpochBy::Pattern,
                None if set.get("epoch_pattern").is_some() => EpochBy::Pattern,
                _ => EpochBy::Mark,
            },
            epoch_pattern: set.get("epoch_pattern").unwrap_or(DEFAULT_PATTERN).to_owned(),
            stop_and_confirm: flag("stop_and_confirm", d.stop_and_confirm),
            budget: Budget::resolve(set),
            sim_cpu: Simulated::resolve(set, simulated::CPU)?,
            sim_gpu: Simulated::resolve(set, simulated::GPU)?,
        };
        let (monitor, before) = (out.monitor_epochs, out.epochs_before_pred);
        if monitor != -1 && monitor < before {
            return Err(OptionError::MonitorBeforePrediction { monitor, before });
        }
        Ok(out)
    }
}

/// Reads the truth values people write, Python's among them.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}
