//! Upstream's aggregate sentence.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::Result;

use crate::total::Amount;
use ct_core::text::printable;

/// Prints the sentence, as `print_aggregate` of upstream does.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(amount: &Amount) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", sentence(amount))?;
    out.flush()?;
    Ok(())
}

fn sentence(amount: &Amount) -> String {
    let (energy, co2eq_kg) = (amount.energy_kwh, amount.co2eq_g / 1000.0);
    let mut text = format!(
        "The training of models in this work is estimated to use {} kWh of electricity \
         contributing to {} kg of CO2eq. ",
        number(energy),
        number(co2eq_kg)
    );
    let equivalents = amount.equivalents.iter();
    let equivalents: Vec<_> =
        equivalents.map(|(unit, v)| format!("{} {}", number(*v), printable(unit))).collect();
    if !equivalents.is_empty() {
        let _ = write!(text, "This is equivalent to {}. ", equivalents.join(" or "));
    }
    text + "Measured by carbontracker (https://github.com/lfwa/carbontracker)."
}

/// Sixteen decimals, and `nan` as C and Python write it.
fn number(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { format!("{value:.16}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_upstreams() {
        let equivalents = vec![("km travelled by car".into(), 0.5), ("x".into(), 2.0)];
        let mut amount = Amount { energy_kwh: 4.494, co2eq_g: 423.0, equivalents };
        assert_eq!(
            sentence(&amount),
            "The training of models in this work is estimated to use 4.4939999999999998 kWh of \
             electricity contributing to 0.4230000000000000 kg of CO2eq. This is equivalent to \
             0.5000000000000000 km travelled by car or 2.0000000000000000 x. Measured by \
             carbontracker (https://github.com/lfwa/carbontracker)."
        );
        amount.equivalents.clear();
        assert!(sentence(&amount).contains("CO2eq. Measured by"));
    }
}
