//! `[carbon]`: where the intensity comes from, and other factors.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::carbon::countries::{country, nearest_country};
use crate::suggest::nearest;

/// `[carbon]`.
///
/// Of an hour first the series counts, then the fixed value, then the country.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Carbon {
    /// A fixed carbon intensity.
    pub intensity_g_per_kwh: Option<f64>,
    /// Name of the zone it holds for, or the zone of the series.
    pub zone: Option<String>,
    /// Country of the built-in table.
    pub country: Option<String>,
    /// File of intensities by time.
    pub series_file: Option<PathBuf>,
    /// Seconds between two looks whether the file has changed.
    pub series_check_s: f64,
    /// Embodied footprint of a node per hour.
    pub embodied_g_per_node_hour: Option<f64>,
    /// Water per kWh.
    pub water_l_per_kwh: Option<f64>,
    /// How `ct-report intensity fetch` fills the file.
    pub fetch: Fetch,
}

impl Default for Carbon {
    fn default() -> Self {
        Self {
            intensity_g_per_kwh: None,
            zone: None,
            country: None,
            series_file: None,
            series_check_s: 60.0,
            embodied_g_per_node_hour: None,
            water_l_per_kwh: None,
            fetch: Fetch::default(),
        }
    }
}

/// `[carbon.fetch]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fetch {
    /// Who is asked.
    pub provider: Option<Provider>,
    /// File with the provider's token, for its owner only.
    pub token_file: Option<PathBuf>,
    /// Another address than the provider's own, such as a proxy's.
    pub base_url: Option<String>,
    /// Hours ahead that a forecast is asked for.
    pub horizon_h: u32,
    /// Hours back that are asked for.
    pub history_h: u32,
}

impl Default for Fetch {
    fn default() -> Self {
        Self { provider: None, token_file: None, base_url: None, horizon_h: 24, history_h: 24 }
    }
}

/// Who publishes intensities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// api.electricitymaps.com, with a token; zones such as `DE`, `DK-DK1`, `US-CAL-CISO`.
    ElectricityMaps,
    /// api.carbonintensity.org.uk; `GB`, a region `GB-1` to `GB-17`, or a postcode `GB-RG10`.
    CarbonIntensity,
    /// api.energidataservice.dk; `DK1`, `DK2`.
    EnergiDataService,
}

impl Provider {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ElectricityMaps => "electricitymaps",
            Self::CarbonIntensity => "carbonintensity",
            Self::EnergiDataService => "energidataservice",
        }
    }

    /// Says what is wrong with a zone that this provider cannot have.
    ///
    /// # Errors
    ///
    /// What is expected instead, with the nearest zone where one is near.
    pub fn check_zone(self, zone: &str) -> Result<(), String> {
        let is_word = |text: &str| {
            let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !text.is_empty() && text.len() <= 40 && text.chars().all(is_fit)
        };
        let expected = match self {
            Self::ElectricityMaps if is_word(zone) => return Ok(()),
            Self::ElectricityMaps => "a zone of Electricity Maps such as \"DE\" or \"DK-DK1\"",
            Self::CarbonIntensity if is_british(zone) => return Ok(()),
            Self::CarbonIntensity => {
                "\"GB\", a region from GB-1 to GB-17, or an outward postcode such as \"GB-RG10\""
            }
            Self::EnergiDataService if ["DK1", "DK2"].contains(&zone) => return Ok(()),
            Self::EnergiDataService => "\"DK1\" or \"DK2\"",
        };
        let near = match self {
            Self::EnergiDataService => nearest(zone, ["dk1", "dk2"]),
            _ => None,
        };
        let hint = near.map(|n| format!(" (did you mean {:?}?)", n.to_uppercase()));
        Err(format!("{expected}{}", hint.unwrap_or_default()))
    }
}

fn is_british(zone: &str) -> bool {
    let Some(part) = zone.strip_prefix("GB-") else { return zone == "GB" };
    match part.parse::<u8>() {
        Ok(region) => (1..=17).contains(&region),
        // An outward postcode: one or two letters, then a digit.
        Err(_) => {
            part.len() <= 4
                && part.starts_with(|c: char| c.is_ascii_uppercase())
                && part.contains(|c: char| c.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        }
    }
}

/// Key, value and what is expected instead.
type Bad = (&'static str, String, String);

pub(super) fn check(carbon: &Carbon) -> Result<(), Bad> {
    if let Some(word) = carbon.country.as_deref().filter(|word| country(word).is_none()) {
        let hint = nearest_country(word).map(|n| format!(" (did you mean {n:?}?)"));
        let expected = "a country of the table, by ISO 3166-1 code or English name";
        let expected = format!("{expected}{}", hint.unwrap_or_default());
        return Err(("carbon.country", format!("{word:?}"), expected));
    }
    if let Some(file) = &carbon.series_file {
        let bad = |expected: &str| {
            Err((
                "carbon.series_file",
                format!("{:?}", file.display().to_string()),
                expected.into(),
            ))
        };
        if !file.is_absolute() {
            return bad("an absolute path");
        }
        if carbon.zone.is_none() {
            return bad("to stand beside carbon.zone, which says whose values of it count");
        }
    }
    check_fetch(carbon)
}

fn check_fetch(carbon: &Carbon) -> Result<(), Bad> {
    let fetch = &carbon.fetch;
    let is_web = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    if let Some(url) = fetch.base_url.as_deref().filter(|url| !is_web(url)) {
        let expected = "an address that begins with https:// or http://";
        return Err(("carbon.fetch.base_url", format!("{url:?}"), expected.to_owned()));
    }
    for (key, hours, most) in [
        ("carbon.fetch.horizon_h", fetch.horizon_h, 96),
        ("carbon.fetch.history_h", fetch.history_h, 24 * 366),
    ] {
        if hours > most {
            return Err((key, hours.to_string(), format!("a number of hours up to {most}")));
        }
    }
    if let Some(path) = fetch.token_file.as_deref().filter(|p| !Path::is_absolute(p)) {
        let path = format!("{:?}", path.display().to_string());
        return Err(("carbon.fetch.token_file", path, "an absolute path".to_owned()));
    }
    let Some(provider) = fetch.provider else { return Ok(()) };
    if provider == Provider::ElectricityMaps && fetch.token_file.is_none() {
        let expected = "to name the file of the provider's token".to_owned();
        return Err(("carbon.fetch.token_file", "not set".to_owned(), expected));
    }
    let zone = carbon.zone.as_deref().unwrap_or_default();
    provider.check_zone(zone).map_err(|expected| ("carbon.zone", format!("{zone:?}"), expected))
}
