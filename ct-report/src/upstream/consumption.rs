//! Upstream's reading of the output log.

use std::sync::LazyLock;

use anyhow::Result;
use regex::{Captures, Regex};
use serde::Serialize;

use super::python::{float, is_space, parse_float, regex};
use super::{as_map, raise};

// Upstream ends both with the lookahead `(?=\d{4}-\d{2}-\d{2}|\Z)`; at the end of a pattern of
// which only groups are used it is the same to consume the text.
static ACTUAL: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)Actual consumption(?:\s*for\s+\d+\s+epochs)?[\s\S]*?Time:\s*(.*)\n\s*Energy:\s*(.*)\s+kWh[\s\S]*?CO2eq:\s*(.*)\s+g(?:\s*This is equivalent to:\s*([\s\S]*?))?(?:\d{4}-\d{2}-\d{2}|\z)",
    )
});
static PREDICTED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)Predicted consumption for (\d*) epoch\(s\):[\s\S]*?Time:\s*(.*)\n\s*Energy:\s*(.*)\s+kWh[\s\S]*?CO2eq:\s*(.*)\s+g(?:\s*This is equivalent to:\s*([\s\S]*?))?(?:\d{4}-\d{2}-\d{2}|\z)",
    )
});
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"(\d+):(\d{2}):(\d\d?(?:.\d{2})?)"));
static EPOCH_TIMES: LazyLock<Regex> =
    LazyLock::new(|| regex(r"Duration: (\d+):(\d{2}):(\d\d?(?:.\d{2})?)"));

/// A consumption block as upstream understands it.
#[derive(Debug, Serialize)]
pub(crate) struct Consumption {
    epochs: u64,
    #[serde(rename = "duration (s)")]
    duration_s: Option<f64>,
    #[serde(rename = "energy (kWh)")]
    pub(super) energy_kwh: f64,
    #[serde(rename = "co2eq (g)")]
    pub(super) co2eq_g: f64,
    #[serde(serialize_with = "as_optional_map")]
    pub(super) equivalents: Option<Vec<(String, f64)>>,
}

impl Consumption {
    /// Whether both say the same number of epochs; upstream takes a measured block for one of 1.
    pub(super) fn is_of_same_epochs(&self, other: &Self) -> bool {
        self.epochs == other.epochs
    }
}

/// Upstream's `get_consumption`: the first measured and the first predicted block.
pub(super) fn get_consumption(text: &str) -> Result<(Option<Consumption>, Option<Consumption>)> {
    let actual = ACTUAL.captures(text).map(|groups| extract(1, &groups, 1)).transpose()?;
    let predicted = PREDICTED.captures(text).map(|groups| extract(epochs(&groups)?, &groups, 2));
    Ok((actual, predicted.transpose()?))
}

fn epochs(groups: &Captures<'_>) -> Result<u64> {
    let text = &groups[1];
    text.parse().map_err(|_| {
        raise(&format!("ValueError: invalid literal for int() with base 10: '{text}'"))
    })
}

fn extract(epochs: u64, groups: &Captures<'_>, from: usize) -> Result<Consumption> {
    let equivalents = groups.get(from + 3).map(|lines| parse_equivalents(lines.as_str()));
    Ok(Consumption {
        epochs,
        duration_s: TIME.captures(&groups[from]).map(|time| seconds(&time)).transpose()?,
        energy_kwh: float(&groups[from + 1])?,
        co2eq_g: float(&groups[from + 2])?,
        equivalents: equivalents.transpose()?,
    })
}

/// The duration of each epoch in a standard log.
pub(super) fn get_epoch_durations(text: &str) -> Result<Vec<f64>> {
    EPOCH_TIMES.captures_iter(text).map(|time| seconds(&time)).collect()
}

fn seconds(groups: &Captures<'_>) -> Result<f64> {
    Ok(float(&groups[1])? * 60.0 * 60.0 + float(&groups[2])? * 60.0 + float(&groups[3])?)
}

fn parse_equivalents(lines: &str) -> Result<Vec<(String, f64)>> {
    let mut found: Vec<(String, f64)> = Vec::new();
    for line in lines.split('\n') {
        let (value, unit) = match line.split_once(' ') {
            Some((value, unit)) => (value, unit),
            None if line.is_empty() => continue,
            None => return Err(raise("IndexError: list index out of range")),
        };
        let Some(number) = parse_float(value).filter(|_| !unit.is_empty()) else { continue };
        let unit = unit.trim_matches(is_space);
        match found.iter_mut().find(|(known, _)| known == unit) {
            Some((_, kept)) => *kept = number,
            None => found.push((unit.to_owned(), number)),
        }
    }
    Ok(found)
}

fn as_optional_map<S: serde::Serializer>(
    pairs: &Option<Vec<(String, f64)>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match pairs {
        Some(pairs) => as_map(pairs, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "\tTime:\t0:00:24\n\tEnergy:\t0.5 kWh\n\tCO2eq:\t2.5 g\n";
    const CAR: &str = "\tThis is equivalent to:\n\t0.25 km travelled by car\n";

    #[test]
    fn a_measured_block_is_always_of_one_epoch() {
        let text = format!("2026-01-01 Actual consumption for 3 epoch(s):\n{TAIL}{CAR}");
        let (actual, predicted) = get_consumption(&text).unwrap();
        let actual = actual.unwrap();
        assert_eq!((actual.epochs, actual.duration_s), (1, Some(24.0)));
        assert_eq!(actual.equivalents, Some(vec![("km travelled by car".to_owned(), 0.25)]));
        assert!(predicted.is_none());
    }

    #[test]
    fn a_block_without_equivalents_is_not_found_before_another_record() {
        let text = format!("Actual consumption for 3 epoch(s):\n{TAIL}");
        // The text must go on with a date at once, or end: `g` and the line's end are in between.
        assert!(get_consumption(&text).unwrap().0.is_none());
        let text = text.trim_end();
        assert!(get_consumption(text).unwrap().0.is_some());
    }

    #[test]
    fn a_thousand_blocks_without_equivalents_take_no_time() {
        let text = format!("Actual consumption for 3 epoch(s):\n{TAIL}").repeat(1000);
        let started = std::time::Instant::now();
        assert!(get_consumption(&text).unwrap().0.is_none());
        assert!(started.elapsed().as_secs() < 10);
    }

    #[test]
    fn values_that_are_no_numbers_raise() {
        let text = format!("Actual consumption:\n{TAIL}{CAR}").replace("0.5", "abc");
        assert!(get_consumption(&text).is_err());
        let text = format!("Predicted consumption for  epoch(s):\n{TAIL}{CAR}");
        assert!(get_consumption(&text).is_err());
        assert!(parse_equivalents("1.5 km\nword\n").is_err());
        assert_eq!(parse_equivalents("1.5 km\nx y\n2 km\n").unwrap(), [("km".to_owned(), 2.0)]);
    }
}
