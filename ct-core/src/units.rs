//! Every unit and every conversion factor.
//!
//! Elsewhere the compiler carries the unit: a number enters a type by a constructor that names its
//! unit and leaves it by a method that does. Energy comes in two types: [`Microjoules`], the
//! integer that is summed and written down, and [`Joules`], the float that is multiplied.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// Microjoules per joule.
const UJ_PER_J: u64 = 1_000_000;
/// Joules per kilowatt-hour: 1000 W for 3600 s.
const J_PER_KWH: f64 = 3_600_000.0;

/// Energy in whole microjoules, the unit in which sums are exact.
///
/// On the wire it is a decimal number of joules with exactly six places; it is read back as an
/// integer, never through a float, so that a sum over a million records is still exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microjoules(u64);

impl Microjoules {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// Takes a number of microjoules.
    pub const fn new(uj: u64) -> Self {
        Self(uj)
    }

    /// The number of microjoules.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The nearest value in joules; exact up to 9 GJ.
    pub fn to_joules(self) -> Joules {
        Joules(self.0 as f64 / UJ_PER_J as f64)
    }

    /// `self - other`, or nothing where that would be negative.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads a decimal number of joules with at most six places, exactly.
    ///
    /// # Errors
    ///
    /// [`ParseEnergyError`] for anything else, negative numbers and exponents included.
    pub fn parse_joules(text: &str) -> Result<Self, ParseEnergyError> {
        parse_micros(text.as_bytes())
            .map(Self)
            .ok_or_else(|| ParseEnergyError { text: text.chars().take(40).collect() })
    }

    /// Reads such a number of JSON at the beginning of `text`; says how long it is. The quick way for
    /// a ledger, which is mostly such numbers.
    pub(crate) fn parse_first(text: &[u8]) -> Option<(Self, usize)> {
        let (whole, n_whole) = leading_digits(text)?;
        if n_whole > 1 && text[0] == b'0' {
            return None;
        }
        let micros = whole.checked_mul(UJ_PER_J)?;
        if text.get(n_whole) != Some(&b'.') {
            return Some((Self(micros), n_whole));
        }
        let (fraction, n) = leading_digits(&text[n_whole + 1..])?;
        let of_one = 10_u64.pow(6_usize.checked_sub(n)?.try_into().ok()?);
        Some((Self(micros.checked_add(fraction * of_one)?), n_whole + 1 + n))
    }
}

/// The number that `text` begins with, of 1 to 19 digits, and how many there are.
fn leading_digits(text: &[u8]) -> Option<(u64, usize)> {
    let (mut number, mut n) = (0, 0);
    while let Some(digit) = text.get(n).map(|b| b.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        if n == 19 {
            return None;
        }
        number = number * 10 + u64::from(digit);
        n += 1;
    }
    (n > 0).then_some((number, n))
}

/// Digits, and after a point at most six more, as a whole number of millionths.
///
/// A ledger is mostly such numbers: no text is made of them on the way.
fn parse_micros(text: &[u8]) -> Option<u64> {
    let at = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let (whole, point) = text.split_at(at);
    let fraction = point.get(1..).unwrap_or_default();
    if whole.is_empty() || fraction.len() > 6 {
        return None;
    }
    let push = |number: u64, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    };
    let number = whole.iter().chain(fraction).try_fold(0, push)?;
    number.checked_mul(10_u64.pow(6 - u32::try_from(fraction.len()).ok()?))
}

/// A text that is no energy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("energy is {text:?}, expected joules as a decimal number ≥ 0 with at most six places")]
pub struct ParseEnergyError {
    /// What stood there, cut at 40 characters.
    pub text: String,
}

impl fmt::Display for Microjoules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / UJ_PER_J, self.0 % UJ_PER_J)
    }
}

impl Add for Microjoules {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Microjoules {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Microjoules {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Microjoules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Microjoules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::parse_joules(raw.get()).map_err(de::Error::custom)
    }
}

/// Energy in joules, for arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Joules(f64);

impl Joules {
    /// Takes a number of joules.
    pub const fn new(joules: f64) -> Self {
        Self(joules)
    }

    /// The number of joules.
    pub const fn as_joules(self) -> f64 {
        self.0
    }

    /// The same energy in kilowatt-hours.
    pub fn to_kilowatt_hours(self) -> KilowattHours {
        KilowattHours(self.0 / J_PER_KWH)
    }

    /// The nearest whole number of microjoules; what is not a positive number becomes zero.
    pub fn to_microjoules(self) -> Microjoules {
        Microjoules((self.0 * UJ_PER_J as f64).round() as u64)
    }

    /// Mean power over `duration`; zero over no time.
    pub fn over(self, duration: Duration) -> Watts {
        let seconds = duration.as_secs_f64();
        if seconds > 0.0 { Watts(self.0 / seconds) } else { Watts(0.0) }
    }
}

/// Power in watts.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Watts(f64);

impl Watts {
    /// Takes a number of watts.
    pub const fn new(watts: f64) -> Self {
        Self(watts)
    }

    /// The number of watts.
    pub const fn as_watts(self) -> f64 {
        self.0
    }
}

impl Mul<Duration> for Watts {
    type Output = Joules;
    fn mul(self, duration: Duration) -> Joules {
        Joules(self.0 * duration.as_secs_f64())
    }
}

/// Energy in kilowatt-hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct KilowattHours(f64);

impl KilowattHours {
    /// Takes a number of kilowatt-hours.
    pub const fn new(kwh: f64) -> Self {
        Self(kwh)
    }

