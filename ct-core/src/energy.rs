//! A job's energy, by component and by hour.
//!
//! Comes from [`crate::attribution`] in whole microjoules, goes to [`crate::carbon`] and
//! [`crate::record`]. Adds; never splits: hours are told apart in [`crate::sample`].

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
    /// Adds energy that was drawn in the hour of UTC that starts then.
    pub fn add(
        &mut self,
        hour: DateTime<Utc>,
        energy: ByComponent<Microjoules>,
        idle: ByComponent<Microjoules>,
    ) {
        *self.hours.entry(hour).or_default() += energy;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(uj: u64) -> ByComponent<Microjoules> {
        ByComponent { cpu: Microjoules::new(uj), ..Default::default() }
    }

    #[test]
    fn hours_sum_to_the_total() {
        let mut energy = JobEnergy::default();
        for (hour, uj) in [("10", 1), ("10", 2), ("11", 4)] {
            let hour = format!("2026-01-01T{hour}:00:00Z").parse().unwrap();
            energy.add(hour, cpu(uj), cpu(1));
        }
        let hours = energy.by_hour();
        assert_eq!(hours.iter().map(|h| h.1.as_u64()).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(energy.total().cpu.as_u64(), 7);
        assert_eq!(energy.idle().cpu.as_u64(), 3);
        let json = serde_json::to_string(&hours[0]).unwrap();
        assert_eq!(json, r#"["2026-01-01T10:00:00.000Z",0.000003,0.000000,0.000000,0.000000]"#);
    }
}
