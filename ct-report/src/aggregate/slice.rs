//! Splits a record by hour, so that a job over the end of a month counts in both.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::record::Record;
use ct_core::units::Microjoules;

/// Longest job that is split: ten years of hours. A longer one is a clock gone wrong.
const HOURS_MAX: i64 = 10 * 366 * 24;

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    /// When it begins.
    pub(super) at: DateTime<Utc>,
    /// Its energy.
    pub(super) energy: ByComponent<Microjoules>,
    /// Its share of the record's time, 0 to 1.
    pub(super) time_share: f64,
}

/// The record as one slice.
pub(super) fn whole(record: &Record) -> Slice {
    Slice { at: record.start, energy: record.energy_j, time_share: 1.0 }
}

/// The record by hour of UTC.
///
/// A record without energy by hour is charged to the hour it ends in.
///
/// # Errors
///
/// A record that is longer than ten years. That its hours add up to its energy is the reader's to
/// see.
pub(super) fn by_hour(record: &Record) -> Result<Vec<Slice>, String> {
    let n_hours = (record.end - record.start).num_hours();
    if n_hours > HOURS_MAX {
        return Err(format!("job takes {n_hours} hours, expected {HOURS_MAX} at most"));
    }
    let mut slices = time_by_hour(record);
    let mut charge = |hour: DateTime<Utc>, energy: ByComponent<Microjoules>| {
        let empty = || Slice { at: hour, energy: ByComponent::default(), time_share: 0.0 };
        let slice = slices.entry(hour).or_insert_with(empty);
        for component in Component::ALL {
            let sum = slice.energy.get(component).as_u64();
            let sum = sum.saturating_add(energy.get(component).as_u64());
            *slice.energy.get_mut(component) = Microjoules::new(sum);
        }
    };
    if record.energy_by_hour.is_empty() {
        let last = (record.end - TimeDelta::milliseconds(1)).max(record.start);
        charge(hour_of(last), record.energy_j);
    }
    for hour in &record.energy_by_hour {
        charge(hour_of(hour.0), hour.energy());
    }
    Ok(slices.into_values().collect())
}

/// Slices without energy: the hours from start to end, each with its share of the time.
fn time_by_hour(record: &Record) -> BTreeMap<DateTime<Utc>, Slice> {
    let total_ms = (record.end - record.start).num_milliseconds();
    let mut slices = BTreeMap::new();
    let mut at = record.start;
    while slices.is_empty() || at < record.end {
        let hour = hour_of(at);
        let next = (hour + TimeDelta::hours(1)).min(record.end);
        let ms = (next - at).num_milliseconds();
        let time_share = if total_ms > 0 { ms as f64 / total_ms as f64 } else { 1.0 };
        slices.insert(hour, Slice { at, energy: ByComponent::default(), time_share });
        at = next;
    }
    slices
}

fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}