    /// The number of kilowatt-hours.
    pub const fn as_kwh(self) -> f64 {
        self.0
    }
}

impl Mul<CarbonIntensity> for KilowattHours {
    type Output = GramsCo2e;
    fn mul(self, intensity: CarbonIntensity) -> GramsCo2e {
        GramsCo2e(self.0 * intensity.0)
    }
}

impl Mul<Pue> for KilowattHours {
    type Output = Self;
    fn mul(self, pue: Pue) -> Self {
        Self(self.0 * pue.0)
    }
}

/// Carbon intensity of electricity in gCO2e per kWh: finite and at least zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct CarbonIntensity(f64);

impl CarbonIntensity {
    /// No greenhouse gases at all.
    pub const ZERO: Self = Self(0.0);

    /// Takes a number of gCO2e/kWh, if it is finite and at least zero.
    pub fn new(g_per_kwh: f64) -> Option<Self> {
        (g_per_kwh.is_finite() && g_per_kwh >= 0.0).then_some(Self(g_per_kwh))
    }

    /// The number of gCO2e/kWh.
    pub const fn as_g_per_kwh(self) -> f64 {
        self.0
    }
}

/// Mass of greenhouse gases in grams of CO2 equivalent.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct GramsCo2e(f64);

impl GramsCo2e {
    /// Takes a number of grams.
    pub const fn new(grams: f64) -> Self {
        Self(grams)
    }

    /// The number of grams.
    pub const fn as_grams(self) -> f64 {
        self.0
    }
}

impl Add for GramsCo2e {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sum for GramsCo2e {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

/// Power usage effectiveness: facility energy over IT energy, finite and at least 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Pue(f64);

impl Pue {
    /// Takes a ratio, if it is finite and at least 1.
    pub fn new(ratio: f64) -> Option<Self> {
        (ratio.is_finite() && ratio >= 1.0).then_some(Self(ratio))
    }

    /// The ratio.
    pub const fn as_ratio(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_written_with_six_places_and_read_back_exactly() {
        for uj in [0, 1, 999_999, 1_000_000, 12_300_000, u64::MAX] {
            let json = serde_json::to_string(&Microjoules::new(uj)).unwrap();
            assert_eq!(json.split_once('.').unwrap().1.len(), 6, "{json}");
            assert_eq!(serde_json::from_str::<Microjoules>(&json).unwrap().as_u64(), uj);
        }
        // 26 GJ do not fit a float's 53 bits as microjoules.
        assert_eq!(Microjoules::parse_joules("26000000000.000001").unwrap().as_u64() % 10, 1);
    }

    #[test]
    fn what_is_no_energy_is_refused() {
        for text in ["", "-1.0", "1e3", "1.0000001", "nan", ".5", "99999999999999999999", "1.2.3"] {
            assert!(Microjoules::parse_joules(text).is_err(), "{text}");
        }
    }

    #[test]
    fn energy_is_read_as_far_as_64_bits_go() {
        let read = |text| Microjoules::parse_joules(text).ok().map(Microjoules::as_u64);
        assert_eq!(read("18446744073709.551615"), Some(u64::MAX));
        assert_eq!(read("18446744073709.551616"), None);
        assert_eq!(read("18446744073710"), None);
        assert_eq!((read("0001."), read("1.5")), (Some(1_000_000), Some(1_500_000)));
        assert_eq!(
            (read("1.+5"), read("+1"), read("1_0"), read("1.0000000")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_number_ends_where_json_ends_it() {
        let read = |text: &str| {
            let (energy, len) = Microjoules::parse_first(text.as_bytes())?;
            Some((energy.as_u64(), len))
        };
        assert_eq!(read("1.5,2"), Some((1_500_000, 3)));
        assert_eq!(read("0]"), Some((0, 1)));
        // What follows is for others to refuse.
        assert_eq!(read("1e3"), Some((1_000_000, 1)));
        for text in ["0.5", "0", "12.000001", "18446744073709.551615", "99999999999.999999"] {
            let whole = Microjoules::parse_joules(text).unwrap();
            assert_eq!(read(text), Some((whole.as_u64(), text.len())));
        }
        let nines = "9".repeat(30);
        for text in ["", ",", "-1", "01", "00.5", "1.", ".5", "1.0000001", "18446744073709.551616"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!((read(&nines), read(&format!("1.{nines}"))), (None, None));
    }

    #[test]
    fn two_hundred_watts_for_ninety_seconds_at_400_g_are_two_grams() {
        // 200 W for 90 s = 18 kJ = 5 Wh; at 400 gCO2e/kWh that is 2 g.
        let energy = Watts::new(200.0) * Duration::from_secs(90);
        let grams = energy.to_kilowatt_hours() * CarbonIntensity::new(400.0).unwrap();
        assert!((grams.as_grams() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn ranges_are_checked_when_built() {
        assert!(Pue::new(0.99).is_none() && Pue::new(f64::INFINITY).is_none());
        assert!(CarbonIntensity::new(-1.0).is_none() && CarbonIntensity::new(f64::NAN).is_none());
    }
}
