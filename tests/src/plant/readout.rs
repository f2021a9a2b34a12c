//! One file that shows a meter, and what can go wrong with it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::live::{LiveFile, fixed_width};
use super::meter::Meter;

/// What goes wrong with a meter on demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The file is gone; who has it open reads nothing.
    Vanish,
    /// The file's mode is 0: an error for all but root, and for none who has it open.
    Deny,
    /// The file is there and empty.
    Empty,
    /// The file holds no number.
    Garble,
    /// The file is updated no more.
    Stop,
    /// The counter falls by so many joules, at most to zero, and goes on from there.
    Backwards(f64),
    /// The counter rises by so many joules that nobody drew.
    Jump(f64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanish => f.write_str("vanish"),
            Self::Deny => f.write_str("deny"),
            Self::Empty => f.write_str("empty"),
            Self::Garble => f.write_str("garble"),
            Self::Stop => f.write_str("stop"),
            Self::Backwards(joules) => write!(f, "backwards {joules}"),
            Self::Jump(joules) => write!(f, "jump {joules}"),
        }
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let joules = |text: &str| -> Result<f64> {
            let joules = text.parse().ok().filter(|j: &f64| j.is_finite() && *j >= 0.0);
            joules.with_context(|| format!("{text:?} is no number of joules"))
        };
        Ok(match text.split_once(' ').unwrap_or((text, "")) {
            ("vanish", "") => Self::Vanish,
            ("deny", "") => Self::Deny,
            ("empty", "") => Self::Empty,
            ("garble", "") => Self::Garble,
            ("stop", "") => Self::Stop,
            ("backwards", joules_text) => Self::Backwards(joules(joules_text)?),
            ("jump", joules_text) => Self::Jump(joules(joules_text)?),
            _ => bail!("{text:?} is no fault, expected such as \"vanish\" or \"jump 100\""),
        })
    }
}

/// What a file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Joules since some start.
    Energy,
    /// Watts now.
    Power,
}

/// What a meter shows at one update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) energy_j: f64,
    pub(super) power_w: f64,
    /// Microseconds since 1970.
    pub(super) unix_us: u64,
}

/// A file that shows a meter.
#[derive(Debug)]
pub(super) struct Readout {
    pub(super) meter: Meter,
    quantity: Quantity,
    /// Counts per joule or per watt.
    scale: f64,
    /// Counts at the start.
    initial: u64,
    /// Where the counter starts over.
    modulus: Option<u64>,
    /// The unit that stands behind the number, with the time: a Cray's form.
    unit: Option<char>,
    file: LiveFile,
    fault: Option<Fault>,
    /// Joules beside the truth, after a fault.
    offset_j: f64,
}

impl Readout {
    pub(super) fn new(meter: Meter, quantity: Quantity, scale: f64, file: LiveFile) -> Self {
        let (initial, modulus, unit, fault, offset_j) = (0, None, None, None, 0.0);
        Self { meter, quantity, scale, initial, modulus, unit, file, fault, offset_j }
    }

    /// Begins with `initial` counts and starts over at `modulus`.
    pub(super) fn counting(mut self, initial: u64, modulus: u64) -> Self {
        (self.initial, self.modulus) = (initial, Some(modulus));
        self
    }

    /// Writes numbers as a Cray does, with a unit and the time.
    pub(super) fn stamped(mut self, unit: char) -> Self {
        self.unit = Some(unit);
        self
    }

    /// Brings the file up to date, unless its fault forbids.
    pub(super) fn show(&self, reading: Reading) -> Result<()> {
        use Fault::{Empty, Garble, Stop, Vanish};
        if matches!(self.fault, Some(Vanish | Empty | Garble | Stop)) {
            return Ok(());
        }
        let count = match self.quantity {
            Quantity::Energy => self.count(reading.energy_j),
            Quantity::Power => (reading.power_w * self.scale).round() as u64,
        };
        match self.unit {
            Some(unit) => self.file.set(&stamp(count, unit, reading.unix_us)),
            None => self.file.set_number(count),
        }
    }

    fn count(&self, energy_j: f64) -> u64 {
        let counts = ((energy_j + self.offset_j) * self.scale + self.initial as f64) as u64;
        self.modulus.map_or(counts, |modulus| counts % modulus)
    }

