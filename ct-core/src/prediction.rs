//! What all epochs will cost, from those that were completed.
//!
//! Upstream's prediction: the mean per epoch times the number of epochs. The interval is ours; METHOD
//! has its formula.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{Joules, Microjoules};

/// Time and energy of a number of epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Time.
    pub duration: Duration,
    /// Energy, without PUE.
    pub energy: Joules,
}

/// The outlook for `epochs` epochs from the sums over `done`; `None` where none was completed yet.
pub fn outlook(done: u32, duration: Duration, energy: Microjoules, epochs: u32) -> Option<Outlook> {
    if done == 0 {
        return None;
    }
    let factor = f64::from(epochs) / f64::from(done);
    let seconds = duration.as_secs_f64() * factor;
    let joules = energy.to_joules().as_joules() * factor;
    // A century is more than any prediction means; it also keeps Duration from overflowing.
    let duration = Duration::try_from_secs_f64(seconds.min(3.2e9)).ok()?;
    Some(Outlook { duration, energy: Joules::new(joules) })
}

/// How much epochs differ in energy: Welford's running mean and sum of squares, in joules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    n: u32,
    mean: f64,
    squares: f64,
}

impl Eq for Spread {}

impl Spread {
    /// Adds the energy of an epoch.
    pub fn add(&mut self, energy: Microjoules) {
        let joules = energy.to_joules().as_joules();
        self.n = self.n.saturating_add(1);
        let off = joules - self.mean;
        self.mean += off / f64::from(self.n);
        self.squares += off * (joules - self.mean);
    }

    /// Number of epochs added.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// Half the width of the 95 % prediction interval of the energy of all `epochs`, in joules.
    ///
    /// What was drawn is certain; the m epochs to come are taken to be drawn from the same normal
    /// distribution as the k done: t(0.975, k - 1) · s · √(m + m²/k). `None` below two epochs.
    pub fn half_width(&self, epochs: u32) -> Option<Joules> {
        if self.n < 2 {
            return None;
        }
        let (k, m) = (f64::from(self.n), f64::from(epochs.saturating_sub(self.n)));
        let deviation = (self.squares.max(0.0) / (k - 1.0)).sqrt();
        Some(Joules::new(t_975(self.n - 1) * deviation * (m + m * m / k).sqrt()))
    }
}

/// Student's t at 97.5 % for 1 to 10 degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
const T_975: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
/// The standard normal distribution at 97.5 %.
const Z_975: f64 = 1.959_964;

/// Student's t at 97.5 %; beyond the table by the first terms of its expansion in 1/ν (Abramowitz
/// and Stegun 26.7.5), good to 0.001.
fn t_975(degrees: u32) -> f64 {
    let index = usize::try_from(degrees).unwrap_or(usize::MAX).saturating_sub(1);
    if let Some(t) = T_975.get(index) {
        return *t;
    }
    let (z, v) = (Z_975, f64::from(degrees));
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / v + second / v.powi(2) + third / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_times_the_number_of_epochs() {
        // 10 s and 100 J, 20 s and 200 J: 15 s and 150 J each, ten times.
        let (duration, energy) = (Duration::from_secs(30), Microjoules::new(300_000_000));
        let outlook = outlook(2, duration, energy, 10).unwrap();
        assert_eq!(outlook.duration, Duration::from_secs(150));
        assert!((outlook.energy.as_joules() - 1500.0).abs() < 1e-9);
        assert!(super::outlook(0, Duration::ZERO, Microjoules::ZERO, 10).is_none());
    }

    #[test]
    fn the_interval_is_that_of_the_epochs_to_come() {
        let mut spread = Spread::default();
        assert!(spread.half_width(10).is_none());
        spread.add(Microjoules::new(90_000_000));
        assert!(spread.half_width(10).is_none(), "one epoch says nothing of the others");
        for joules in [100, 110] {
            spread.add(Microjoules::new(joules * 1_000_000));
        }
        // s = 10 J of 3 epochs, 6 to come: 4.303 · 10 · √(6 + 36/3) = 182.56 J.
        assert!((spread.half_width(9).unwrap().as_joules() - 182.56).abs() < 0.01);
        // Nothing to come is certain, and so are more epochs than were declared.
        assert_eq!(spread.half_width(3).unwrap().as_joules(), 0.0);
        assert_eq!(spread.half_width(2).unwrap().as_joules(), 0.0);
    }

    #[test]
    fn quantiles_go_on_from_the_table() {
        // 11: 2.201, 30: 2.042, 120: 1.980 (the same handbook).
        for (degrees, t) in [(1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (120, 1.980)] {
            assert!((t_975(degrees) - t).abs() < 1e-3, "{degrees}: {}", t_975(degrees));
        }
    }
}
