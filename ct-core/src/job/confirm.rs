//! `stop_and_confirm`: the question after the prediction, and what comes of its answer.
//!
//! The questions and answers in the log are upstream's. Who may answer, and when time is up, is
//! decided elsewhere.

use serde::{Deserialize, Serialize};

use super::{Context, Job, local};
use crate::config::YesNo;
use crate::sample::Moment;

/// A question to the job's owner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// When it was asked.
    pub asked: Moment,
    /// The answer, once there is one.
    pub answer: Option<YesNo>,
    /// Whether the actual block is to follow.
    owes_actual: bool,
}

impl Job {
    /// The question, where one was asked.
    pub fn confirmation(&self) -> Option<Confirmation> {
        self.confirmation
    }

    /// When a question was asked that has no answer yet.
    pub fn waits_since(&self) -> Option<Moment> {
        self.confirmation.filter(|c| c.answer.is_none()).map(|c| c.asked)
    }

    /// Asks, once in the job's life: the question, as it is printed.
    pub(super) fn ask(&mut self, at: Moment, owes_actual: bool) -> Option<String> {
        if !self.settings.stop_and_confirm || !self.is_seen() || self.confirmation.is_some() {
            return None;
        }
        self.confirmation = Some(Confirmation { asked: at, answer: None, owes_actual });
        Some(self.log.output(local(at), "Continue training (y/n)?"))
    }

    /// Takes the answer; what follows it waits to be printed. Whether there was a question.
    pub fn answer(&mut self, answer: YesNo, at: Moment, context: Context<'_>) -> bool {
        let Some(asked) = self.confirmation.as_mut().filter(|c| c.answer.is_none()) else {
            return false;
        };
        asked.answer = Some(answer);
        let owes_actual = asked.owes_actual;
        let text = match answer {
            YesNo::Y => {
                let mut text = self.log.output(local(at), "Continuing...");
                if owes_actual {
                    text.push_str(&self.report_actual(at, context));
                }
                text
            }
            YesNo::N => {
                self.log.standard(local(at), "Session ended by user.");
                self.log.output(local(at), "Quitting...")
            }
        };
        self.say_later(&text);
        true
    }
}
