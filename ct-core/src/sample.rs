//! All counters at one instant, and the difference of two such samples.
//!
//! Comes from [`crate::sampler`], goes to [`crate::attribution`].

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::attribution::apportion;
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

/// How long CPUs were not idle, since boot or between two readings; resolution 10 ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuBusy {
    /// Summed over all of them.
    pub all: Duration,
    /// By number; one that is offline is absent or zero.
    pub by_cpu: Vec<Duration>,
}

impl CpuBusy {
    /// How long they were busy since an earlier reading; nothing for a CPU that was not there then.
    pub fn since(&self, earlier: &Self) -> Self {
        let by_cpu = self.by_cpu.iter().zip(&earlier.by_cpu);
        Self {
            all: self.all.saturating_sub(earlier.all),
            by_cpu: by_cpu.map(|(now, before)| now.saturating_sub(*before)).collect(),
        }
    }
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
    /// How long the CPUs of the node were busy in it; `None` where unknown.
    pub busy: Option<CpuBusy>,
}

impl Interval {
    /// Its length by the monotonic clock.
    pub fn duration(&self) -> Duration {
        self.end.since(&self.start)
    }
}

/// The part of an interval that lies in one hour of UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct HourPart {
    /// Start of the hour.
    pub hour: DateTime<Utc>,
    /// First instant of the part.
    pub start: DateTime<Utc>,
    /// Last instant of the part; the stroke of an hour belongs to the one before.
    pub end: DateTime<Utc>,
    /// Its share of the interval's time, 0 to 1.
    pub share: f64,
    /// Its length by the monotonic clock.
    pub elapsed: Duration,
    /// What each device drew in it; over the parts of an interval these sum to its own.
    pub devices: Vec<Microjoules>,
}

impl Interval {
    /// Its start by the clock on the wall. A clock that was set forward meanwhile would give it hours
    /// that never were: then it is as long as the other clock says.
    fn start_by_the_wall(&self) -> DateTime<Utc> {
        let duration = TimeDelta::from_std(self.duration()).unwrap_or(TimeDelta::zero());
        let is_set_forward = self.end.wall - self.start.wall > duration + TimeDelta::minutes(1);
        if is_set_forward { self.end.wall - duration } else { self.start.wall }
    }

    /// The interval, hour by hour, with the energy of each device split by time.
    ///
    /// Samples are taken at every full hour; an interval crosses one all the same after a gap, or by
    /// the milliseconds a sample came late. Of a clock that was set back the last hour has it all.
    pub fn by_hour(&self) -> Vec<HourPart> {
        let spans = hours_of(self.start_by_the_wall(), self.end.wall);
        let seconds: Vec<f64> = spans.iter().map(|s| (s.2 - s.1).as_seconds_f64()).collect();
        let whole: f64 = seconds.iter().sum();
        let share = |s: f64| if spans.len() == 1 || whole <= 0.0 { 1.0 } else { s / whole };
        let mut parts: Vec<HourPart> = spans
            .iter()
            .zip(&seconds)
            .map(|(&(hour, start, end), seconds)| HourPart {
                hour,
                start,
                end,
                share: share(*seconds),
                elapsed: self.duration().mul_f64(share(*seconds)),
                devices: Vec::with_capacity(self.devices.len()),
            })
            .collect();
        for device in &self.devices {
            let energies = apportion(device.energy, &seconds);
            for (part, energy) in parts.iter_mut().zip(energies) {
                part.devices.push(energy);
            }
        }
        parts
    }
}

/// Longest gap that is split hour by hour; of a longer one the last part is.
const MOST_HOURS: usize = 24 * 366;

/// The hours that a span touches, oldest first: hour, start and end of the part in it.
fn hours_of(
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Vec<(DateTime<Utc>, DateTime<Utc>, DateTime<Utc>)> {
    let start = start.min(end);
    let hour_of = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at);
    let mut hour = hour_of(end - TimeDelta::nanoseconds(1));
    let mut upper = end;
    let mut parts = Vec::new();
    while parts.len() < MOST_HOURS {
        parts.push((hour, start.max(hour), upper));
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

    fn interval(from: &str, to: &str, uj: &[u64]) -> Interval {
        let at = |time: &str, s| Moment {
            since_boot: Duration::from_secs(s),
            wall: format!("2026-01-01T{time}Z").parse().unwrap(),
        };
        let device =
            |uj: &u64| DeviceEnergy { energy: Microjoules::new(*uj), ..DeviceEnergy::default() };
        Interval {
            start: at(from, 0),
            end: at(to, 6300),
            devices: uj.iter().map(device).collect(),
            busy: None,
        }
    }

    #[test]
    fn an_interval_over_several_hours_is_split_by_time() {
        // A quarter of an hour, an hour and half an hour, of 105 minutes.
        let parts = interval("09:45:00", "11:30:00", &[105, 1]).by_hour();
        let of = |i: usize| parts.iter().map(|p| p.devices[i].as_u64()).collect::<Vec<_>>();
        assert_eq!((of(0), of(1)), (vec![15, 60, 30], vec![0, 1, 0]));
        let seconds: Vec<f64> = parts.iter().map(|p| p.elapsed.as_secs_f64().round()).collect();
        assert_eq!(seconds, [900.0, 3600.0, 1800.0]);
        let ends: Vec<_> = parts.iter().map(|p| (p.start, p.end)).collect();
        assert!(ends.windows(2).all(|w| w[0].1 == w[1].0), "{ends:?}");
        assert!(parts.iter().skip(1).all(|p| p.start == p.hour));
    }

    #[test]
    fn the_stroke_belongs_to_the_hour_before_and_a_clock_set_back_costs_nothing() {
        let parts = interval("10:30:00", "11:00:00", &[7]).by_hour();
        assert_eq!((parts.len(), parts[0].hour.to_rfc3339().get(11..13)), (1, Some("10")));
        let parts = interval("11:30:00", "10:30:00", &[5]).by_hour();
        assert_eq!((parts.len(), parts[0].devices[0].as_u64(), parts[0].share), (1, 5, 1.0));
        assert_eq!(parts[0].start, parts[0].end);
    }

    #[test]
    fn a_clock_set_forward_makes_no_hours_that_never_were() {
        // 105 minutes by the clock that nobody sets, ten hours by the other.
        let parts = interval("01:30:00", "11:30:00", &[105]).by_hour();
        let energies: Vec<u64> = parts.iter().map(|p| p.devices[0].as_u64()).collect();
        assert_eq!(energies, [15, 60, 30]);
    }
}
