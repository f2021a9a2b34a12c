//! A run: the pair of logs of one stem, and what of it counts.

use super::block::{Block, OutputLog};
use super::session::{Session, StandardLog, Writer, common_factor};
use super::tracker::{Order, Tracker, guess_order, trackers};

/// The logs of one stem, either of which may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run<'a> {
    /// The standard log.
    pub standard: StandardLog<'a>,
    /// The output log.
    pub output: OutputLog<'a>,
    /// The output log's blocks by tracker.
    pub trackers: Vec<Tracker>,
}

/// Which block of a tracker counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// What was measured.
    Actual,
    /// What was predicted.
    Prediction,
}

/// What a tracker adds to an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted<'r, 'a> {
    /// Which block counts.
    pub counting: Counting,
    /// Why.
    pub why: &'static str,
    /// The block.
    pub block: &'r Block<'a>,
    /// How many times the logged energy that of all devices is; `None` where it cannot be told.
    pub devices_factor: Option<f64>,
}

impl<'a> Run<'a> {
    /// Puts a pair of logs together.
    pub fn new(standard: StandardLog<'a>, output: OutputLog<'a>) -> Self {
        let trackers = trackers(&output, order_of(&standard.sessions, &output));
        Self { standard, output, trackers }
    }

    /// What each tracker of the run adds to an aggregate.
    ///
    /// The measured value; the prediction where it covers more epochs than were monitored and the
    /// training was not stopped early, and where nothing was measured. carbontracker-slurm
    /// measures the whole job whatever it monitors, so there the measured value always counts.
    pub fn counted(&self) -> Vec<Counted<'_, 'a>> {
        let sessions = &self.standard.sessions;
        let is_told_apart = sessions.len() == self.trackers.len()
            && !sessions.iter().any(|session| session.is_interleaved);
        let all = Trained::of(sessions);
        let count = |(index, tracker): (usize, &Tracker)| {
            let own = sessions.get(index..=index).filter(|_| is_told_apart);
            let trained = own.map_or(all, Trained::of);
            self.count(*tracker, trained)
        };
        self.trackers.iter().enumerate().filter_map(count).collect()
    }

    fn count(&self, tracker: Tracker, trained: Trained) -> Option<Counted<'_, 'a>> {
        let block = |at: Option<usize>| at.and_then(|at| self.output.blocks.get(at));
        let (actual, predicted) = (block(tracker.actual), block(tracker.predicted));
        let (counting, why) = decide(actual, predicted, trained);
        let block = match counting {
            Counting::Actual => actual?,
            Counting::Prediction => predicted?,
        };
        Some(Counted { counting, why, block, devices_factor: trained.devices_factor })
    }
}

/// What the standard log says of one tracker, or of all where they cannot be told apart.
#[derive(Clone, Copy, Debug)]
struct Trained {
    is_ours: bool,
    is_early_stop: bool,
    devices_factor: Option<f64>,
}

