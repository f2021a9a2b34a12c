//! Epochs by lines of the job's output.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::epochs::{Epoch, Open};
use super::{Context, Job};
use crate::energy::Component;
use crate::sample::Moment;
use crate::units::Microjoules;

/// Epochs that came and went while nobody read the output.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Unseen {
    /// The start of the first of them, or the last that is known before it.
    from: Open,
    /// How many there were.
    n: u32,
}

impl Job {
    /// A line that begins an epoch was printed; it ends the epoch before.
    ///
    /// `label` is what the expression's first group took. A line with the label of the running epoch
    /// belongs to it: a progress bar repeats its title.
    pub fn output_began_epoch(&mut self, at: Moment, label: Option<&str>, context: Context<'_>) {
        let is_running = self.is_epoch_running() || self.unseen.is_some_and(|unseen| unseen.n > 0);
        if label.is_some() && is_running && self.epoch_label.as_deref() == label {
            return;
        }
        self.epoch_label = label.map(str::to_owned);
        if let Some(unseen) = &mut self.unseen {
            unseen.n += 1;
            return;
        }
        self.end_epoch_of_output(at, context);
        self.epoch_start(at);
    }

    /// From here on the output is not read; it may be read later, and then tells how many epochs
    /// there were, but no longer when.
    pub fn output_is_lost(&mut self) {
        if self.unseen.is_some() {
            return;
        }
        let (at, own, others) = (self.last, self.energy.total(), self.others.energy);
        self.unseen = Some(match self.epochs.take() {
            Ok(from) => Unseen { from, n: 1 },
            Err(_) => Unseen { from: Open { at, own, others }, n: 0 },
        });
    }

    /// Whether there was a time in which the output was not read.
    pub fn has_lost_output(&self) -> bool {
        self.unseen.is_some()
    }

    /// The program's output is at its end. The running epoch counts where it is the last of those
    /// declared, or none were: before that the program was interrupted in it.
    pub fn output_ended(&mut self, at: Moment, context: Context<'_>) {
        if let Some(unseen) = self.unseen.take() {
            return self.end_unseen(unseen, at, context);
        }
        let is_last = self.settings.epochs.is_none_or(|n| self.n_epochs() + 1 >= n);
        if is_last {
            self.end_epoch_of_output(at, context);
        }
    }

    /// Epochs whose bounds nobody saw have equal parts of their time and energy.
    fn end_unseen(&mut self, unseen: Unseen, at: Moment, context: Context<'_>) {
        let Unseen { from, n } = unseen;
        if !self.is_output_read {
            let warning = "epochs after the restart of ct-noded are not counted: the output could \
                           not be read again";
            self.warnings.insert(warning.to_owned());
            return;
        }
        if n == 0 {
            return;
        }
        self.warnings.insert(format!(
            "ct-noded was restarted: the bounds of {n} epochs were not seen, they have equal parts \
             of their time and energy"
        ));
        let is_last = self.settings.epochs.is_none_or(|declared| self.n_epochs() + n >= declared);
        let all = self.epoch_since(&from, at);
        let n_complete = if is_last { n } else { n - 1 };
        for k in 0..n_complete {
            let epoch = part(&all, from.at, k, n);
            let text = self.complete_epoch(at, epoch, context);
            self.say_later(&text);
        }
    }

    fn end_epoch_of_output(&mut self, at: Moment, context: Context<'_>) {
        if self.is_epoch_running()
            && let Ok(text) = self.epoch_end(at, context)
        {
            self.say_later(&text);
        }
    }
}

/// The `k`-th of `n` equal parts; in microjoules and nanoseconds they add up to the whole.
fn part(all: &Epoch, from: Moment, k: u32, n: u32) -> Epoch {
    let ends = |whole: u128, k: u32| whole * u128::from(k) / u128::from(n.max(1));
    let piece = |whole: u64| {
        let whole = u128::from(whole);
        u64::try_from(ends(whole, k + 1) - ends(whole, k)).unwrap_or(u64::MAX)
    };
    let nanos = |k| u64::try_from(ends(all.duration.as_nanos(), k)).unwrap_or(u64::MAX);
    let mut energy = all.energy;
    for c in Component::ALL {
        let whole = all.energy.get(c).as_u64();
        *energy.get_mut(c) = Microjoules::new(piece(whole));
    }
    let end = Duration::from_nanos(nanos(k + 1));
    Epoch { duration: end - Duration::from_nanos(nanos(k)), energy, end: from.wall + end }
}
