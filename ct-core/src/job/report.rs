//! What a job's logs and its output say, in upstream's order and words.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Context, Epoch, Job, local};
use crate::carbon::Factors;
use crate::carbon::intensity::hour_of;
use crate::energy::ByComponent;
use crate::log::writer::{self, BlockStyle, Consumption, LogText, components_sentence, epoch_time};
use crate::sample::Moment;
use crate::units::Microjoules;

/// Hours whose intensities a log lists.
const MOST_HOURS_LISTED: usize = 1000;

impl Job {
    /// Begins the logs, once: version, PUE, components.
    pub fn begin_logs(&mut self, at: Moment, context: Context<'_>) -> String {
        if std::mem::replace(&mut self.is_log_begun, true) {
            return String::new();
        }
        let time = local(at);
        let version = env!("CARGO_PKG_VERSION");
        self.log
            .standard(time, format_args!("carbontracker version {version} (carbontracker-slurm)"));
        self.log_guess(at, context);
        let (pue, source) = (context.factors.pue.as_ratio(), &context.factors.pue_source);
        self.log.standard(
            time,
            format_args!(
                "Only predicted and actual consumptions are multiplied by a PUE coefficient of \
                 {pue} ({source})."
            ),
        );
        let components = self.components(context);
        if components.is_empty() {
            self.log.error(time, "CRITICAL", "No components were available.");
            let text = self.log_missing(at, context);
            return self.at_verbosity(1, text);
        }
        let sentence = components_sentence(&components);
        self.log.standard(time, &sentence);
        let printed = self.log.output(time, &sentence);
        let notes = self.log_simulated(at) + &self.log_modelled(at, context);
        self.log.standard(time, "Monitoring thread started.");
        self.log_live_intensity(at.wall, context.factors);
        self.at_verbosity(2, printed) + &self.at_verbosity(1, notes)
    }

    pub(super) fn report_epoch(
        &mut self,
        at: Moment,
        epoch: Epoch,
        context: Context<'_>,
    ) -> String {
        let done = self.n_epochs();
        self.log_live_intensity(at.wall, context.factors);
        self.log_epoch(at, done, epoch, context);
        let declared = self.settings.epochs;
        let is_at = |setting: i64| match setting {
            -1 => declared == Some(done),
            n => n == i64::from(done),
        };
        let is_actual_due = is_at(self.settings.monitor_epochs);
        let mut text = String::new();
        if let Some(what) = self.predict(at, context)
            && is_at(self.settings.epochs_before_pred)
        {
            let title = format!("Predicted consumption for {} epoch(s)", declared.unwrap_or(done));
            text = self.print_block(at, &title, what);
            if let Some(question) = self.ask(at, is_actual_due) {
                return text + &question;
            }
        }
        if is_actual_due {
            text.push_str(&self.report_actual(at, context));
        }
        text
    }

    fn log_epoch(&mut self, at: Moment, number: u32, epoch: Epoch, context: Context<'_>) {
        let time = local(at);
        self.log.standard(time, format_args!("Epoch {number}:"));
        self.log.standard(time, format_args!("Duration: {}", epoch_time(epoch.duration)));
        for (name, _) in self.components(context) {
            let energy = energy_of(name, &epoch.energy);
            let watts = energy.to_joules().over(epoch.duration).as_watts();
            self.log.standard(time, format_args!("Average power usage (W) for {name}: {watts:?}"));
        }
    }

    /// The actual block over all completed epochs, with the intensity before it.
    pub(super) fn report_actual(&mut self, at: Moment, context: Context<'_>) -> String {
        let n = self.n_epochs();
        let title = format!("Actual consumption for {n} epoch(s)");
        let what = self.epochs_consumption(context);
        let mut text = self.report_intensity(at, what, self.epochs_span(), context);
        text.push_str(&self.print_block(at, &title, what));
        self.n_epochs_reported = n;
        text
    }

    /// What all epochs come to, each with the intensity of its hours.
    fn epochs_consumption(&self, context: Context<'_>) -> Consumption {
        let Epoch { duration, energy, .. } = self.epochs.total();
        let energy = context.factors.facility_kwh(energy.total().to_joules());
        Consumption { duration, energy, footprint: self.epochs.footprint() }
    }

    /// What one of them comes to.
    fn consumption(&self, of: &Epoch, context: Context<'_>) -> Consumption {
        Consumption {
            duration: of.duration,
            energy: context.factors.facility_kwh(of.energy.total().to_joules()),
            footprint: self.priced(context.factors).of_epoch(of),
        }
    }

    /// From the first epoch's start to the last one's end.
    fn epochs_span(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let Some(first) = self.epochs().first() else {
            return (self.start.wall, self.last.wall);
        };
        let length = TimeDelta::from_std(first.duration).unwrap_or_default();
        (first.end - length, self.epochs.total().end)
    }

    fn report_intensity(
        &mut self,
        at: Moment,
        what: Consumption,
        span: (DateTime<Utc>, DateTime<Utc>),
        context: Context<'_>,
    ) -> String {
        let time = local(at);
        let (kwh, grams) = (what.energy.as_kwh(), what.footprint.as_grams());
        let mean = || self.priced(context.factors).mean(span.0, span.1).as_g_per_kwh();
        let g = if kwh > 0.0 { grams / kwh } else { mean() };
        let (zone, list) = (context.factors.place(), hourly(context.factors, span));
        self.log.standard(
            time,
            format_args!(
                "Carbon intensities (gCO2eq/kWh) fetched every 900 s at detected location: {zone}: \
                 [{list}]"
            ),
        );
        // The blank at the end is upstream's.
        let sentence = format!("Average carbon intensity during training was {g:.2} gCO2eq/kWh. ");
        self.log.standard(time, &sentence);
        let printed = self.log.output(time, &sentence);
        self.at_verbosity(2, printed)
    }

