//! The text of carbontracker's logs, as releases up to 2.4.7 write it.
//!
//! Values in, lines out; nothing is written here. Times are local, as upstream's are.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Local};

use crate::carbon::km_by_car;
use crate::option::Simulated;
use crate::units::{GramsCo2e, KilowattHours};

/// The three logs, as text that is still to be appended to the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogText {
    /// `…_carbontracker.log`.
    pub standard: String,
    /// `…_carbontracker_output.log`.
    pub output: String,
    /// `…_carbontracker_err.log`.
    pub error: String,
}

impl LogText {
    /// Adds a record to the standard log.
    pub fn standard(&mut self, at: DateTime<Local>, message: impl Display) {
        push(&mut self.standard, format_args!("{} - {message}\n", stamp(at)));
    }

    /// Adds a record to the output log and returns it as it is printed: without its date.
    pub fn output(&mut self, at: DateTime<Local>, message: impl Display) -> String {
        push(&mut self.output, format_args!("{} - CarbonTracker: {message}\n", stamp(at)));
        format!("CarbonTracker: {message}\n")
    }

    /// Adds a record to the error log.
    pub fn error(&mut self, at: DateTime<Local>, level: &str, message: impl Display) {
        let stamp = at.format("%Y-%m-%d %H:%M:%S,%3f");
        push(&mut self.error, format_args!("{stamp} - MainThread - {level} - {message}\n"));
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.standard.is_empty() && self.output.is_empty() && self.error.is_empty()
    }

    /// Length in bytes of all three.
    pub fn len(&self) -> usize {
        self.standard.len() + self.output.len() + self.error.len()
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
}

fn stamp(at: DateTime<Local>) -> impl Display {
    at.format("%Y-%m-%d %H:%M:%S")
}

/// Name of the files without their endings: `[PREFIX_]JOBID.RESTART_DATE`.
pub fn stem(prefix: &str, job_id: u32, restart: u32, at: DateTime<Local>) -> String {
    let separator = if prefix.is_empty() { "" } else { "_" };
    // The Z is upstream's; the time is local all the same.
    format!("{prefix}{separator}{job_id}.{restart}_{}", at.format("%Y-%m-%dT%H%M%SZ"))
}

/// Names of the files of a stem: standard, output and error log, record.
pub fn file_names(stem: &str) -> Vec<String> {
    ["_carbontracker.log", "_carbontracker_output.log", "_carbontracker_err.log"]
        .into_iter()
        .chain(["_carbontracker.json"])
        .map(|ending| format!("{stem}{ending}"))
        .collect()
}

/// What a block reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Consumption {
    /// Time.
    pub duration: Duration,
    /// Energy with PUE.
    pub energy: KilowattHours,
    /// Footprint with PUE.
    pub footprint: GramsCo2e,
}

/// How a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStyle {
    /// Decimals of every value but the time.
    pub decimals: usize,
    /// Whether the equivalent is added.
    pub interpretable: bool,
}

/// A consumption block, without its last newline.
pub fn block(title: &str, what: Consumption, style: BlockStyle) -> String {
    let BlockStyle { decimals, interpretable } = style;
    let time = time(what.duration);
    let kwh = what.energy.as_kwh();
    let grams = what.footprint.as_grams();
    let mut text = format!(
        "\n{title}:\n\tTime:\t{time}\n\tEnergy:\t{kwh:.decimals$} kWh\n\tCO2eq:\t{grams:.decimals$} g"
    );
    if interpretable {
        let km = km_by_car(what.footprint);
        text.push_str(&format!(
            "\n\tThis is equivalent to:\n\t{km:.decimals$} km travelled by car"
        ));
    }
    text
}

/// `H:MM:SS`, rounded to seconds half to even.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round_ties_even() as u64;
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `H:MM:SS.ss`.
pub fn epoch_time(duration: Duration) -> String {
    let hundredths = (duration.as_secs_f64() * 100.0).round_ties_even() as u64;
    let seconds = hundredths / 100;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}.{:02}", seconds % 60, hundredths % 100)
}

/// The sentence of the components: upper-case name, devices.
pub fn components_sentence(components: &[(&str, Vec<String>)]) -> String {
    let sentence = |(name, devices): &(&str, Vec<String>)| {
        format!(" {} with device(s) {}.", name.to_uppercase(), devices.join(", "))
    };
    let found: String = components.iter().map(sentence).collect();
    format!("The following components were found:{found}")
}

