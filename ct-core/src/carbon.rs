//! From joules to grams: g = Σ over hours of E(t) · PUE · I(t).
//!
//! Comes from [`crate::energy`], goes to [`crate::record`] and the logs. The factors are the
//! site's, or documented defaults that name their source wherever they are used: of an hour first
//! the site's series, then its fixed value, its country's annual average, the world's.

pub mod countries;
pub mod intensity;
mod pricing;
pub mod sci;
pub mod series;

#[cfg_attr(
    not(feature = "meters"),
    expect(unused_imports, reason = "jobs are measured only with meters")
)]
pub(crate) use pricing::Mean;
pub use pricing::Pricing;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::{self, Config};
use crate::units::{CarbonIntensity, GramsCo2e, Joules, KilowattHours, Microjoules, Pue};
use countries::{country, country_of_zone};
use intensity::{HourIntensity, IntensitySeries};

/// Data-centre PUE where the site gave none, and its source as upstream prints it.
pub const DEFAULT_PUE: f64 = 1.58;
/// Source of [`DEFAULT_PUE`].
pub const DEFAULT_PUE_SOURCE: &str =
    "Daniel Bizo, 2023, Uptime Institute Global Data Center Survey";
/// World average carbon intensity of electricity in 2024, in gCO2/kWh (IEA, Electricity 2025).
pub const WORLD_G_PER_KWH: f64 = 445.0;

/// Grams of CO2 per km of an average new car in the EU, as upstream 2.4 reckons (EEA, provisional
/// data of cars registered in 2024).
pub const CAR_G_PER_KM: f64 = 106.8;

/// An intensity that is the same at all hours.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// The value.
    pub intensity: CarbonIntensity,
    /// Zone it holds for.
    pub zone: String,
    /// Who says so, and for when.
    pub source: String,
}

impl Fixed {
    /// The site's value, else its country's, else that of the country its zone lies in, else the
    /// world's.
    fn from_config(carbon: &config::Carbon) -> Self {
        if let Some(intensity) = carbon.intensity_g_per_kwh.and_then(CarbonIntensity::new) {
            // With a series the zone is the series' own.
            let zone = carbon.zone.clone().unwrap_or_else(|| "site".to_owned());
            return Self { intensity, zone, source: "site configuration".to_owned() };
        }
        let named = carbon.country.as_deref().and_then(country);
        let of_zone = || carbon.zone.as_deref().and_then(country_of_zone);
        named.or_else(of_zone).map_or_else(Self::world, |country| country.fixed())
    }

    /// Whether it is the world's, because the site says nothing of its electricity.
    pub fn is_default(&self) -> bool {
        *self == Self::world()
    }

    fn world() -> Self {
        Self {
            intensity: CarbonIntensity::new(WORLD_G_PER_KWH).expect("445 is at least 0"),
            zone: "World".to_owned(),
            source: "default: world average 2024 (IEA, Electricity 2025)".to_owned(),
        }
    }
}

/// The factors in force on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Power usage effectiveness.
    pub pue: Pue,
    /// Where it comes from.
    pub pue_source: String,
    /// Carbon intensity where the series has none.
    pub fallback: Fixed,
    /// Whether the fallback is a guess, which is said in the log.
    pub is_guessed: bool,
    /// The site's series.
    pub series: Option<Arc<IntensitySeries>>,
    /// Why there is no series though the site names a file.
    pub series_problem: Option<String>,
    /// Embodied footprint of a node per hour, in g.
    pub embodied_g_per_node_hour: Option<f64>,
    /// Water in litres per kWh at the meter.
    pub water_l_per_kwh: Option<f64>,
}

impl Factors {
    /// The site's factors, with the documented defaults where it gave none; without the series,
    /// whose file is read elsewhere.
    pub fn from_config(config: &Config) -> Self {
        let default_pue = || Pue::new(DEFAULT_PUE).expect("1.58 is at least 1");
        let pue = config.power.pue.and_then(Pue::new);
        let site = |_| "site configuration".to_owned();
        Self {
            pue_source: pue.map_or_else(|| DEFAULT_PUE_SOURCE.to_owned(), site),
            pue: pue.unwrap_or_else(default_pue),
            fallback: Fixed::from_config(&config.carbon),
            is_guessed: false,
            series: None,
            series_problem: None,
            embodied_g_per_node_hour: config.carbon.embodied_g_per_node_hour,
            water_l_per_kwh: config.carbon.water_l_per_kwh,
        }
    }

