//! What carbontracker 2.4.7's own parser makes of logs, its defects included.
//!
//! For people who must reproduce a figure that was published with it; nothing else here uses it.
//! Its regular expressions are taken over word by word, its backtracking is not: what takes it
//! cubic time takes linear time here, with the same matches. Where it raises, this fails and says
//! with what.

mod consumption;
mod epochs;
mod pairs;
mod python;

use anyhow::{Result, anyhow};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Serialize, Serializer};

use crate::diagnostic::Hint;
use crate::total::Amount;
use consumption::{Consumption, get_consumption};
use epochs::{Components, is_early_stop, parse_logs};
pub(crate) use pairs::{LogDir, dirs};
use pairs::{Pair, get_all_logs};
use python::read_text;

/// Fails as upstream does.
fn raise(exception: &str) -> anyhow::Error {
    anyhow!("carbontracker 2.4.7 cannot read these logs: {exception}")
        .context(Hint("without --as-upstream they are read"))
}

/// One pair of logs, as `parse_all_logs` gives it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    output_filename: String,
    standard_filename: String,
    components: Components,
    early_stop: bool,
    actual: Option<Consumption>,
    pred: Option<Consumption>,
}

/// Upstream's `parse_all_logs`.
///
/// # Errors
///
/// Where upstream raises: for one log in the whole directory.
pub(crate) fn parse_all_logs(dir: &LogDir) -> Result<Vec<Entry>> {
    let entries: Vec<_> = get_all_logs(dir)?.par_iter().map(parse_pair).collect();
    entries.into_iter().collect()
}

fn parse_pair(pair: &Pair) -> Result<Entry> {
    let standard = read_text(&pair.standard.path)?;
    let (actual, pred) = get_consumption(&read_text(&pair.output.path)?)?;
    Ok(Entry {
        output_filename: pair.output.name.clone(),
        standard_filename: pair.standard.name.clone(),
        components: parse_logs(&standard)?,
        early_stop: is_early_stop(&standard),
        actual,
        pred,
    })
}

/// Upstream's `aggregate_consumption`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Aggregate {
    energy_kwh: f64,
    co2eq_g: f64,
    #[serde(serialize_with = "as_map")]
    equivalents: Vec<(String, f64)>,
}

/// What one pair of logs adds to an aggregate.
type Added = Option<Consumption>;

impl Aggregate {
    /// Adds the logs of a directory; says how many pairs there were.
    ///
    /// # Errors
    ///
    /// Where upstream raises: for one log in the whole directory.
    pub(crate) fn add_dir(&mut self, dir: &LogDir) -> Result<usize> {
        let pairs = get_all_logs(dir)?;
        let added: Vec<Result<Added>> = pairs.par_iter().map(counted).collect();
        for consumption in added {
            if let Some(consumption) = consumption? {
                self.add(&consumption);
            }
        }
        Ok(pairs.len())
    }

    fn add(&mut self, consumption: &Consumption) {
        // NaN energy makes the sum NaN, NaN of CO2eq is left out: so does upstream.
        self.energy_kwh += consumption.energy_kwh;
        if !consumption.co2eq_g.is_nan() {
            self.co2eq_g += consumption.co2eq_g;
        }
        for (unit, value) in consumption.equivalents.iter().flatten() {
            match self.equivalents.iter_mut().find(|(known, _)| known == unit) {
                Some((_, sum)) => *sum += value,
                None => self.equivalents.push((unit.clone(), *value)),
            }
        }
    }

    /// The sum, to be printed as a sentence.
    pub(crate) fn into_amount(self) -> Amount {
        let Self { energy_kwh, co2eq_g, equivalents } = self;
        let equivalents = equivalents.into_iter().map(|(unit, v)| (unit.into(), v)).collect();
        Amount { energy_kwh, co2eq_g, equivalents }
    }
}

/// The block that upstream adds up: mostly the prediction, as it takes every measured block for
/// one of a single epoch.
fn counted(pair: &Pair) -> Result<Added> {
    let output = read_text(&pair.output.path)?;
    let standard = read_text(&pair.standard.path)?;
    let (actual, pred) = get_consumption(&output)?;
    Ok(match (actual, pred) {
        (Some(actual), Some(pred)) => {
            let is_actual = is_early_stop(&standard) || actual.is_of_same_epochs(&pred);
            Some(if is_actual { actual } else { pred })
        }
        (actual, pred) => actual.or(pred),
    })
}

fn as_map<S: Serializer>(pairs: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
