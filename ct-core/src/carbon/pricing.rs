//! Prices energy by hour: grams, the mean intensity, and what it rests on.

use chrono::{DateTime, TimeDelta, Utc};

use super::Factors;
use super::intensity::hour_of;
use crate::energy::HourEnergy;
use crate::record::IntensityUsed;
use crate::units::{CarbonIntensity, GramsCo2e, Joules};

/// Sources that a record names; more are "and others".
const MOST_SOURCES: usize = 4;

/// Hours a span is looked at; of a longer one the first.
const MOST_HOURS: usize = 24 * 366;

/// Energy by hour in grams.
#[derive(Clone, Debug, PartialEq)]
pub struct Pricing {
    /// Operational footprint, with PUE: the sum over the hours.
    pub footprint: GramsCo2e,
    /// Energy-weighted mean intensity, its zone and sources.
    pub used: IntensityUsed,
    /// For which share of the energy the intensity is not what the site asked for.
    pub warnings: Vec<String>,
}

impl Pricing {
    /// The mean intensity.
    pub fn mean(&self) -> CarbonIntensity {
        // A mean of intensities is one.
        CarbonIntensity::new(self.used.g_per_kwh).unwrap_or(CarbonIntensity::ZERO)
    }
}

/// A weighted mean of intensities; of equal ones it is exactly theirs.
#[derive(Default)]
pub(crate) struct Mean {
    weights: f64,
    weighted_g: f64,
    range: Option<(f64, f64)>,
}

impl Mean {
    /// Adds an intensity with its weight.
    pub(crate) fn add(&mut self, intensity: CarbonIntensity, weight: f64) {
        let g = intensity.as_g_per_kwh();
        self.weights += weight;
        self.weighted_g += g * weight;
        let (low, high) = self.range.unwrap_or((g, g));
        self.range = Some((low.min(g), high.max(g)));
    }

    /// The mean; `None` of no weight.
    pub(crate) fn get(&self) -> Option<CarbonIntensity> {
        let (low, high) = self.range.filter(|_| self.weights > 0.0)?;
        CarbonIntensity::new((self.weighted_g / self.weights).clamp(low, high))
    }
}

/// Weight that each source has in the sum.
#[derive(Default)]
struct Shares {
    by_source: Vec<(String, String, f64)>,
    fallback: f64,
    forecast: f64,
    mean: Mean,
}

impl Shares {
    fn add(&mut self, factors: &Factors, at: DateTime<Utc>, weight: f64) {
        let hour = factors.hour(at);
        let (zone, source) = match (hour, &factors.series) {
            (Some(hour), Some(series)) => (series.zone(), &hour.source),
            _ => (factors.fallback.zone.as_str(), &factors.fallback.source),
        };
        match self.by_source.iter_mut().find(|(z, s, _)| z == zone && s == source) {
            Some((_, _, sum)) => *sum += weight,
            None => self.by_source.push((zone.to_owned(), source.clone(), weight)),
        }
        self.fallback += if hour.is_none() { weight } else { 0.0 };
        self.forecast += if hour.is_some_and(|h| h.is_forecast) { weight } else { 0.0 };
        self.mean.add(factors.intensity_at(at), weight);
    }

    fn used(mut self) -> IntensityUsed {
        self.by_source.sort_by(|a, b| b.2.total_cmp(&a.2));
        let zone = self.by_source.first().map(|(zone, ..)| zone.clone()).unwrap_or_default();
        let mut sources: Vec<&str> =
            self.by_source.iter().map(|(_, source, _)| source.as_str()).collect();
        if sources.len() > MOST_SOURCES {
            sources.truncate(MOST_SOURCES);
            sources.push("and others");
        }
        let g_per_kwh = self.mean.get().map_or(0.0, CarbonIntensity::as_g_per_kwh);
        IntensityUsed { g_per_kwh, zone, source: sources.join("; ") }
    }