    /// Says in the error log, in upstream's words, that the place was guessed.
    fn log_guess(&mut self, at: Moment, context: Context<'_>) {
        let Factors { fallback, is_guessed: true, .. } = context.factors else { return };
        let (g, zone) = (fallback.intensity.as_g_per_kwh(), &fallback.zone);
        let using = format!("Using average carbon intensity for {zone}: {g:.2} gCO2eq/kWh.");
        let message =
            format!("No carbon intensity provider specified. {using} ({})", fallback.source);
        self.log.error(local(at), "WARNING", message);
    }

    fn print_block(&mut self, at: Moment, title: &str, what: Consumption) -> String {
        let style = BlockStyle {
            decimals: self.settings.decimal_precision,
            interpretable: self.settings.interpretable,
        };
        let printed = self.log.output(local(at), writer::block(title, what, style));
        self.at_verbosity(1, printed)
    }

    pub(super) fn report_stop(&mut self, at: Moment, context: Context<'_>) -> String {
        self.log_interruption(at);
        if self.has_unreported_epochs() { self.report_actual(at, context) } else { String::new() }
    }

    /// Whether an epoch was completed since the last actual block: what was told is not told again.
    fn has_unreported_epochs(&self) -> bool {
        self.n_epochs() > self.n_epochs_reported
    }

    fn log_interruption(&mut self, at: Moment) {
        let done = self.n_epochs();
        if let Some(n) = self.settings.epochs.filter(|n| done < *n) {
            let message = format!("Training was interrupted before all {n} epochs were monitored.");
            self.log.standard(local(at), message);
        }
    }

    /// What the job had drawn by the instant that its owner was shown last, as a block for its output
    /// alone; nothing where an earlier step's end has told of the same epochs.
    pub fn summary(&mut self, context: Context<'_>) -> String {
        let n = self.n_epochs();
        if n > 0 && n == self.n_epochs_summed_up {
            return String::new();
        }
        self.n_epochs_summed_up = n;
        let (at, mut copy) = (self.published_at(), self.clone());
        let duration = at.since(&self.start);
        let whole = Epoch { duration, energy: self.published_energy(), end: at.wall };
        copy.closing_block(at, whole, context)
    }

    /// Ends the logs, once: the closing block, which is returned for the job's output, also where no
    /// log file could be opened.
    pub fn close_logs(&mut self, at: Moment, context: Context<'_>) -> String {
        if self.is_log_closed || !self.is_seen() {
            return String::new();
        }
        let has_files = self.is_log_begun;
        let mut text = self.begin_logs(at, context);
        if !self.epochs.stop() {
            // `ct-track stop` has said it already.
        } else {
            self.log_interruption(at);
        }
        let (duration, end) = (self.elapsed(), self.last.wall);
        let whole = Epoch { duration, energy: self.visible_energy(), end };
        text.push_str(&self.closing_block(at, whole, context));
        self.log.standard(local(at), "Monitoring thread ended.");
        let printed = self.log.output(local(at), "Finished monitoring.");
        text.push_str(&self.at_verbosity(1, printed));
        self.is_log_closed = true;
        if !has_files {
            self.log = LogText::default();
        }
        text
    }

    /// Over all completed epochs, unless a block has told of them, or over the whole job where none
    /// was completed.
    fn closing_block(&mut self, at: Moment, whole: Epoch, context: Context<'_>) -> String {
        if self.has_unreported_epochs() {
            return self.report_actual(at, context);
        }
        if self.n_epochs() > 0 {
            return String::new();
        }
        self.log_epoch(at, 1, whole, context);
        let what = self.consumption(&whole, context);
        let mut text = self.report_intensity(at, what, (self.start.wall, whole.end), context);
        text.push_str(&self.print_block(at, "Actual consumption", what));
        text
    }

    fn at_verbosity(&self, level: u8, text: String) -> String {
        if self.settings.verbose >= level { text } else { String::new() }
    }
}

/// The intensity of each hour, rounded as upstream does; of one hour after the other with the same
/// value the first.
fn hourly(factors: &Factors, (start, end): (DateTime<Utc>, DateTime<Utc>)) -> String {
    let mut values: Vec<f64> = Vec::new();
    let mut hour = hour_of(start);
    while values.is_empty() || (hour < end && values.len() < MOST_HOURS_LISTED) {
        let g = (factors.intensity_at(hour).as_g_per_kwh() * 100.0).round() / 100.0;
        values.push(g);
        hour += TimeDelta::hours(1);
    }
    values.dedup();
    values.iter().map(|g| format!("{g:?}")).collect::<Vec<_>>().join(", ")
}

/// Energy of a component as the logs have it: `cpu` is all that is not a GPU.
fn energy_of(name: &str, energy: &ByComponent<Microjoules>) -> Microjoules {
    if name == "gpu" { energy.gpu } else { energy.cpu + energy.dram + energy.rest }
}
