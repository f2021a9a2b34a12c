//! A job's energy, by component and by hour.
//!
//! Comes from [`crate::attribution`] in whole microjoules, goes to [`crate::carbon`] and
//! [`crate::record`]. Adds; never splits.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::attribution::apportion;
use crate::units::Microjoules;

/// What draws power, as logs and records tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// CPU packages.
    Cpu,
    /// Memory with a meter of its own.
    Dram,
    /// GPUs and other accelerators.
    Gpu,
    /// What a meter of the whole node sees beyond the others.
    Rest,
}

impl Component {
    /// All of them, in the order of the record's columns.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Dram, Self::Gpu, Self::Rest];

    /// The name used in logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Dram => "dram",
            Self::Gpu => "gpu",
            Self::Rest => "rest",
        }
    }
}

/// One value for each component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByComponent<T> {
    /// CPU packages.
    pub cpu: T,
    /// Memory.
    pub dram: T,
    /// GPUs.
    pub gpu: T,
    /// The rest of the node.
    pub rest: T,
}

impl<T> ByComponent<T> {
    /// The value of one component.
    pub fn get(&self, component: Component) -> &T {
        match component {
            Component::Cpu => &self.cpu,
            Component::Dram => &self.dram,
            Component::Gpu => &self.gpu,
            Component::Rest => &self.rest,
        }
    }

    /// The value of one component, to change it.
    pub fn get_mut(&mut self, component: Component) -> &mut T {
        match component {
            Component::Cpu => &mut self.cpu,
            Component::Dram => &mut self.dram,
            Component::Gpu => &mut self.gpu,
            Component::Rest => &mut self.rest,
        }
    }
}

impl ByComponent<Microjoules> {
    /// Sum over the components.
    pub fn total(&self) -> Microjoules {
        self.cpu + self.dram + self.gpu + self.rest
    }

    /// Component by component `self - earlier`, never below zero.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut out = Self::default();
        for c in Component::ALL {
            *out.get_mut(c) = self.get(c).saturating_sub(*earlier.get(c));
        }
        out
    }
}

impl<T: AddAssign + Copy> AddAssign for ByComponent<T> {
    fn add_assign(&mut self, other: Self) {
        for c in Component::ALL {
            *self.get_mut(c) += *other.get(c);
        }
    }
}

impl<T: AddAssign + Copy> Add for ByComponent<T> {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// Energy within one hour of UTC: `[hour, cpu_j, dram_j, gpu_j, rest_j]` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourEnergy(
    /// Start of the hour.
    #[serde(with = "crate::record::timestamp")]
    pub DateTime<Utc>,
    /// CPU packages.
    pub Microjoules,
    /// Memory.
    pub Microjoules,
    /// GPUs.
    pub Microjoules,
    /// The rest of the node.
    pub Microjoules,
);

impl HourEnergy {
    /// The energies by component.
    pub fn energy(&self) -> ByComponent<Microjoules> {
        ByComponent { cpu: self.1, dram: self.2, gpu: self.3, rest: self.4 }
    }
}

/// Energy of one job on one node since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobEnergy {
    hours: BTreeMap<DateTime<Utc>, ByComponent<Microjoules>>,
    total: ByComponent<Microjoules>,
    idle: ByComponent<Microjoules>,
}

impl JobEnergy {
    /// Adds the energy of an interval.
    ///
    /// Samples are taken at every full hour; an interval that crosses one all the same (after a
    /// gap, or by the milliseconds the sample came late) is split by time.
    pub fn add(
        &mut self,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        energy: ByComponent<Microjoules>,
        idle: ByComponent<Microjoules>,
    ) {
        let parts = parts_by_hour(start, end);
        let weights: Vec<f64> = parts.iter().map(|(_, seconds)| *seconds).collect();
        for c in Component::ALL {
            let shares = apportion(*energy.get(c), &weights);
            for ((hour, _), share) in parts.iter().zip(shares) {
                *self.hours.entry(*hour).or_default().get_mut(c) += share;
            }
        }
        self.total += energy;
        self.idle += idle;
    }

    /// Energy by component.
    pub fn total(&self) -> ByComponent<Microjoules> {
        self.total
    }

    /// Its idle part.
    pub fn idle(&self) -> ByComponent<Microjoules> {
        self.idle
    }

    /// Energy by hour, oldest first; sums to [`Self::total`].
    pub fn by_hour(&self) -> Vec<HourEnergy> {
        let line = |(h, e): (&DateTime<Utc>, &ByComponent<Microjoules>)| {
            HourEnergy(*h, e.cpu, e.dram, e.gpu, e.rest)
        };
        self.hours.iter().map(line).collect()
    }
}

/// Longest gap that is split hour by hour; of a longer one the last part is.
const MOST_HOURS: usize = 24 * 366;

/// The hours of a span with the seconds in each. The stroke of an hour belongs to the one before.
fn parts_by_hour(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<(DateTime<Utc>, f64)> {
    let hour_of = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at);
    let mut hour = hour_of(end - TimeDelta::nanoseconds(1));
    let mut upper = end;
    let mut parts = Vec::new();
    while parts.len() < MOST_HOURS {
        let lower = start.max(hour);
        parts.push((hour, (upper - lower).as_seconds_f64()));
        if start >= hour {
            break;
        }
        (upper, hour) = (hour, hour - TimeDelta::hours(1));
    }
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(uj: u64) -> ByComponent<Microjoules> {
        ByComponent { cpu: Microjoules::new(uj), ..Default::default() }
    }

    #[test]
    fn an_interval_over_several_hours_is_split_by_time() {
        let at = |time: &str| format!("2026-01-01T{time}Z").parse().unwrap();
        let mut energy = JobEnergy::default();
        // A quarter of an hour, an hour and half an hour, of 105 minutes.
        energy.add(at("09:45:00"), at("11:30:00"), cpu(105), cpu(0));
        let hours: Vec<_> = energy.by_hour().iter().map(|h| h.1.as_u64()).collect();
        assert_eq!(hours, [15, 60, 30]);
        // A clock that was set back costs no energy.
        energy.add(at("11:30:00"), at("10:30:00"), cpu(5), cpu(0));
        assert_eq!(energy.by_hour().iter().map(|h| h.1.as_u64()).sum::<u64>(), 110);
    }

    #[test]
    fn hours_sum_to_the_total_and_the_stroke_belongs_to_the_hour_before() {
        let mut energy = JobEnergy::default();
        for (from, to, uj) in
            [("10:00:00", "10:30:00", 1), ("10:30:00", "11:00:00", 2), ("11:00:00", "11:00:01", 4)]
        {
            let at = |time: &str| format!("2026-01-01T{time}Z").parse().unwrap();
            energy.add(at(from), at(to), cpu(uj), cpu(1));
        }
        let hours = energy.by_hour();
        assert_eq!(hours.iter().map(|h| h.1.as_u64()).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(energy.total().cpu.as_u64(), 7);
        assert_eq!(energy.idle().cpu.as_u64(), 3);
        let json = serde_json::to_string(&hours[0]).unwrap();
        assert_eq!(json, r#"["2026-01-01T10:00:00.000Z",0.000003,0.000000,0.000000,0.000000]"#);
    }
}