    fn warnings(&self, factors: &Factors) -> Vec<String> {
        let mut out: Vec<String> = factors.series_problem.iter().cloned().collect();
        let share = |part: f64| percent(part / self.mean.weights);
        if let Some(series) = factors.series.as_deref().filter(|_| self.fallback > 0.0) {
            let (g, source) = (factors.fallback.intensity.as_g_per_kwh(), &factors.fallback.source);
            out.push(format!(
                "the series has no intensity of zone {} for {} of the energy: {g} g/kWh is used, {source}",
                series.zone(),
                share(self.fallback)
            ));
        }
        if self.forecast > 0.0 {
            out.push(format!(
                "the intensity is a forecast for {} of the energy",
                share(self.forecast)
            ));
        }
        out
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p >= 99.95 => "all".to_owned(),
        p if p < 0.1 => "less than 0.1 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

impl Factors {
    /// Prices energy by hour. Without energy the hours count alike, and without hours the one in
    /// which `at` lies, so that there is always an intensity to name.
    pub fn price(&self, hours: &[HourEnergy], at: DateTime<Utc>) -> Pricing {
        let joules = |hour: &HourEnergy| hour.energy().total().to_joules();
        let footprint =
            hours.iter().map(|h| self.footprint(joules(h), self.intensity_at(h.0))).sum();
        let mut shares = Shares::default();
        let has_energy = hours.iter().any(|h| joules(h) > Joules::new(0.0));
        for hour in hours {
            let weight = if has_energy { joules(hour).as_joules() } else { 1.0 };
            if weight > 0.0 {
                shares.add(self, hour.0, weight);
            }
        }
        if hours.is_empty() {
            shares.add(self, at, 1.0);
        }
        let warnings = shares.warnings(self);
        Pricing { footprint, warnings, used: shares.used() }
    }

    /// Mean intensity over a span of time that may lie ahead; hours without a value count with the
    /// fallback.
    pub fn mean_over(&self, start: DateTime<Utc>, end: DateTime<Utc>) -> CarbonIntensity {
        let mut mean = Mean::default();
        let mut from = start;
        for _ in 0..MOST_HOURS {
            let next = (hour_of(from) + TimeDelta::hours(1)).min(end);
            if next <= from {
                break;
            }
            mean.add(self.intensity_at(from), (next - from).as_seconds_f64());
            from = next;
        }
        mean.get().unwrap_or_else(|| self.intensity_at(start))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::carbon::intensity::IntensitySeries;
    use crate::carbon::series;
    use crate::config::Config;
    use crate::units::Microjoules;

    fn factors(file: &str) -> Factors {
        let mut config = Config::default();
        config.power.pue = Some(1.5);
        config.carbon.country = Some("DK".to_owned());
        let series = IntensitySeries::new("DK1", &series::parse(file).0);
        Factors { series: Some(Arc::new(series)), ..Factors::from_config(&config) }
    }

    fn hour(hour: u32, kwh: f64) -> HourEnergy {
        let at = format!("2026-11-23T{hour:02}:00:00Z").parse().unwrap();
        let zero = Microjoules::ZERO;
        HourEnergy(at, Joules::new(kwh * 3.6e6).to_microjoules(), zero, zero, zero)
    }

    const FILE: &str = "2026-11-23T10:00:00Z,DK1,100,X actual\n\
                        2026-11-23T11:00:00Z,DK1,300,X forecast\n";

    #[test]
    fn grams_are_the_sum_over_the_hours() {
        // 1 kWh at 100 and 3 kWh at 300 with PUE 1.5: 150 + 1350 g.
        let priced = factors(FILE).price(&[hour(10, 1.0), hour(11, 3.0)], Utc::now());
        assert!((priced.footprint.as_grams() - 1500.0).abs() < 1e-9);
        // (100 + 900) / 4 kWh.
        assert!((priced.used.g_per_kwh - 250.0).abs() < 1e-9);
        assert_eq!((&*priced.used.zone, &*priced.used.source), ("DK1", "X forecast; X actual"));
        assert_eq!(priced.warnings, ["the intensity is a forecast for 75.0 % of the energy"]);
    }

    #[test]
    fn hours_without_a_value_fall_back_and_say_so() {
        let priced = factors(FILE).price(&[hour(10, 3.0), hour(12, 1.0)], Utc::now());
        // 3 · 1.5 · 100 + 1 · 1.5 · 143.3.
        assert!((priced.footprint.as_grams() - 664.95).abs() < 1e-6);
        assert!(priced.used.source.contains("X actual; annual average of Denmark"));
        let [warning] = &priced.warnings[..] else { panic!("{:?}", priced.warnings) };
        assert!(warning.contains("zone DK1 for 25.0 % of the energy: 143.3 g/kWh"), "{warning}");

        let all = factors("").price(&[hour(12, 1.0)], Utc::now());
        assert!(all.warnings[0].contains("for all of the energy"), "{:?}", all.warnings);
        assert_eq!(all.used.zone, "DK");
    }

    #[test]
    fn without_energy_there_is_an_intensity_all_the_same() {
        let factors = factors(FILE);
        let priced = factors.price(&[hour(10, 0.0), hour(11, 0.0)], Utc::now());
        assert_eq!((priced.footprint.as_grams(), priced.used.g_per_kwh), (0.0, 200.0));
        let at = "2026-11-23T10:30:00Z".parse().unwrap();
        assert_eq!(factors.price(&[], at).used.g_per_kwh, 100.0);
    }

    #[test]
    fn the_mean_over_a_span_goes_by_time() {
        let factors = factors(FILE);
        let at = |time: &str| format!("2026-11-23T{time}Z").parse().unwrap();
        // A quarter at 100, a quarter at 300.
        let mean = factors.mean_over(at("10:45:00"), at("11:15:00")).as_g_per_kwh();
        assert!((mean - 200.0).abs() < 1e-9);
        // Half an hour at 300, half an hour at Denmark's.
        let mean = factors.mean_over(at("11:30:00"), at("12:30:00")).as_g_per_kwh();
        assert!((mean - (300.0 + 143.3) / 2.0).abs() < 1e-9);
        assert_eq!(factors.mean_over(at("10:00:00"), at("10:00:00")).as_g_per_kwh(), 100.0);
        // Of equal values the mean is theirs, to the last digit.
        let fixed = Factors { series: None, ..factors };
        let priced = fixed.price(&[hour(8, 0.1), hour(9, 0.7), hour(10, 0.3)], Utc::now());
        assert_eq!(priced.used.g_per_kwh, 143.3);
    }
}
