//! All counters at one instant, and the difference of two such samples.
//!
//! Comes from [`crate::sampler`], goes to [`crate::attribution`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::units::Microjoules;

/// An instant by both clocks: durations come from the monotonic one, labels from the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`): comparable across restarts of ours.
    pub since_boot: Duration,
    /// UTC.
    #[serde(with = "crate::record::timestamp")]
    pub wall: DateTime<Utc>,
}

impl Moment {
    /// Time from `earlier` to `self`; zero where that would be negative.
    pub fn since(&self, earlier: &Self) -> Duration {
        self.since_boot.saturating_sub(earlier.since_boot)
    }
}

/// What one device drew in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceEnergy {
    /// Energy since the last reading that succeeded.
    pub energy: Microjoules,
    /// Whether the device answered at both ends, and its counter cannot have wrapped unseen.
    pub answered: bool,
    /// Time since that reading; longer than the interval where the device did not answer before.
    pub span: Duration,
}

/// The difference of two samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its first instant.
    pub start: Moment,
    /// Its last instant.
    pub end: Moment,
    /// Energy by device, in the sampler's order of devices.
    pub devices: Vec<DeviceEnergy>,
    /// CPU time of all CPUs of the node that was not idle; `None` where unknown.
    pub busy: Option<Duration>,
}

impl Interval {
    /// Its length by the monotonic clock.
    pub fn duration(&self) -> Duration {
        self.end.since(&self.start)
    }
}
