//! What a standard log holds: sessions, their epochs and the power of each component.

use std::borrow::Cow;

use super::Skipped;
use super::components::Devices;

/// Who wrote a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writer {
    /// Python carbontracker: since 2.0.0 a scalar is the mean over a component's devices.
    #[default]
    Python,
    /// This project: a scalar is the sum over a component's devices.
    Slurm,
}

/// Mean power of one component over an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Power<'a> {
    /// Component, in the log's words: `gpu`, `cpu`.
    pub component: Cow<'a, str>,
    /// Watts: one value for each device (1.x) or one in all; `None` where it is unknown. A device
    /// without a value is NaN.
    pub watts: Option<Vec<f64>>,
    /// Whether the log held one value for all devices.
    pub is_scalar: bool,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Epoch<'a> {
    /// Number, from 1.
    pub number: u64,
    /// Duration in seconds; `None` where it could not be read.
    pub duration_s: Option<f64>,
    /// Power of each component, in the log's order.
    pub power: Vec<Power<'a>>,
}

/// What one tracker wrote, from its version record on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session<'a> {
    /// Version of the writer; `None` where the file does not begin with one.
    pub version: Option<Cow<'a, str>>,
    /// Who wrote it.
    pub writer: Writer,
    /// PUE that energies in the output log include; `None` up to 1.0.7, which knew none.
    pub pue: Option<f64>,
    /// Devices of each component.
    pub devices: Vec<Devices<'a>>,
    /// Epochs that ended.
    pub epochs: Vec<Epoch<'a>>,
    /// Whether the training was stopped before all epochs were monitored.
    pub is_early_stop: bool,
    /// Epochs that were to be monitored, where it was stopped early; -1 for all.
    pub interrupted_of: Option<i64>,
    /// Whether monitoring ended; it does not where the process was killed.
    pub is_ended: bool,
    /// Whether the log says that its energy is that of simulated components.
    pub is_simulated: bool,
    /// Intensities fetched, in gCO2e/kWh.
    pub intensities: Option<Vec<f64>>,
    /// Their mean, as logged.
    pub mean_intensity: Option<f64>,
    /// Place they hold for.
    pub location: Option<Cow<'a, str>>,
    /// Local time of the first record, `YYYY-MM-DD HH:MM:SS`.
    pub start: &'a str,
    /// Local time of the last record.
    pub end: &'a str,
    /// Whether several trackers wrote to this file at once: the epochs cannot be told apart.
    pub is_interleaved: bool,
    pub(super) sums: Sums,
}

/// What the epochs of a session come to, added up as each one ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sums {
    logged_j: f64,
    all_devices_j: f64,
    /// How many times the logged power that of all devices is, if it is the same everywhere.
    factor: Option<f64>,
    has_several_factors: bool,
}

impl Sums {
    fn add_factor(&mut self, factor: f64) {
        let first = *self.factor.get_or_insert(factor);
        self.has_several_factors |= factor != first;
    }
}

/// How many times the logged energy of sessions that of all devices is; `None` where it cannot be
/// told.
pub(super) fn common_factor(sessions: &[Session<'_>]) -> Option<f64> {
    let mut factors = sessions.iter().filter_map(|session| session.sums.factor);
    let first = factors.next().unwrap_or(1.0);
    let has_several = sessions.iter().any(|session| session.sums.has_several_factors);
    if !has_several && factors.all(|factor| factor == first) {
        return Some(first);
    }
    let sum = |is_all| sessions.iter().map(|s| s.energy_kwh(is_all)).sum::<f64>();
    Some(sum(true) / sum(false)).filter(|ratio| ratio.is_finite())
}

impl Session<'_> {
    /// How many times a component's logged power its whole power is.
    pub fn devices_factor(&self, power: &Power<'_>) -> f64 {
        if !power.is_scalar || self.writer != Writer::Python {
            return 1.0;
        }
        let devices = self.devices.iter().find(|d| d.component == power.component);
        devices.map_or(1.0, Devices::count)
    }

    /// Energy of the epochs in kWh, PUE included, reckoned from their power and duration.
    ///
    /// As logged, or of all devices where the log has their mean. Unknown power counts nothing.
    pub fn energy_kwh(&self, is_all_devices: bool) -> f64 {
        let joules = if is_all_devices { self.sums.all_devices_j } else { self.sums.logged_j };
        joules * self.pue.unwrap_or(1.0) / 3_600_000.0
    }

    /// Adds the last epoch to the sums: it has all its powers.
    pub(super) fn close_epoch(&mut self) {
        let Some(epoch) = self.epochs.last() else { return };
        let mut sums = std::mem::take(&mut self.sums);
        let (mut logged_w, mut all_devices_w) = (0.0, 0.0);
        for power in &epoch.power {
            let factor = self.devices_factor(power);
            let watts = power.watts.iter().flatten().filter(|w| !w.is_nan()).sum::<f64>();
            logged_w += watts;
            all_devices_w += watts * factor;
            sums.add_factor(factor);
        }
        let duration_s = epoch.duration_s.unwrap_or(0.0);
        sums.logged_j += logged_w * duration_s;
        sums.all_devices_j += all_devices_w * duration_s;
        self.sums = sums;
    }
}

/// A standard log, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StandardLog<'a> {
    /// Sessions in the order of the file.
    pub sessions: Vec<Session<'a>>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
}

#[cfg(test)]
mod tests {
    use crate::log::parser::parse_standard;

    fn log(version: &str, devices: &str, power: &str) -> String {
        let mut text = String::new();
        for message in [
            &format!("carbontracker version {version}"),
            "multiplied by a PUE coefficient of 1.50 (somebody)",
            &format!("The following components were found: {devices}"),
            "Epoch 1:",
            "Duration: 1:00:00",
            power,
        ] {
            text.push_str(&format!("2026-01-01 00:00:00 - {message}\n"));
        }
        text
    }

    fn energies(log: &str) -> (f64, f64) {
        let log = parse_standard(log.as_bytes());
        (log.sessions[0].energy_kwh(false), log.sessions[0].energy_kwh(true))
    }

    #[test]
    fn a_mean_over_devices_is_multiplied_back_and_a_sum_is_not() {
        let two = "GPU with device(s) A, B.";
        let scalar = "Average power usage (W) for gpu: 1000.0";
        // 1 kW for 1 h at PUE 1.5 = 1.5 kWh; two devices at that mean use twice as much.
        assert_eq!(energies(&log("2.4.7", two, scalar)), (1.5, 3.0));
        assert_eq!(energies(&log("0.1.0 (carbontracker-slurm)", two, scalar)), (1.5, 1.5));
        let apple = "GPU with device(s) GPU, ANE.";
        assert_eq!(energies(&log("2.4.7", apple, scalar)), (1.5, 1.5));
        let array = "Average power usage (W) for gpu: [400. 600.]";
        assert_eq!(energies(&log("1.2.5", two, array)), (1.5, 1.5));
    }

    #[test]
    fn unknown_power_counts_nothing() {
        let two = "GPU with device(s) A, B.";
        let none = "Average power usage (W) for gpu: None";
        assert_eq!(energies(&log("2.4.7", two, none)), (0.0, 0.0));
        let half = "Average power usage (W) for gpu: [nan 1000.]";
        assert_eq!(energies(&log("1.2.5", two, half)), (1.5, 1.5));
    }
}
