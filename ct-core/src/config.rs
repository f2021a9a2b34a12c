//! carbontracker.toml: one file for the plugin, the daemon and the reports.
//!
//! Text comes in, a [`Config`] with every default filled in goes out. An unknown key is an error
//! that names the nearest known one; a missing default file means defaults, a missing named file is
//! an error.

mod budget;
mod carbon;
mod check;
pub mod keys;
mod place;
pub mod plugstack;
mod sections;

pub use budget::{ANY_ACCOUNT, AccountBudget, Budgets};
pub use carbon::{Carbon, Fetch, Provider};
pub use sections::{
    Attribution, IdleWatts, Ledger, Limits, Node, Paths, Policy, Power, Switch, Track, YesNo,
};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::option::OptionError;

/// Where the configuration is looked for when no path is given.
pub const DEFAULT_PATH: &str = "/etc/carbontracker/carbontracker.toml";

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The daemon on each node.
    pub node: Node,
    /// Where the kernel's trees are.
    pub path: Paths,
    /// Which jobs are tracked, and with what.
    pub track: Track,
    /// How a node's energy is split.
    pub attribution: Attribution,
    /// Power model and PUE.
    pub power: Power,
    /// Carbon intensity and other factors.
    pub carbon: Carbon,
    /// The ledger.
    pub ledger: Ledger,
    /// What accounts may draw in a month.
    pub budget: Budgets,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("configuration {}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the TOML reader says, with line and column.
        message: String,
    },
    /// A key that does not exist.
    #[error("configuration {}: unknown key {key:?}{}", at(path, *.line), hint(.nearest))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key's line, from 1.
        line: Option<usize>,
        /// Section and key.
        key: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A site default that the option would refuse.
    #[error("configuration {}: track.options.{source}", at(path, *.line))]
    Option {
        /// The file.
        path: PathBuf,
        /// The key's line, from 1.
        line: Option<usize>,
        /// Why, beginning with the key.
        source: OptionError,
    },
    /// A value that its key does not allow.
    #[error("configuration {}: {key} is {value}, expected {expected}", at(path, *.line))]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key's line, from 1, or that of the section where the key is missing.
        line: Option<usize>,
        /// Section and key.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

impl ConfigError {
    /// Says on which line of the text the key stands.
    fn found_in(mut self, text: &str) -> Self {
        match &mut self {
            Self::UnknownKey { line, key, .. } | Self::BadValue { line, key, .. } => {
                *line = place::line_of(text, key);
            }
            Self::Option { line, source, .. } => {
                // Its message begins with the key.
                let said = source.to_string();
                let key = said.split(' ').next().unwrap_or_default();
                *line = place::line_of(text, &format!("track.options.{key}"));
            }
            Self::Read { .. } | Self::Parse { .. } => {}
        }
        self
    }
}

/// `PATH:LINE`.
fn at(path: &Path, line: Option<usize>) -> String {
    let line = line.map(|n| format!(":{n}")).unwrap_or_default();
    format!("{}{line}", path.display())
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default()
}

