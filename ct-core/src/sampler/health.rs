//! Whether a reading is to be believed, and what is lost where it is not.
//!
//! A device that fails is set aside, looked at again at every sample, and taken back with its first
//! reading that fits. Its counter went on meanwhile, so nothing is lost but the time at which the
//! energy was drawn; unless the counter started anew, or counts only what it sees.

use std::time::Duration;

use chrono::SecondsFormat;

use crate::counter::difference;
use crate::sample::{DeviceEnergy, Moment};
use crate::source::{Device, ReadError};
use crate::units::Microjoules;

/// A counter may be behind by this much: slow ones are refreshed once a second, and it may have
/// taken its time to answer.
const LATE: Duration = Duration::from_secs(2);

/// A reading and its instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) count: u64,
    pub(super) at: Moment,
}

/// What one device did in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    pub(super) drawn: DeviceEnergy,
    /// Whether it was read at the end of the interval.
    pub(super) is_current: bool,
    /// Whether energy was drawn that nobody will ever know.
    pub(super) is_lost: bool,
}

/// One device from sample to sample.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The last reading that was believed.
    good: Option<Reading>,
    /// A reading that does not fit it: the counter started anew, or read wrong.
    doubtful: Option<Reading>,
    outage: Option<Outage>,
}

/// A time without a reading that could be believed.
#[derive(Debug)]
struct Outage {
    since: Moment,
    reason: String,
}

/// Energy between two readings, and whether the later one was the doubtful one's successor.
struct Fit {
    energy: Microjoules,
    from: Reading,
    is_new_start: bool,
}

impl Track {
    /// The last reading that was believed.
    pub(super) fn last(&self) -> Option<Reading> {
        self.good
    }

    /// Takes up the reading of an earlier life.
    pub(super) fn resume(&mut self, reading: Option<Reading>) {
        *self = Self { good: reading, ..Self::default() };
    }

    /// The outage that goes on, in words.
    pub(super) fn outage(&self, device: &Device) -> Option<String> {
        let outage = self.outage.as_ref()?;
        let since = timestamp(&outage.since);
        let (name, reason) = (&device.name, &outage.reason);
        Some(format!("{name}: {reason}; its energy is not included since {since}"))
    }

    /// Takes a reading; says what was drawn since `last`, the sample before, and an outage that is
    /// over, in words.
    pub(super) fn take(
        &mut self,
        device: &Device,
        reading: Result<u64, ReadError>,
        last: Option<Moment>,
        at: Moment,
    ) -> (Step, Option<String>) {
        let count = match reading {
            Ok(count) => count,
            Err(e) => {
                let is_anew = matches!(e, ReadError::Restarted { .. });
                // It vanished, and now there is one in its place that is closed to us.
                let is_news = matches!(e, ReadError::Lost { .. });
                self.fail(device, e.to_string(), last.unwrap_or(at), is_news);
                if is_anew {
                    (self.good, self.doubtful) = (None, None);
                }
                return (Step::missed(last, at, is_anew), None);
            }
        };
        let now = Reading { count, at };
        let Some(good) = self.good else {
            self.good = Some(now);
            let step = Step { is_current: true, ..Step::missed(last, at, true) };
            return (step, self.recover(device, at, true));
        };
        match self.fit(device, now) {
            Some(fit) => self.accept(device, &fit, now),
            None => {
                self.fail(device, misfit(device, good, now), good.at, false);
                self.doubtful = Some(now);
                (Step::missed(last, at, false), None)
            }
        }
    }

    /// The least energy that explains the reading, if any does.
    fn fit(&self, device: &Device, now: Reading) -> Option<Fit> {
        let readings = [(self.good, false), (self.doubtful, true)];
        let fits = readings.into_iter().filter_map(|(reading, is_new_start)| {
            let from = reading?;
            let energy = plausible(device, from, now)?;
            Some(Fit { energy, from, is_new_start })
        });
        fits.min_by_key(|fit| fit.energy)
    }

    fn accept(&mut self, device: &Device, fit: &Fit, now: Reading) -> (Step, Option<String>) {
        let span = now.at.since(&fit.from.at);
        // More than one start from 0 cannot be told from one.
        let is_sure = longest_gap(device).is_none_or(|gap| span <= gap);
        let is_partial = device.is_integrated && self.outage.is_some();
        let drawn = DeviceEnergy { energy: fit.energy, answered: is_sure && !is_partial, span };
        let is_lost = fit.is_new_start || is_partial || !is_sure;
        let until = if fit.is_new_start { fit.from.at } else { now.at };
        (self.good, self.doubtful) = (Some(now), None);
        (Step { drawn, is_current: true, is_lost }, self.recover(device, until, is_lost))
    }

    fn fail(&mut self, device: &Device, reason: String, since: Moment, is_news: bool) {
        let since = match &self.outage {
            Some(outage) if !is_news || outage.reason == reason => return,
            Some(outage) => outage.since,
            None => self.good.map_or(since, |good| good.at),
        };
        log::warn!("{} ({}): {reason}; it is set aside", device.name, device.id);
        self.outage = Some(Outage { since, reason });
    }

    fn recover(&mut self, device: &Device, until: Moment, is_lost: bool) -> Option<String> {
        let outage = self.outage.take()?;
        let (since, until) = (timestamp(&outage.since), timestamp(&until));
        let what = if is_lost {
            format!("its energy is not included from {since} to {until}")
        } else {
            format!(
                "its energy from {since} to {until} is included, when it was drawn is not known"
            )
        };
        log::info!("{} ({}): answers again; {what}", device.name, device.id);
        Some(format!("{}: {}; {what}", device.name, outage.reason))
    }
}

impl Step {
    /// No energy known of the time since the last sample.
    fn missed(last: Option<Moment>, at: Moment, is_lost: bool) -> Self {
        let span = last.map_or(Duration::ZERO, |last| at.since(&last));
        let drawn = DeviceEnergy { span, ..DeviceEnergy::default() };
        Self { drawn, is_current: false, is_lost }
    }
}

/// Energy between two readings, where the device can have drawn that much.
fn plausible(device: &Device, from: Reading, to: Reading) -> Option<Microjoules> {
    let counts = difference(from.count, to.count, device.modulus)?;
    let uj = u128::from(counts) * u128::from(device.unit_uj);
    // 1 W for 1 µs is 1 µJ.
    let micros = (to.at.since(&from.at) + LATE).as_micros();
    let most = micros * u128::from(device.max_power_w);
    (uj <= most).then(|| Microjoules::new(u64::try_from(uj).unwrap_or(u64::MAX)))
}

/// Why a reading is not believed.
fn misfit(device: &Device, from: Reading, to: Reading) -> String {
    if to.count < from.count {
        return format!("its counter went back from {} to {}", from.count, to.count);
    }
    let (counts, watts) = (to.count - from.count, device.max_power_w);
    let seconds = to.at.since(&from.at).as_secs_f64();
    format!("its counter jumped by {counts} in {seconds:.1} s, more than {watts} W can explain")
}

/// The time in which a device's counter cannot wrap twice.
pub(super) fn longest_gap(device: &Device) -> Option<Duration> {
    let joules = device.modulus?.saturating_mul(device.unit_uj) as f64 * 1e-6;
    Duration::try_from_secs_f64(joules / f64::from(device.max_power_w)).ok()
}

/// Seconds are enough to find the time in other logs.
pub(super) fn timestamp(at: &Moment) -> String {
    at.wall.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
