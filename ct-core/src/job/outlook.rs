//! The job's predictions: from its epochs, or from its power up to its time limit.

use std::time::Duration;

use chrono::TimeDelta;

use super::{Context, Job};
use crate::log::writer::Consumption;
use crate::prediction::outlook;
use crate::record::{PredictedBy, Prediction};
use crate::sample::Moment;
use crate::units::Joules;

/// Slurm gives a job without a time limit a year; nobody means to be told of that.
const NO_LIMIT: TimeDelta = TimeDelta::days(364);

impl Job {
    /// Makes the prediction anew from all epochs completed; `None` where none is due or possible.
    pub(super) fn predict(&mut self, at: Moment, context: Context<'_>) -> Option<Consumption> {
        let done = self.n_epochs();
        let epochs = self.settings.epochs?;
        let is_due = match self.settings.epochs_before_pred {
            0 => false,
            -1 => done >= epochs,
            n => i64::from(done) >= n,
        };
        if !is_due {
            return None;
        }
        let total = self.epochs.total();
        let outlook = outlook(done, total.duration, total.energy.total(), epochs)?;
        let footprint = self.outlook_footprint(&outlook, context.factors);
        let co2e_g = footprint.as_grams();
        let energy_j = outlook.energy.as_joules();
        let half = self.epochs.spread().half_width(epochs).map(Joules::as_joules);
        // What was drawn already is certain.
        let spent = total.energy.total().to_joules().as_joules().min(energy_j);
        let low = half.map(|half| (energy_j - half).max(spent));
        let high = half.map(|half| energy_j + half);
        let grams = |joules: f64| if energy_j > 0.0 { co2e_g * joules / energy_j } else { 0.0 };
        let first = self.prediction.take().map(first_of);
        self.prediction = Some(Prediction {
            by: PredictedBy::Epochs,
            at: at.wall,
            from_epochs: done,
            epochs,
            duration_s: outlook.duration.as_secs_f64(),
            energy_j,
            co2e_g,
            energy_j_low: low,
            energy_j_high: high,
            co2e_g_low: low.map(grams),
            co2e_g_high: high.map(grams),
            first,
        });
        let energy = context.factors.facility_kwh(outlook.energy);
        Some(Consumption { duration: outlook.duration, energy, footprint })
    }

    /// The last prediction from epochs; without declared epochs that of the time limit: the mean power
    /// so far goes on until the job is ended. None is made of a limit that means none.
    pub fn outlook(&self, context: Context<'_>) -> Option<Prediction> {
        if self.prediction.is_some() || self.settings.epochs.is_some() || !self.is_seen() {
            return self.prediction.clone();
        }
        let last = self.published_at();
        let to = self.limit_at?;
        if to - self.start.wall >= NO_LIMIT {
            return None;
        }
        let ahead = (to - last.wall).to_std().ok()?;
        let elapsed = last.since(&self.start);
        if elapsed < Duration::from_secs(1) {
            return None;
        }
        let drawn = self.published_energy().total().to_joules();
        let energy = drawn.over(elapsed) * (elapsed + ahead);
        let ahead_j = energy.as_joules() - drawn.as_joules();
        let mean = context.factors.mean_over(last.wall, to);
        let spent = self.price(context.factors).mean();
        let footprint = context.factors.footprint(drawn, spent)
            + context.factors.footprint(Joules::new(ahead_j), mean);
        Some(Prediction {
            by: PredictedBy::TimeLimit,
            at: last.wall,
            from_epochs: 0,
            epochs: 0,
            duration_s: (elapsed + ahead).as_secs_f64(),
            energy_j: energy.as_joules(),
            co2e_g: footprint.as_grams(),
            energy_j_low: None,
            energy_j_high: None,
            co2e_g_low: None,
            co2e_g_high: None,
            first: None,
        })
    }
}

/// What a prediction that follows on this one keeps: what the job's owner was told.
fn first_of(mut before: Prediction) -> Box<Prediction> {
    before.first.take().unwrap_or_else(|| Box::new(before))
}