impl Config {
    /// Reads the configuration at `path`, or the default file if there is one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; a missing default file is none.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, named) = path.map_or((Path::new(DEFAULT_PATH), false), |p| (p, true));
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: file.to_owned(), source }),
        }
    }

    /// Reads a configuration from its text; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let parse_error = |e: toml::de::Error| ConfigError::Parse {
            path: path.to_owned(),
            message: e.to_string().trim_end().to_owned(),
        };
        let table: toml::Table = text.parse().map_err(parse_error)?;
        check::known_keys(&table, path).map_err(|e| e.found_in(text))?;
        let config: Self = toml::from_str(text).map_err(parse_error)?;
        check::values(&config, path).map_err(|e| e.found_in(text))?;
        Ok(config)
    }

    /// Where ct-noded is to be found by a configuration that is refused: one that was started before
    /// the mistake runs on. The rest is as without a file.
    pub fn places(path: Option<&Path>) -> Self {
        let text = fs::read_to_string(path.unwrap_or(Path::new(DEFAULT_PATH))).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap_or_default();
        let text =
            |section: &str, key: &str| Some(table.get(section)?.get(key)?.as_str()?.to_owned());
        let mut config = Self::default();
        if let Some(dir) = text("node", "run_dir") {
            config.node.run_dir = dir.into();
        }
        if let Some(user) = text("node", "service_user") {
            config.node.service_user = user;
        }
        if let Some(dir) = text("path", "cgroupfs") {
            config.path.cgroupfs = dir.into();
        }
        config
    }

    /// Replaces `%n` (node) and `%h` (host) in every path the daemon uses.
    #[must_use]
    pub fn for_node(mut self, node: &str, host: &str) -> Self {
        let replace = |p: &mut PathBuf| {
            let text = p.to_string_lossy().replace("%n", node).replace("%h", host);
            *p = PathBuf::from(text);
        };
        for p in [
            &mut self.node.run_dir,
            &mut self.node.state_dir,
            &mut self.path.sysfs,
            &mut self.path.procfs,
            &mut self.path.cgroupfs,
            &mut self.ledger.dir,
        ] {
            replace(p);
        }
        for p in [&mut self.node.nvml_library, &mut self.carbon.series_file].into_iter().flatten() {
            replace(p);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_means_the_documented_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.node.run_dir, Path::new("/run/carbontracker"));
        assert_eq!(config.node.state_dir, Path::new("/var/lib/carbontracker"));
        assert_eq!(config.ledger.dir, Path::new("/var/spool/carbontracker/ledger"));
        assert_eq!(config.power.pue, None);
        assert!(!config.track.default.is_on());
    }

    #[test]
    fn every_key_of_the_design_is_read() {
        let config = parse(
            r#"
            [node]
            service_user = "ct"
            run_dir = "/run/ct/%n"
            state_dir = "/s"
            sample_idle_s = 30
            nvml_library = "/x/libnvidia-ml.so.1"
            [path]
            sysfs = "/a"
            procfs = "/b"
            cgroupfs = "/c"
            [track]
            default = "on"
            allow_stop = true
            stop_grace_s = 5
            confirm_timeout_s = 60
            confirm_default = "n"
            options = { update_interval = 5, log_dir = "x" }
            limits = { update_interval_min_s = 1 }
            [attribution]
            policy = "allocated"
            idle_w = { cpu = 40, gpu = 20.5 }
            [power]
            pue = 1.2
            cpu_tdp_watts = 200
            cpu_idle_watts = 20
            [carbon]
            intensity_g_per_kwh = 143.3
            zone = "DK-DK1"
            country = "dk"
            series_file = "/x/%n.csv"
            series_check_s = 5
            embodied_g_per_node_hour = 5
            water_l_per_kwh = 1.8
            [carbon.fetch]
            provider = "electricitymaps"
            token_file = "/x/token"
            base_url = "http://localhost:1"
            horizon_h = 48
            history_h = 12
            [ledger]
            dir = "/l"
            cluster = "lab"
            [budget]
            timezone = "Europe/Berlin"
            check_s = 5
            [budget.account.physics]
            energy_kwh = 500
            on_budget = "stop"
            [budget.account."*"]
            co2_g = 1000.5
            "#,
        )
        .unwrap()
        .for_node("n1", "h1");
        assert_eq!(config.node.run_dir, Path::new("/run/ct/n1"));
        assert_eq!(config.track.options().unwrap().get("update_interval"), Some("5"));
        assert_eq!(config.track.confirm_default, YesNo::N);
        assert_eq!(config.attribution.policy, Policy::Allocated);
        assert_eq!(config.carbon.intensity_g_per_kwh, Some(143.3));
        assert_eq!(config.carbon.series_file.as_deref(), Some(Path::new("/x/n1.csv")));
        assert_eq!(config.carbon.fetch.provider, Some(Provider::ElectricityMaps));
        assert_eq!(config.budget.of("physics").unwrap().energy_kwh, Some(500.0));
        assert_eq!(config.budget.of("arts").unwrap().co2_g, Some(1000.5));
    }

    #[test]
    fn refusals_say_where_what_and_how_to_mend_it() {
        for (text, parts) in [
            ("[node]\nrundir = 1", &["unknown key \"node.rundir\"", "\"node.run_dir\""][..]),
            ("[nodes]", &["unknown key \"nodes\"", "\"node\""]),
            ("x = 1", &["unknown key \"x\""]),
            ("[track.limits]\nfoo = 1", &["unknown key \"track.limits.foo\""]),
            ("[power]\npue = 0.5", &["power.pue is 0.5", "1"]),
            ("[power]\npue = \"a\"", &["line 2"]),
            ("[track.options]\nepochs = 0", &["track.options.epochs", "whole number"]),
            ("[track.options]\nsim_cpu = \"X\"", &["track.options.sim_cpu", "sim_cpu_tdp"]),
            ("[carbon]\ncountry = \"Denmrak\"", &["carbon.country is \"Denmrak\"", "\"DK\""]),
            ("[carbon]\ncountry = \"XQ\"", &["ISO 3166"]),
            ("[carbon]\nseries_file = \"/x.csv\"", &["carbon.series_file", "carbon.zone"]),
            ("[carbon]\nzone = \"DK\"\nseries_file = \"x\"", &["absolute path"]),
            ("[carbon.fetch]\nprovider = \"electricitymap\"", &["line 2", "electricitymaps"]),
            ("[carbon.fetch]\nprovider = \"electricitymaps\"", &["carbon.fetch.token_file"]),
            ("[carbon.fetch]\nhorizon = 1", &["did you mean \"carbon.fetch.horizon_h\""]),
            ("[carbon.fetch]\nhorizon_h = 1000", &["carbon.fetch.horizon_h is 1000"]),
            ("[carbon.fetch]\nbase_url = \"ftp://x\"", &["carbon.fetch.base_url", "https://"]),
            (
                "[carbon]\nzone = \"DK3\"\nseries_file = \"/x\"\n[carbon.fetch]\nprovider = \"energidataservice\"",
                &["carbon.zone is \"DK3\"", "\"DK1\""],
            ),
            (
                "[carbon]\nzone = \"GB-18\"\nseries_file = \"/x\"\n[carbon.fetch]\nprovider = \"carbonintensity\"",
                &["carbon.zone is \"GB-18\"", "GB-1 to GB-17"],
            ),
            ("[track]\nconfirm_timeout_s = -1", &["track.confirm_timeout_s is -1", "at least 0"]),
            ("[track]\nconfirm_default = \"x\"", &["line 2"]),
            ("[carbon]\nintensity_g_per_kwh = -1", &["carbon.intensity_g_per_kwh is -1"]),
            ("[budget]\nacount = {}", &["did you mean \"budget.account\""]),
            ("[budget.account.a]\nenergy = 1", &["line 2", "energy_kwh"]),
            ("[budget.account.a]\nenergy_kwh = -1", &["budget.account.\"a\".energy_kwh is -1"]),
            ("[budget.account.a]\non_budget = \"warn\"", &["budget.account.\"a\" is empty"]),
            ("[budget.account.a]\nco2_g = 1\non_budget = \"kill\"", &["line 3", "warn"]),
            ("[budget]\ntimezone = \"Mars Base\"", &["budget.timezone is \"Mars Base\""]),
            ("[", &["line 1"]),
        ] {
            let message = parse(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text:?}: {message:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (text, place) in [
            ("[node]\n\nrundir = 1", "configuration c.toml:3: unknown key"),
            ("[power]\npue = 0.5", "configuration c.toml:2: power.pue is 0.5"),
            ("[track]\noptions.epochs = 0", "configuration c.toml:2: track.options.epochs"),
            ("#\n[carbon]\nseries_file = \"/x.csv\"", "configuration c.toml:3: carbon.series_file"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.starts_with(place), "{message}");
        }
    }

    #[test]
    fn a_daemon_that_started_before_a_mistake_is_found_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let text = "[node]\nrun_dir = \"/r/%n\"\nservice_user = \"u\"\n[path]\ncgroupfs = \"/c\"\n\
                    [power]\npeu = 1\n";
        fs::write(&file, text).unwrap();
        assert!(Config::load(Some(&file)).is_err());
        let config = Config::places(Some(&file)).for_node("n1", "h");
        assert_eq!(config.node.run_dir, Path::new("/r/n1"));
        assert_eq!((&*config.node.service_user, config.path.cgroupfs), ("u", "/c".into()));
        fs::write(&file, "[").unwrap();
        assert_eq!(Config::places(Some(&file)), Config::default());
    }

    #[test]
    fn a_missing_named_file_is_an_error() {
        assert!(Config::load(Some(Path::new("/nonexistent/c.toml"))).is_err());
    }
}
