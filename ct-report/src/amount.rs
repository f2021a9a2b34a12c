//! Amounts for the eye: one prefix for all that stands together, and few digits.

/// 1 kWh is 3.6 MJ.
pub(crate) const KWH_UJ: f64 = 3.6e12;

/// A unit with a prefix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Its name: `Wh`, `kWh`, `MWh`.
    pub(crate) unit: &'static str,
    /// How many of the base unit it is.
    factor: f64,
    /// Decimals of every number, by the greatest.
    decimals: usize,
}

impl Scale {
    /// For energies of which this is the greatest, in microjoules.
    pub(crate) fn energy(max_uj: u128) -> Self {
        // 1 Wh is 3.6 kJ.
        const WH_UJ: f64 = KWH_UJ / 1e3;
        pick(
            max_uj as f64,
            &[
                ("mWh", WH_UJ / 1e3),
                ("Wh", WH_UJ),
                ("kWh", WH_UJ * 1e3),
                ("MWh", WH_UJ * 1e6),
                ("GWh", WH_UJ * 1e9),
            ],
        )
    }

    /// For masses of which this is the greatest, in grams of CO2e.
    pub(crate) fn mass(max_g: f64) -> Self {
        pick(max_g, &[("mg", 1e-3), ("g", 1.0), ("kg", 1e3), ("t", 1e6)])
    }

    /// For powers of which this is the greatest, in watts.
    pub(crate) fn power(max_w: f64) -> Self {
        pick(max_w, &[("mW", 1e-3), ("W", 1.0), ("kW", 1e3), ("MW", 1e6)])
    }

    /// The number of this unit.
    pub(crate) fn of(self, base: f64) -> f64 {
        base / self.factor
    }

    /// The number of this unit, rounded.
    pub(crate) fn show(self, base: f64) -> String {
        format!("{:.*}", self.decimals, self.of(base))
    }

    /// The amount with its unit.
    pub(crate) fn with_unit(self, base: f64) -> String {
        format!("{} {}", self.show(base), self.unit)
    }
}

fn pick(max: f64, units: &[(&'static str, f64)]) -> Scale {
    // Of nothing the second is shown, that without a prefix.
    let least = if max > 0.0 { units.first() } else { units.get(1) };
    let fits = units.iter().rev().find(|(_, factor)| max >= *factor);
    let (unit, factor) = *fits.or(least).unwrap_or(&("", 1.0));
    Scale { unit, factor, decimals: decimals(max / factor) }
}

/// An energy with its unit.
pub(crate) fn energy(uj: u128) -> String {
    Scale::energy(uj).with_unit(uj as f64)
}

/// A mass with its unit.
pub(crate) fn mass(g: f64) -> String {
    format!("{} CO2e", Scale::mass(g).with_unit(g))
}

/// Three decimals below ten, fewer above, more where there is less than the least unit shows.
fn decimals(max: f64) -> usize {
    match max {
        m if m > 0.0 && m < 0.1 => decimals_of_small(m),
        m if m < 10.0 => 3,
        m if m < 100.0 => 2,
        m if m < 1000.0 => 1,
        _ => 0,
    }
}

/// Digits that count of a number that would otherwise be shown as nothing.
const SIGNIFICANT: i32 = 3;

/// Decimals that show as many digits of a number below one as count.
pub(crate) fn decimals_of_small(number: f64) -> usize {
    // The first digit that counts is the -exponent-th decimal.
    let exponent = number.abs().log10().floor() as i32;
    usize::try_from(SIGNIFICANT - 1 - exponent).unwrap_or_default()
}

/// A whole number in groups of three digits, kept together by narrow blanks.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 && !out.ends_with('-') {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A share as per cent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Time as days-hours:minutes:seconds, as Slurm has it.
pub(crate) fn time(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    let days = if s >= 86_400 { format!("{}-", s / 86_400) } else { String::new() };
    format!("{days}{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prefix_holds_for_all() {
        let scale = Scale::energy(7_200_000_000_000);
        // 7.2 MJ are 2 kWh.
        assert_eq!(
            (scale.unit, scale.show(7.2e12), scale.show(3.6e10)),
            ("kWh", "2.000".into(), "0.010".into())
        );
        assert_eq!(energy(0), "0.000 Wh");
        assert_eq!(energy(3_600_000_000), "1.000 Wh");
        assert_eq!(mass(1234.5), "1.234 kg CO2e");
        assert_eq!(mass(0.0), "0.000 g CO2e");
        // 36 mJ are 0.01 mWh.
        assert_eq!((energy(36_000), energy(720_000)), ("0.0100 mWh".into(), "0.200 mWh".into()));
        assert_eq!(grouped(1_409_643.2), "1\u{202f}409\u{202f}643");
        assert_eq!((grouped(0.4), grouped(999.0)), ("0".into(), "999".into()));
        assert_eq!(Scale::power(1500.0).with_unit(1500.0), "1.500 kW");
    }

    #[test]
    fn times_are_as_slurm_shows_them() {
        assert_eq!(time(59.6), "00:01:00");
        assert_eq!(time(90_061.0), "1-01:01:01");
        assert_eq!(percent(0.9051), "90.5 %");
    }
}