    /// Lets it go wrong from now on.
    pub(super) fn set_fault(&mut self, fault: Fault, energy_j: f64) -> Result<()> {
        ensure!(self.fault.is_none(), "{} has a fault already, heal it first", self.meter);
        match fault {
            Fault::Vanish => self.file.vanish()?,
            Fault::Deny => self.file.deny()?,
            Fault::Empty => self.file.empty()?,
            Fault::Garble => self.file.set("no number at all")?,
            Fault::Stop => {}
            Fault::Jump(joules) => self.offset_j += joules,
            Fault::Backwards(joules) => {
                let counted_j = energy_j + self.offset_j + self.initial as f64 / self.scale;
                self.offset_j -= joules.min(counted_j);
            }
        }
        // What has happened at once does not last: the counter goes on from where it is.
        let is_lasting = !matches!(fault, Fault::Jump(_) | Fault::Backwards(_));
        self.fault = is_lasting.then_some(fault);
        Ok(())
    }

    /// Lets it work again. What it should have counted meanwhile it has counted.
    pub(super) fn heal(&mut self) -> Result<()> {
        self.fault = None;
        self.file.restore()
    }
}

/// A number as a Cray writes it: `123 J 1690000000000000 us`.
///
/// The number lies in the first sixteen bytes, the digits of the time that change in the next, so
/// neither is ever seen half written; the time may be that of the update before.
fn stamp(count: u64, unit: char, unix_us: u64) -> String {
    format!("{count:010} {unit} {unix_us:016} us\n")
}

/// The text of a file before the first update.
pub(super) fn first_text(unit: Option<char>) -> String {
    unit.map_or_else(|| fixed_width(0), |unit| stamp(0, unit, 0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn readout(path: &Path) -> Readout {
        let file = LiveFile::number(path).unwrap();
        Readout::new(Meter::Package(0), Quantity::Energy, 1e6, file)
    }

    fn show(readout: &Readout, energy_j: f64) {
        readout.show(Reading { energy_j, power_w: 0.0, unix_us: 1_690_000_000_000_000 }).unwrap();
    }

    #[test]
    fn counter_jumps_falls_stops_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        let seen = || fs::read_to_string(&path).unwrap().trim().parse::<u64>().unwrap();
        let mut counter = readout(&path).counting(500_000, 100_000_000);
        show(&counter, 10.0);
        assert_eq!(seen(), 10_500_000);
        counter.set_fault(Fault::Jump(4.0), 10.0).unwrap();
        show(&counter, 11.0);
        assert_eq!(seen(), 15_500_000);
        // It has 15.5 J, of which no more can be taken; then it counts on from zero.
        counter.set_fault(Fault::Backwards(99.0), 11.0).unwrap();
        show(&counter, 11.0);
        assert_eq!(seen(), 0);
        counter.set_fault(Fault::Stop, 11.0).unwrap();
        show(&counter, 12.0);
        assert_eq!(seen(), 0);
        assert!(counter.set_fault(Fault::Vanish, 12.0).is_err());
        counter.heal().unwrap();
        show(&counter, 13.5);
        assert_eq!(seen(), 2_500_000);
        // 99 J more than the start of the fall pass the range of 100 J: 101.5 - 100.
        show(&counter, 112.5);
        assert_eq!(seen(), 1_500_000);
    }

    #[test]
    fn file_that_is_broken_stays_so_until_it_heals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        for (fault, text) in [(Fault::Empty, ""), (Fault::Garble, "no number at all")] {
            let mut counter = readout(&path);
            counter.set_fault(fault, 0.0).unwrap();
            show(&counter, 1.0);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            counter.heal().unwrap();
            show(&counter, 1.0);
            assert_eq!(fs::read_to_string(&path).unwrap(), "000000001000000\n");
        }
    }

    #[test]
    fn faults_are_read_as_they_are_written() {
        use Fault::{Backwards, Deny, Empty, Garble, Jump, Stop, Vanish};
        for fault in [Vanish, Deny, Empty, Garble, Stop, Backwards(2.5), Jump(1000.0)] {
            assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault);
        }
        for text in ["", "explode", "vanish 3", "jump", "jump -1", "backwards NaN"] {
            assert!(text.parse::<Fault>().is_err(), "{text:?}");
        }
    }
}
