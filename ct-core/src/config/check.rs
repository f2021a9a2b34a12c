//! Which keys exist and which values they allow.

use std::path::Path;

use toml::{Table, Value};

use super::keys::names_in;
use super::{Config, ConfigError, carbon};
use crate::option::Settings;
use crate::suggest::nearest;

pub(super) fn known_keys(table: &Table, path: &Path) -> Result<(), ConfigError> {
    known_section("", table, path)
}

fn known_section(section: &str, table: &Table, path: &Path) -> Result<(), ConfigError> {
    let Some(known) = names_in(section) else { return Ok(()) };
    let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
    for (name, value) in table {
        if !known.contains(&name.as_str()) {
            return Err(unknown(path, &prefix, name, &known));
        }
        if let Value::Table(inner) = value {
            known_section(&format!("{prefix}{name}"), inner, path)?;
        }
    }
    Ok(())
}

fn unknown(path: &Path, prefix: &str, key: &str, known: &[&str]) -> ConfigError {
    ConfigError::UnknownKey {
        path: path.to_owned(),
        line: None,
        key: format!("{prefix}{key}"),
        nearest: nearest(key, known.iter().copied()).map(|n| format!("{prefix}{n}")),
    }
}

pub(super) fn values(config: &Config, path: &Path) -> Result<(), ConfigError> {
    let bad = |key: &str, value: String, expected: &str| {
        Err(ConfigError::BadValue {
            path: path.to_owned(),
            line: None,
            key: key.to_owned(),
            value,
            expected: expected.to_owned(),
        })
    };
    let options = config.track.options();
    if let Err(source) = options.and_then(|set| Settings::resolve(&set)) {
        return Err(ConfigError::Option { path: path.to_owned(), line: None, source });
    }
    if let Some(pue) = config.power.pue.filter(|p| !(p.is_finite() && *p >= 1.0)) {
        return bad("power.pue", pue.to_string(), "a number of at least 1");
    }
    for (key, value) in amounts(config) {
        if let Some(v) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
            return bad(key, v.to_string(), "a number of at least 0");
        }
    }
    let seconds = [
        ("node.sample_idle_s", config.node.sample_idle_s),
        ("track.limits.update_interval_min_s", config.track.limits.update_interval_min_s),
        ("carbon.series_check_s", config.carbon.series_check_s),
    ];
    for (key, value) in seconds {
        if !(0.1..=3600.0).contains(&value) {
            return bad(key, value.to_string(), "a number of seconds from 0.1 to 3600");
        }
    }
    if let Err((key, value, expected)) = carbon::check(&config.carbon) {
        return bad(key, value, &expected);
    }
    if let Err((key, value, expected)) = config.budget.check() {
        return bad(&key, value, &expected);
    }
    Ok(())
}

fn amounts(config: &Config) -> [(&'static str, Option<f64>); 11] {
    let (idle, track) = (&config.attribution.idle_w, &config.track);
    [
        ("track.stop_grace_s", Some(track.stop_grace_s)),
        ("track.confirm_timeout_s", Some(track.confirm_timeout_s)),
        ("attribution.idle_w.cpu", idle.cpu),
        ("attribution.idle_w.dram", idle.dram),
        ("attribution.idle_w.gpu", idle.gpu),
        ("attribution.idle_w.rest", idle.rest),
        ("power.cpu_tdp_watts", config.power.cpu_tdp_watts),
        ("power.cpu_idle_watts", config.power.cpu_idle_watts),
        ("carbon.intensity_g_per_kwh", config.carbon.intensity_g_per_kwh),
        ("carbon.embodied_g_per_node_hour", config.carbon.embodied_g_per_node_hour),
        ("carbon.water_l_per_kwh", config.carbon.water_l_per_kwh),
    ]
}