/// Upstream's sentence of a simulated CPU; its watts are those at the utilisation.
pub fn simulated_cpu(cpu: &Simulated) -> String {
    let (name, load) = (&cpu.name, load(cpu));
    format!("Using simulated CPU: {name} with TDP: {load}")
}

/// Upstream's sentence of a simulated GPU; its watts are those at the utilisation.
pub fn simulated_gpu(gpu: &Simulated) -> String {
    let (name, load) = (&gpu.name, load(gpu));
    format!("Using simulated GPU: {name} with power consumption: {load}")
}

fn load(component: &Simulated) -> String {
    let (watts, percent) = (component.power().as_watts(), component.utilisation * 100.0);
    format!("{watts:.2}W (at {percent:.0}% utilization)")
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    #[test]
    fn times_as_upstream_prints_them() {
        for (s, text) in [(0.0, "0:00:00"), (59.5, "0:01:00"), (8.4, "0:00:08"), (2.5, "0:00:02")] {
            assert_eq!(time(Duration::from_secs_f64(s)), text);
        }
        assert_eq!(time(Duration::from_secs(444_034)), "123:20:34");
        assert_eq!(epoch_time(Duration::from_millis(6_020)), "0:00:06.02");
        assert_eq!(epoch_time(Duration::from_millis(59_999)), "0:01:00.00");
    }

    #[test]
    fn a_block_as_upstream_prints_it() {
        let what = Consumption {
            duration: Duration::from_secs(24),
            energy: KilowattHours::new(0.001_816_734_951),
            footprint: GramsCo2e::new(0.808_447_053_35),
        };
        let style = BlockStyle { decimals: 12, interpretable: true };
        assert_eq!(
            block("Actual consumption for 3 epoch(s)", what, style),
            "\nActual consumption for 3 epoch(s):\n\tTime:\t0:00:24\n\
             \tEnergy:\t0.001816734951 kWh\n\tCO2eq:\t0.808447053350 g\n\
             \tThis is equivalent to:\n\t0.007569728964 km travelled by car"
        );
    }

    #[test]
    fn records_carry_their_prefix() {
        let at = Local.with_ymd_and_hms(2023, 4, 5, 6, 7, 41).unwrap();
        let mut text = LogText::default();
        text.standard(at, "Epoch 1:");
        assert_eq!(
            text.output(at, "Finished monitoring."),
            "CarbonTracker: Finished monitoring.\n"
        );
        text.error(at, "WARNING", "x");
        assert_eq!(text.standard, "2023-04-05 06:07:41 - Epoch 1:\n");
        assert_eq!(text.output, "2023-04-05 06:07:41 - CarbonTracker: Finished monitoring.\n");
        assert_eq!(text.error, "2023-04-05 06:07:41,000 - MainThread - WARNING - x\n");
        assert_eq!(stem("", 42, 1, at), "42.1_2023-04-05T060741Z");
        assert_eq!(
            file_names(&stem("p", 4, 0, at))[0],
            "p_4.0_2023-04-05T060741Z_carbontracker.log"
        );
    }

    #[test]
    fn components_as_upstream_names_them() {
        let found =
            [("gpu", vec!["A".to_owned(), "B".to_owned()]), ("cpu", vec!["cpu:0".to_owned()])];
        assert_eq!(
            components_sentence(&found),
            "The following components were found: GPU with device(s) A, B. CPU with device(s) cpu:0."
        );
    }

    #[test]
    fn simulated_components_as_upstream_names_them() {
        // 205 W at half load are 102.5 W.
        let cpu = Simulated { name: "Xeon".to_owned(), full_w: 205.0, utilisation: 0.5 };
        assert_eq!(
            simulated_cpu(&cpu),
            "Using simulated CPU: Xeon with TDP: 102.50W (at 50% utilization)"
        );
        let gpu = Simulated { name: "A100".to_owned(), full_w: 400.0, utilisation: 1.0 };
        assert_eq!(
            simulated_gpu(&gpu),
            "Using simulated GPU: A100 with power consumption: 400.00W (at 100% utilization)"
        );
    }
}