    /// Energy at the facility's meter: IT energy times PUE.
    pub fn facility_kwh(&self, energy: Joules) -> KilowattHours {
        energy.to_kilowatt_hours() * self.pue
    }

    /// Operational footprint of IT energy at an intensity.
    pub fn footprint(&self, energy: Joules, intensity: CarbonIntensity) -> GramsCo2e {
        self.facility_kwh(energy) * intensity
    }

    /// The series' value of the hour in which an instant lies.
    pub fn hour(&self, at: DateTime<Utc>) -> Option<&HourIntensity> {
        self.series.as_deref()?.at(at)
    }

    /// The intensity at an instant: the series', else the fallback.
    pub fn intensity_at(&self, at: DateTime<Utc>) -> CarbonIntensity {
        self.hour(at).map_or(self.fallback.intensity, |hour| hour.intensity)
    }

    /// The name of the place, as logs have it: the series' zone, else the fallback's.
    pub fn place(&self) -> &str {
        self.series.as_deref().map_or(&self.fallback.zone, |series| series.zone())
    }

    /// Embodied footprint in g of a share of a node over a time.
    pub fn embodied_g(&self, node_share: f64, duration: Duration) -> Option<f64> {
        Some(self.embodied_g_per_node_hour? * node_share * duration.as_secs_f64() / 3600.0)
    }

    /// Water in litres for IT energy.
    pub fn water_l(&self, energy: Microjoules) -> Option<f64> {
        Some(self.water_l_per_kwh? * self.facility_kwh(energy.to_joules()).as_kwh())
    }
}

/// Kilometres by car with the same footprint.
pub fn km_by_car(footprint: GramsCo2e) -> f64 {
    footprint.as_grams() / CAR_G_PER_KM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grams_include_the_pue_and_name_their_source() {
        let factors = Factors::from_config(&Config::default());
        // 3.6 MJ = 1 kWh; × 1.58 × 445 g/kWh = 703.1 g.
        let grams = factors.footprint(Joules::new(3.6e6), factors.fallback.intensity).as_grams();
        assert!((grams - 703.1).abs() < 1e-9);
        assert!(factors.fallback.source.contains("world average"));
        assert_eq!(factors.fallback.zone, "World");
    }

    #[test]
    fn the_sites_factors_come_first() {
        let mut config = Config::default();
        config.power.pue = Some(1.0);
        config.carbon.intensity_g_per_kwh = Some(100.0);
        config.carbon.country = Some("DK".to_owned());
        config.carbon.embodied_g_per_node_hour = Some(10.0);
        config.carbon.water_l_per_kwh = Some(2.0);
        let factors = Factors::from_config(&config);
        let kwh = Joules::new(3.6e6);
        let intensity = factors.intensity_at(Utc::now());
        assert!((factors.footprint(kwh, intensity).as_grams() - 100.0).abs() < 1e-9);
        // Half a node for half an hour at 10 g an hour.
        assert_eq!(factors.embodied_g(0.5, Duration::from_secs(1800)), Some(2.5));
        assert_eq!(factors.water_l(kwh.to_microjoules()), Some(2.0));
        assert_eq!(factors.pue_source, "site configuration");
    }

    #[test]
    fn a_country_comes_from_its_key_or_from_the_zone() {
        let mut config = Config::default();
        config.carbon.zone = Some("DK-DK1".to_owned());
        let fallback = Factors::from_config(&config).fallback;
        assert_eq!(fallback.zone, "DK");
        assert!(fallback.source.contains("Denmark in 2024"), "{}", fallback.source);
        config.carbon.country = Some("Iceland".to_owned());
        assert_eq!(Factors::from_config(&config).fallback.zone, "IS");
        config.carbon.zone = Some("somewhere".to_owned());
        config.carbon.country = None;
        assert_eq!(Factors::from_config(&config).fallback.zone, "World");
    }
}
