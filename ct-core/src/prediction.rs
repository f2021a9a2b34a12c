//! What all epochs will cost, from those that were completed.
//!
//! Upstream's prediction: the mean per epoch times the number of epochs.

use std::time::Duration;

use crate::units::{Joules, Microjoules};

/// Time and energy of a number of epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Time.
    pub duration: Duration,
    /// Energy, without PUE.
    pub energy: Joules,
}

/// The outlook for `epochs` epochs; `None` where nothing was completed yet.
pub fn outlook(durations: &[Duration], energies: &[Microjoules], epochs: u32) -> Option<Outlook> {
    let done = u32::try_from(durations.len()).ok().filter(|n| *n > 0)?;
    let factor = f64::from(epochs) / f64::from(done);
    let seconds = durations.iter().sum::<Duration>().as_secs_f64() * factor;
    let joules = energies.iter().copied().sum::<Microjoules>().to_joules().as_joules() * factor;
    // A century is more than any prediction means; it also keeps Duration from overflowing.
    let duration = Duration::try_from_secs_f64(seconds.min(3.2e9)).ok()?;
    Some(Outlook { duration, energy: Joules::new(joules) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_times_the_number_of_epochs() {
        let s = Duration::from_secs;
        let energies = [Microjoules::new(100_000_000), Microjoules::new(200_000_000)];
        // 10 s and 100 J, 20 s and 200 J: 15 s and 150 J each, ten times.
        let outlook = outlook(&[s(10), s(20)], &energies, 10).unwrap();
        assert_eq!(outlook.duration, s(150));
        assert!((outlook.energy.as_joules() - 1500.0).abs() < 1e-9);
        assert!(super::outlook(&[], &[], 10).is_none());
    }
}
