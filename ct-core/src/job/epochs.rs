//! Epochs: which were completed, and which is running.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::energy::ByComponent;
use crate::prediction::Spread;
use crate::sample::Moment;
use crate::units::{GramsCo2e, Microjoules};

/// Epochs that are listed one by one; those beyond are in the sums.
const MOST_LISTED: usize = 10_000;

/// A completed epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its length.
    pub duration: Duration,
    /// Its energy on all nodes of the job, as the job's owner asked to see it.
    pub energy: ByComponent<Microjoules>,
    /// When it ended, by the wall clock.
    #[serde(default)]
    pub end: DateTime<Utc>,
}

/// Why an epoch cannot end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// None was started.
    #[error("no epoch is running; start one with \"ct-track epoch start\"")]
    NotRunning,
    /// Monitoring of epochs was stopped.
    #[error("monitoring of epochs was stopped")]
    Stopped,
}

/// The epochs of one job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochBook {
    /// The first of them.
    listed: Vec<Epoch>,
    /// The sum of all, with the end of the last.
    total: Epoch,
    /// Their footprint, each as of its own end.
    grams: f64,
    spread: Spread,
    open: Option<Open>,
    is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) at: Moment,
    pub(super) own: ByComponent<Microjoules>,
    pub(super) others: ByComponent<Microjoules>,
}

impl Eq for Open {}

impl EpochBook {
    /// Begins an epoch; one that was running begins anew, as upstream has it.
    pub(super) fn start(&mut self, open: Open) {
        if !self.is_stopped {
            self.open = Some(open);
        }
    }

    /// The running epoch, to be ended.
    pub(super) fn take(&mut self) -> Result<Open, EpochError> {
        if self.is_stopped {
            return Err(EpochError::Stopped);
        }
        self.open.take().ok_or(EpochError::NotRunning)
    }

    /// Adds a completed epoch.
    pub(super) fn complete(&mut self, epoch: Epoch, footprint: GramsCo2e) {
        self.total.end = epoch.end;
        self.grams += footprint.as_grams();
        self.total.duration += epoch.duration;
        self.total.energy += epoch.energy;
        self.spread.add(epoch.energy.total());
        if self.listed.len() < MOST_LISTED {
            self.listed.push(epoch);
        }
    }

    /// The running epoch, to learn more of its start.
    pub(super) fn open_mut(&mut self) -> Option<&mut Open> {
        self.open.as_mut()
    }

    /// Ends monitoring; whether it was still on.
    pub(super) fn stop(&mut self) -> bool {
        self.open = None;
        !std::mem::replace(&mut self.is_stopped, true)
    }

    /// The running epoch comes to nothing.
    pub(super) fn abandon(&mut self) {
        self.open = None;
    }

    /// The first 10,000 that were completed.
    pub(super) fn listed(&self) -> &[Epoch] {
        &self.listed
    }

    /// Number of epochs completed.
    pub(super) fn n(&self) -> u32 {
        self.spread.n()
    }

    /// The sum of all that were completed.
    pub(super) fn total(&self) -> Epoch {
        self.total
    }

    /// The footprint of all that were completed.
    pub(super) fn footprint(&self) -> GramsCo2e {
        GramsCo2e::new(self.grams)
    }

    /// How much they differ in energy.
    pub(super) fn spread(&self) -> &Spread {
        &self.spread
    }

    pub(super) fn is_running(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_list_the_sums_go_on() {
        let mut book = EpochBook::default();
        let energy = ByComponent { cpu: Microjoules::new(3), ..ByComponent::default() };
        let n = u32::try_from(MOST_LISTED).unwrap() + 5;
        for _ in 0..n {
            let epoch = Epoch { duration: Duration::from_millis(2), energy, ..Epoch::default() };
            book.complete(epoch, GramsCo2e::new(0.5));
        }
        assert_eq!((book.n(), book.listed().len()), (n, MOST_LISTED));
        assert_eq!(book.total().energy.cpu.as_u64(), 3 * u64::from(n));
        assert_eq!(book.footprint().as_grams(), 0.5 * f64::from(n));
        assert_eq!(book.total().duration, Duration::from_millis(2) * n);
    }
}
