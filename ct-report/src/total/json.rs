//! A total as `aggregate --json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{CountedRun, Total};
use crate::diagnostic::SkippedPart;
use crate::load::path_text;

impl Total {
    /// The sum and each run, as `aggregate --json` prints them.
    pub(crate) fn to_json(&self, skipped: &[SkippedPart]) -> TotalJson<'_> {
        let (logged, all) = (self.sum(false), self.sum(true));
        let run = |run: &'_ CountedRun| {
            let is_counted = run.counted != "none";
            (is_counted.then_some(run.amount.energy_kwh), is_counted.then_some(run.amount.co2eq_g))
        };
        let runs = self.runs.iter().map(|r| {
            let (energy_kwh, co2eq_g) = run(r);
            RunJson {
                stem: &r.stem,
                counted: r.counted,
                why: &r.why,
                is_simulated: r.is_simulated,
                energy_kwh,
                co2eq_g,
            }
        });
        let skipped = skipped.iter().map(|part| SkippedJson {
            path: path_text(Some(&part.path)).unwrap_or_default(),
            line: part.line,
            reason: part.reason.clone(),
        });
        TotalJson {
            energy_kwh: logged.energy_kwh,
            co2eq_g: logged.co2eq_g,
            equivalents: logged
                .equivalents
                .iter()
                .map(|(unit, v)| (unit.to_string(), *v))
                .collect(),
            energy_all_devices_kwh: all.energy_kwh,
            co2eq_all_devices_g: all.co2eq_g,
            modelled_share: self.modelled_share(),
            runs: runs.collect(),
            skipped: skipped.collect(),
        }
    }
}

/// What `aggregate --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct TotalJson<'a> {
    energy_kwh: f64,
    co2eq_g: f64,
    equivalents: BTreeMap<String, f64>,
    energy_all_devices_kwh: f64,
    co2eq_all_devices_g: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modelled_share: Option<f64>,
    runs: Vec<RunJson<'a>>,
    skipped: Vec<SkippedJson>,
}

#[derive(Debug, Serialize)]
struct RunJson<'a> {
    stem: &'a str,
    counted: &'static str,
    why: &'a str,
    /// Its blocks show simulated components; a record's energy is what was metered all the same.
    #[serde(rename = "simulated", skip_serializing_if = "std::ops::Not::not")]
    is_simulated: bool,
    energy_kwh: Option<f64>,
    co2eq_g: Option<f64>,
}

#[derive(Debug, Serialize)]
struct SkippedJson {
    path: String,
    line: Option<usize>,
    reason: String,
}
