//! A run hour by hour: what it drew.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::energy::Component;
use ct_core::record::Brief;

use super::Run;
use crate::aggregate::slice::energy_by_hour;

/// An hour of a run, all nodes together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hour {
    /// Its start.
    pub(crate) start: DateTime<Utc>,
    /// Energy by component in microjoules, in the order of [`Component::ALL`].
    pub(crate) energy_uj: [u128; 4],
    /// How much of the hour the run took, in seconds.
    pub(crate) seconds: f64,
}

impl Hour {
    /// Mean power of a component in watts while the run lasted; nothing where it took no time.
    pub(crate) fn power_w(&self, component: usize) -> f64 {
        let joules = self.energy_uj.get(component).copied().unwrap_or_default() as f64 / 1e6;
        if self.seconds > 0.0 { joules / self.seconds } else { 0.0 }
    }

    /// Mean power of all components in watts.
    pub(crate) fn total_w(&self) -> f64 {
        (0..4).map(|component| self.power_w(component)).sum()
    }
}

/// The hours of a run that have energy, in order.
pub(crate) fn hours(run: &Run) -> Vec<Hour> {
    let mut by_hour: BTreeMap<DateTime<Utc>, [u128; 4]> = BTreeMap::new();
    for record in run.records() {
        for (hour, energy) in energy_by_hour(&Brief::from(record)) {
            let sums = by_hour.entry(hour).or_default();
            for (sum, component) in sums.iter_mut().zip(Component::ALL) {
                *sum += u128::from(energy.get(component).as_u64());
            }
        }
    }
    let (from, to) = (run.start(), run.end());
    let hour = |(start, energy_uj): (DateTime<Utc>, _)| {
        let within = (start + TimeDelta::hours(1)).min(to) - start.max(from);
        Hour { start, energy_uj, seconds: within.as_seconds_f64().max(0.0) }
    };
    by_hour.into_iter().map(hour).collect()
}
