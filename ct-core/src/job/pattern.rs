//! Epochs by lines of the job's output.

use super::{Context, Job};
use crate::sample::Moment;

impl Job {
    /// A line that begins an epoch was printed; it ends the epoch before.
    ///
    /// `label` is what the expression's first group took. A line with the label of the running epoch
    /// belongs to it: a progress bar repeats its title.
    pub fn output_began_epoch(&mut self, at: Moment, label: Option<&str>, context: Context<'_>) {
        if label.is_some() && self.is_epoch_running() && self.epoch_label.as_deref() == label {
            return;
        }
        self.end_epoch_of_output(at, context);
        self.epoch_label = label.map(str::to_owned);
        self.epoch_start(at);
    }

    /// The program's output is at its end. The running epoch counts where it is the last of those
    /// declared, or none were: before that the program was interrupted in it.
    pub fn output_ended(&mut self, at: Moment, context: Context<'_>) {
        let is_last = self.settings.epochs.is_none_or(|n| self.n_epochs() + 1 >= n);
        if is_last {
            self.end_epoch_of_output(at, context);
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
