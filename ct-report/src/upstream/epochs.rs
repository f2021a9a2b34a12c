//! Upstream's reading of the standard log.

use std::sync::LazyLock;

use anyhow::Result;
use regex::Regex;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::consumption::get_epoch_durations;
use super::python::{float, regex};
use super::raise;

static COMPONENTS: LazyLock<Regex> =
    LazyLock::new(|| regex(r"The following components were found:(.*)\n"));
static DEVICES: LazyLock<Regex> = LazyLock::new(|| regex(r" (.*?) with device\(s\) (.*?)\."));
static POWER: LazyLock<Regex> =
    LazyLock::new(|| regex(r"Average power usage \(W\) for (.+): (\[?[0-9\.]+\]?|None)"));
static EARLY_STOP: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)Training was interrupted"));

/// Upstream's `parse_logs`, component by component.
#[derive(Debug)]
pub(super) struct Components(Vec<(String, Component)>);

#[derive(Debug, Serialize)]
struct Component {
    #[serde(rename = "avg_power_usages (W)")]
    power_w: Option<Vec<[f64; 1]>>,
    #[serde(rename = "avg_energy_usages (J)")]
    energy_j: Option<Vec<[f64; 1]>>,
    #[serde(rename = "epoch_durations (s)")]
    duration_s: Option<Vec<f64>>,
    devices: Vec<String>,
}

impl Serialize for Components {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, component) in &self.0 {
            map.serialize_entry(name, component)?;
        }
        map.end()
    }
}

/// Whether the log says that the training was stopped.
pub(super) fn is_early_stop(text: &str) -> bool {
    EARLY_STOP.is_match(text)
}

/// Devices, power and energy of each component.
pub(super) fn parse_logs(text: &str) -> Result<Components> {
    let durations = get_epoch_durations(text)?;
    let powers = get_avg_power_usages(text)?;
    let components = get_devices(text).into_iter().map(|(name, devices)| {
        let own = powers.iter().find(|(component, _)| *component == name);
        let power_w = match own {
            Some((_, watts)) => Some(watts.clone()),
            None if powers.is_empty() => None,
            None => return Err(raise(&format!("KeyError: '{name}'"))),
        };
        let duration_s = (!durations.is_empty()).then(|| durations.clone());
        let energy_j = energies(power_w.as_deref(), duration_s.as_deref())?;
        Ok((name, Component { power_w, energy_j, duration_s, devices }))
    });
    components.collect::<Result<_>>().map(Components)
}

fn energies(
    power_w: Option<&[[f64; 1]]>,
    duration_s: Option<&[f64]>,
) -> Result<Option<Vec<[f64; 1]>>> {
    let (Some(power_w), Some(duration_s)) = (power_w, duration_s) else { return Ok(None) };
    if power_w.len() != duration_s.len() {
        return Err(raise(&format!(
            "MismatchedEpochsError: Found {} power measurements and {} duration measurements. \
             Expected equal number of measurements.",
            power_w.len(),
            duration_s.len()
        )));
    }
    Ok(Some(power_w.iter().zip(duration_s).map(|([watts], seconds)| [watts * seconds]).collect()))
}

/// Names are cut at their first dot, and keep the blank before them.
fn get_devices(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let Some(sentence) = COMPONENTS.captures(text) else { return found };
    for groups in DEVICES.captures_iter(sentence.get(1).map_or("", |rest| rest.as_str())) {
        let name = groups[1].to_lowercase();
        let devices = groups[2].split(',').map(str::to_owned).collect();
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, kept)) => *kept = devices,
            None => found.push((name, devices)),
        }
    }
    found
}

/// Power of each epoch by component: the first device's, up to an exponent, and 0 where unknown.
fn get_avg_power_usages(text: &str) -> Result<Vec<(String, Vec<[f64; 1]>)>> {
    let mut found: Vec<(String, Vec<[f64; 1]>)> = Vec::new();
    for groups in POWER.captures_iter(text) {
        let watts = match &groups[2] {
            "None" => 0.0,
            value => float(value.trim_matches('[').trim_matches(']'))?,
        };
        match found.iter_mut().find(|(known, _)| *known == groups[1]) {
            Some((_, all)) => all.push([watts]),
            None => found.push((groups[1].to_owned(), vec![[watts]])),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(devices: &str, power: &str) -> Result<Components> {
        parse_logs(&format!(
            "The following components were found: {devices}\nDuration: 0:00:02.00\n\
             Average power usage (W) for gpu: {power}\n"
        ))
    }

    #[test]
    fn values_are_cut_as_upstream_cuts_them() {
        for (power, watts) in
            [("8.4e-05", 8.4), ("[200.  55.]", 200.0), ("[9.5 1.0]", 9.5), ("None", 0.0)]
        {
            let components = read("GPU with device(s) A v1.2, B.", power).unwrap();
            let (name, component) = &components.0[0];
            assert_eq!((name.as_str(), &component.devices[0]), ("gpu", &"A v1".to_owned()));
            assert_eq!(component.power_w, Some(vec![[watts]]), "{power}");
            assert_eq!(component.energy_j, Some(vec![[watts * 2.0]]), "{power}");
        }
    }

    #[test]
    fn what_upstream_raises_is_raised() {
        assert!(read("GPU with device(s) A. CPU with device(s) B.", "1.0").is_err());
        let twice = "1.0\nAverage power usage (W) for gpu: 2.0";
        assert!(read("GPU with device(s) A.", twice).is_err());
        assert!(read("GPU with device(s) A.", "..").is_err());
    }
}