impl Trained {
    fn of(sessions: &[Session<'_>]) -> Self {
        Self {
            is_ours: !sessions.is_empty() && sessions.iter().all(|s| s.writer == Writer::Slurm),
            is_early_stop: sessions.iter().any(|s| s.is_early_stop),
            devices_factor: common_factor(sessions),
        }
    }
}

fn order_of(sessions: &[Session<'_>], output: &OutputLog<'_>) -> Order {
    if sessions.iter().any(|s| s.is_interleaved) {
        Order::Interleaved
    } else if sessions.is_empty() {
        guess_order(output)
    } else if sessions.iter().all(|s| s.writer == Writer::Slurm) {
        Order::One
    } else {
        Order::Sequential
    }
}

fn decide(
    actual: Option<&Block<'_>>,
    predicted: Option<&Block<'_>>,
    trained: Trained,
) -> (Counting, &'static str) {
    let Some(actual) = actual else {
        return (Counting::Prediction, "no measured consumption in the log");
    };
    let Some(predicted) = predicted else { return (Counting::Actual, "no prediction in the log") };
    if !actual.energy_kwh.is_finite() {
        (Counting::Prediction, "the measured energy is not a number")
    } else if trained.is_ours {
        (Counting::Actual, "the whole job was measured")
    } else if trained.is_early_stop {
        (Counting::Actual, "the training was stopped early")
    } else if actual.epochs.is_some_and(|done| predicted.epochs.is_some_and(|all| all > done)) {
        (Counting::Prediction, "not all epochs were monitored")
    } else {
        (Counting::Actual, "all epochs were monitored")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::parser::{parse_output, parse_standard};

    fn standard(version: &str, last: &str) -> String {
        let messages = [
            &format!("carbontracker version {version}"),
            "The following components were found: GPU with device(s) A, B. CPU with device(s) c.",
            "Epoch 1:",
            "Duration: 0:00:10",
            "Average power usage (W) for gpu: 100.0",
            "Average power usage (W) for cpu: 100.0",
            last,
        ];
        messages.iter().map(|m| format!("2026-01-01 00:00:00 - {m}\n")).collect()
    }

    fn output(blocks: &[(&str, f64)]) -> String {
        let block = |(title, kwh): &(&str, f64)| {
            format!(
                "2026-01-01 00:00:00 - CarbonTracker: \n{title}\n\tTime:\t0:00:10\n\
                 \tEnergy:\t{kwh} kWh\n\tCO2eq:\t1.0 g\n"
            )
        };
        blocks.iter().map(block).collect()
    }

    fn counted(standard: &str, output: &str) -> Vec<(Counting, f64, Option<f64>)> {
        let run = Run::new(parse_standard(standard.as_bytes()), parse_output(output.as_bytes()));
        let short = |c: Counted<'_, '_>| (c.counting, c.block.energy_kwh, c.devices_factor);
        run.counted().into_iter().map(short).collect()
    }

    const ACTUAL: (&str, f64) = ("Actual consumption for 1 epoch(s):", 1.0);
    const PREDICTED: (&str, f64) = ("Predicted consumption for 100 epoch(s):", 90.0);

    #[test]
    fn the_prediction_counts_where_it_covers_more_and_nobody_stopped() {
        // Two GPUs at a mean of 100 W and one CPU at 100 W: 300 W instead of the logged 200 W.
        let log = standard("2.4.7", "Monitoring thread ended.");
        let blocks = output(&[PREDICTED, ACTUAL]);
        assert_eq!(counted(&log, &blocks), [(Counting::Prediction, 90.0, Some(1.5))]);
        let log = standard("2.4.7", "Training was interrupted before all 9 epochs were monitored.");
        assert_eq!(counted(&log, &blocks), [(Counting::Actual, 1.0, Some(1.5))]);
    }

    #[test]
    fn our_own_last_actual_block_counts() {
        let log = standard("0.1.0 (carbontracker-slurm)", "Monitoring thread ended.");
        let blocks = output(&[PREDICTED, ACTUAL, ("Actual consumption for 60 epoch(s):", 55.0)]);
        assert_eq!(counted(&log, &blocks), [(Counting::Actual, 55.0, Some(1.0))]);
    }

    #[test]
    fn a_measured_value_that_is_no_number_gives_way_to_a_prediction() {
        let log = standard("2.4.7", "Monitoring thread ended.");
        let blocks = output(&[PREDICTED, ("Actual consumption for 100 epoch(s):", f64::NAN)])
            .replace("NaN", "nan");
        assert_eq!(counted(&log, &blocks), [(Counting::Prediction, 90.0, Some(1.5))]);
    }

    #[test]
    fn an_output_log_alone_counts() {
        assert_eq!(counted("", &output(&[ACTUAL])), [(Counting::Actual, 1.0, Some(1.0))]);
    }
}
