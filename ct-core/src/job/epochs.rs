//! Epochs: which were completed, and which is running.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::energy::ByComponent;
use crate::sample::Moment;
use crate::units::Microjoules;

/// Most epochs a job may complete; more are measured, but no longer listed one by one.
const MAX_EPOCHS: usize = 100_000;

/// A completed epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// There were more than are listed.
    #[error("more than {MAX_EPOCHS} epochs; the others are measured as part of the job only")]
    TooMany,
    /// Monitoring of epochs was stopped.
    #[error("monitoring of epochs was stopped")]
    Stopped,
}

/// The epochs of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochBook {
    done: Vec<Epoch>,
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
        let open = self.open.take().ok_or(EpochError::NotRunning)?;
        if self.done.len() >= MAX_EPOCHS {
            return Err(EpochError::TooMany);
        }
        Ok(open)
    }

    /// Adds a completed epoch.
    pub(super) fn complete(&mut self, epoch: Epoch) {
        self.done.push(epoch);
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

    pub(super) fn done(&self) -> &[Epoch] {
        &self.done
    }

    pub(super) fn is_running(&self) -> bool {
        self.open.is_some()
    }
}
