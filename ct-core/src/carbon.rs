//! From joules to grams: g = E · PUE · intensity.
//!
//! Comes from [`crate::energy`], goes to [`crate::record`] and the logs. The factors are the
//! site's, or documented defaults that name their source wherever they are used.

use std::time::Duration;

use crate::config::Config;
use crate::record::IntensityUsed;
use crate::units::{CarbonIntensity, GramsCo2e, Joules, KilowattHours, Microjoules, Pue};

/// Data-centre PUE where the site gave none, and its source as upstream prints it.
pub const DEFAULT_PUE: f64 = 1.58;
/// Source of [`DEFAULT_PUE`].
pub const DEFAULT_PUE_SOURCE: &str =
    "Daniel Bizo, 2023, Uptime Institute Global Data Center Survey";
/// World average carbon intensity of electricity in 2024, in gCO2/kWh (IEA, Electricity 2025).
pub const WORLD_G_PER_KWH: f64 = 445.0;

/// Grams of CO2 per km of an average new car in the EU, as upstream 2.4 reckons (EEA, cars
/// registered in 2023).
pub const CAR_G_PER_KM: f64 = 106.8;

/// The factors in force on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Power usage effectiveness.
    pub pue: Pue,
    /// Where it comes from.
    pub pue_source: String,
    /// Carbon intensity of electricity.
    pub intensity: CarbonIntensity,
    /// Zone it holds for.
    pub zone: String,
    /// Where it comes from.
    pub intensity_source: String,
    /// Embodied footprint of a node per hour, in g.
    pub embodied_g_per_node_hour: Option<f64>,
    /// Water in litres per kWh at the meter.
    pub water_l_per_kwh: Option<f64>,
}

impl Factors {
    /// The site's factors, with the documented defaults where it gave none.
    pub fn from_config(config: &Config) -> Self {
        let site = "site configuration".to_owned();
        let default_pue = || Pue::new(DEFAULT_PUE).expect("1.58 is at least 1");
        let world = || CarbonIntensity::new(WORLD_G_PER_KWH).expect("445 is at least 0");
        let pue = config.power.pue.and_then(Pue::new);
        let intensity = config.carbon.intensity_g_per_kwh.and_then(CarbonIntensity::new);
        let is_site = intensity.is_some();
        let zone = config.carbon.zone.clone().filter(|_| is_site);
        Self {
            pue_source: pue.map_or_else(|| DEFAULT_PUE_SOURCE.to_owned(), |_| site.clone()),
            pue: pue.unwrap_or_else(default_pue),
            intensity: intensity.unwrap_or_else(world),
            zone: zone.unwrap_or_else(|| if is_site { "site" } else { "World" }.to_owned()),
            intensity_source: if is_site {
                site
            } else {
                "default: world average 2024 (IEA, Electricity 2025)".to_owned()
            },
            embodied_g_per_node_hour: config.carbon.embodied_g_per_node_hour,
            water_l_per_kwh: config.carbon.water_l_per_kwh,
        }
    }

    /// Energy at the facility's meter: IT energy times PUE.
    pub fn facility_kwh(&self, energy: Joules) -> KilowattHours {
        energy.to_kilowatt_hours() * self.pue
    }

    /// Operational footprint of IT energy.
    pub fn footprint(&self, energy: Joules) -> GramsCo2e {
        self.facility_kwh(energy) * self.intensity
    }

    /// Operational footprint of metered energy.
    pub fn footprint_of(&self, energy: Microjoules) -> GramsCo2e {
        self.footprint(energy.to_joules())
    }

    /// Embodied footprint in g of a share of a node over a time.
    pub fn embodied_g(&self, node_share: f64, duration: Duration) -> Option<f64> {
        Some(self.embodied_g_per_node_hour? * node_share * duration.as_secs_f64() / 3600.0)
    }

    /// Water in litres for IT energy.
    pub fn water_l(&self, energy: Microjoules) -> Option<f64> {
        Some(self.water_l_per_kwh? * self.facility_kwh(energy.to_joules()).as_kwh())
    }

    /// The intensity as records name it.
    pub fn intensity_used(&self) -> IntensityUsed {
        IntensityUsed {
            g_per_kwh: self.intensity.as_g_per_kwh(),
            zone: self.zone.clone(),
            source: self.intensity_source.clone(),
        }
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
        let grams = factors.footprint(Joules::new(3.6e6)).as_grams();
        assert!((grams - 703.1).abs() < 1e-9);
        assert!(factors.intensity_source.contains("world average"));
        assert_eq!(factors.zone, "World");
    }

    #[test]
    fn the_sites_factors_come_first() {
        let mut config = Config::default();
        config.power.pue = Some(1.0);
        config.carbon.intensity_g_per_kwh = Some(100.0);
        config.carbon.embodied_g_per_node_hour = Some(10.0);
        config.carbon.water_l_per_kwh = Some(2.0);
        let factors = Factors::from_config(&config);
        let kwh = Joules::new(3.6e6);
        assert!((factors.footprint(kwh).as_grams() - 100.0).abs() < 1e-9);
        // Half a node for half an hour at 10 g an hour.
        assert_eq!(factors.embodied_g(0.5, Duration::from_secs(1800)), Some(2.5));
        assert_eq!(factors.water_l(kwh.to_microjoules()), Some(2.0));
        assert_eq!(factors.pue_source, "site configuration");
    }
}
