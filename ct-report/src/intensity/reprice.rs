//! Prices records anew: the energy of each hour with the values a file has by now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::carbon::intensity::{HourIntensity, IntensitySeries, Point, hour_of};
use ct_core::carbon::series;
use ct_core::energy::HourEnergy;
use ct_core::record::Brief;
use ct_core::units::{CarbonIntensity, Joules, Pue};

use super::file;
use crate::aggregate::ExactSum;
use crate::diagnostic::{Hint, Outcome};

/// Prices by zone and hour.
#[derive(Debug)]
pub(crate) struct Repricer {
    file: PathBuf,
    zones: BTreeMap<String, IntensitySeries>,
    /// The zone of all records, where one is named.
    zone: Option<String>,
}

/// What the file did not have, or only as a forecast.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// Zones of records that the file does not have, the first [`MOST_ZONES`] of them by name.
    zones: BTreeSet<String>,
    /// Energy priced with a forecast, in microjoules.
    forecast_uj: u128,
}

/// Unknown zones that are remembered.
const MOST_ZONES: usize = 16;

impl Gaps {
    fn add_zone(&mut self, zone: &str) {
        if !self.zones.contains(zone) {
            self.zones.insert(zone.to_owned());
        }
        if self.zones.len() > MOST_ZONES {
            self.zones.pop_last();
        }
    }

    /// Adds those of other records.
    pub(crate) fn append(&mut self, other: Self) {
        other.zones.iter().for_each(|zone| self.add_zone(zone));
        self.forecast_uj += other.forecast_uj;
    }
}

/// A part of a record at new prices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Repriced {
    /// Operational footprint in gCO2e, PUE included; of hours without a price as the record has it.
    pub(crate) co2e_g: ExactSum,
    /// Energy with a price, in microjoules.
    covered_uj: u128,
    /// All energy, in microjoules.
    all_uj: u128,
}

impl AddAssign for Repriced {
    fn add_assign(&mut self, other: Self) {
        self.co2e_g += other.co2e_g;
        self.covered_uj += other.covered_uj;
        self.all_uj += other.all_uj;
    }
}

impl Repriced {
    /// Share of the energy that has a price.
    pub(crate) fn share(self) -> Option<f64> {
        (self.all_uj > 0).then(|| self.covered_uj as f64 / self.all_uj as f64)
    }
}

impl Repricer {
    /// Reads the prices; with `zone` those of this zone count for every record, else a record's own
    /// zone does, or the only one of the file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, has no value, or not the zone.
    pub(crate) fn read(path: &Path, zone: Option<&str>, outcome: &mut Outcome) -> Result<Self> {
        let points = file::read(path, outcome)?;
        let has_zone = |zone: &str| points.iter().any(|p| p.zone == zone);
        let wanted = zone.unwrap_or_default();
        if points.is_empty() || zone.is_some_and(|zone| !has_zone(zone)) {
            let reason = series::unknown_zone(wanted, &points);
            let error = anyhow!("series {}: {reason}", path.display());
            return Err(error.context(Hint("name a zone of the file with --zone")));
        }
        Ok(Self::new(path, zone, &points))
    }

    fn new(path: &Path, zone: Option<&str>, points: &[Point]) -> Self {
        let names = series::zones(points);
        let only = (names.len() == 1).then(|| names.iter().next().copied()).flatten();
        Self {
            file: path.to_owned(),
            zone: zone.or(only).map(str::to_owned),
            zones: names
                .iter()
                .map(|z| ((*z).to_owned(), IntensitySeries::new(z, points)))
                .collect(),
        }
    }

    /// Prices one hour of a record, or all of it, and notes what was not found.
    pub(crate) fn reprice(
        &self,
        record: &Brief<'_>,
        hour: Option<DateTime<Utc>>,
        gaps: &mut Gaps,
    ) -> Repriced {
        if record.energy_by_hour.is_empty() {
            return whole(record, hour);
        }
        let is_asked = |h: &&HourEnergy| hour.is_none_or(|hour| hour_of(h.0) == hour_of(hour));
        let pue = Pue::new(record.pue);
        let mut sum = Repriced::default();
        for energy in record.energy_by_hour.iter().filter(is_asked) {
            let price = self.price(record, energy.0, gaps);
            let part = one_hour(record, energy, pue, price.map(|price| price.intensity));
            if price.is_some_and(|price| price.is_forecast) {
                gaps.forecast_uj += part.all_uj;
            }
            sum += part;
        }
        sum
    }

    fn price(
        &self,
        record: &Brief<'_>,
        at: DateTime<Utc>,
        gaps: &mut Gaps,
    ) -> Option<&HourIntensity> {
        let zone = self.zone.as_deref().unwrap_or(&record.intensity.zone);
        let series = self.zones.get(zone);
        if series.is_none() {
            gaps.add_zone(zone);
        }
        series?.at(at)
    }

    /// What the reader of the sums has to know.
    pub(crate) fn notes(&self, gaps: &Gaps) -> Vec<String> {
        let file = self.file.display();
        let mut out = Vec::new();
        if !gaps.zones.is_empty() {
            let zones: Vec<&str> = gaps.zones.iter().map(String::as_str).collect();
            let zones = zones.join(", ");
            out.push(format!(
                "{file} has no zone {zones}: those records keep their values; --zone names one for all"
            ));
        }
        if gaps.forecast_uj > 0 {
            let kwh = Joules::new(gaps.forecast_uj as f64 / 1e6).to_kilowatt_hours();
            let kwh = kwh.as_kwh();
            out.push(format!("{file} has only forecasts for some hours of {kwh:.6} kWh"));
        }
        out
    }
}

fn one_hour(
    record: &Brief<'_>,
    energy: &HourEnergy,
    pue: Option<Pue>,
    price: Option<CarbonIntensity>,
) -> Repriced {
    let total = energy.energy().total();
    let all_uj = u128::from(total.as_u64());
    let own = CarbonIntensity::new(record.intensity.g_per_kwh).unwrap_or(CarbonIntensity::ZERO);
    let kwh = total.to_joules().to_kilowatt_hours();
    let kwh = pue.map_or(kwh, |pue| kwh * pue);
    Repriced {
        co2e_g: ExactSum::from((kwh * price.unwrap_or(own)).as_grams()),
        covered_uj: if price.is_some() { all_uj } else { 0 },
        all_uj,
    }
}

/// A record that does not know its hours keeps its value.
fn whole(record: &Brief<'_>, hour: Option<DateTime<Utc>>) -> Repriced {
    let last = hour_of((record.end - chrono::TimeDelta::milliseconds(1)).max(record.start));
    if hour.is_some_and(|hour| hour_of(hour) != last) {
        return Repriced::default();
    }
    let all_uj = u128::from(record.energy_j.total().as_u64());
    Repriced { co2e_g: ExactSum::from(record.co2e_g), covered_uj: 0, all_uj }
}
