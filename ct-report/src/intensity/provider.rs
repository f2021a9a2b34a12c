//! Who publishes intensities: what is asked of each, and how its answers read.

mod carbon_intensity;
mod electricity_maps;
mod energi_data_service;

use chrono::{DateTime, Utc};
use ct_core::carbon::intensity::Point;
use ct_core::carbon::series::MOST_G_PER_KWH;
use ct_core::config::Provider;
use ct_core::units::CarbonIntensity;

/// The time asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// From when on.
    pub(super) from: DateTime<Utc>,
    /// Up to when, forecast included.
    pub(super) to: DateTime<Utc>,
    /// The running hour: what is before it is past, what comes after it is forecast.
    pub(super) hour: DateTime<Utc>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Ask {
    /// Path and query, after the provider's address.
    pub(super) path: String,
    /// Whether the file is of use without its answer: forecasts are not part of every plan.
    pub(super) is_optional: bool,
    /// Reads the answer.
    pub(super) read: Read,
}

/// Reads an answer for a zone; the error says what was seen and what was expected.
pub(super) type Read = fn(&str, &[u8]) -> Result<Vec<Point>, String>;

/// The provider's own address.
pub(super) fn base_url(provider: Provider) -> &'static str {
    match provider {
        Provider::ElectricityMaps => "https://api.electricitymaps.com",
        Provider::CarbonIntensity => "https://api.carbonintensity.org.uk",
        Provider::EnergiDataService => "https://api.energidataservice.dk",
    }
}

/// What to ask for a zone and a time.
pub(super) fn requests(provider: Provider, zone: &str, span: Span) -> Vec<Ask> {
    match provider {
        Provider::ElectricityMaps => electricity_maps::requests(zone, span),
        Provider::CarbonIntensity => carbon_intensity::requests(zone, span),
        Provider::EnergiDataService => energi_data_service::requests(zone, span),
    }
}

/// A point, unless the value is not known yet.
fn point(
    zone: &str,
    time: DateTime<Utc>,
    g_per_kwh: Option<f64>,
    source: &str,
) -> Result<Option<Point>, String> {
    let Some(g) = g_per_kwh else { return Ok(None) };
    // What the file's readers would not believe is not to get into it.
    let believed = Some(g).filter(|g| *g <= MOST_G_PER_KWH).and_then(CarbonIntensity::new);
    let intensity = believed.ok_or_else(|| {
        let time = time.to_rfc3339();
        format!("intensity of {time} is {g}, expected g/kWh from 0 to {MOST_G_PER_KWH}")
    })?;
    let (zone, source) = (zone.to_owned(), source.to_owned());
    Ok(Some(Point { time, zone, intensity, source }))
}

/// Checks that an answer is of the zone that was asked for, where it says of which it is.
fn check_zone(asked: &str, said: Option<&str>) -> Result<(), String> {
    match said.filter(|said| *said != asked) {
        None => Ok(()),
        Some(other) => Err(format!("it is of zone {other:?}, expected {asked:?}")),
    }
}

/// A span in parts no longer than a provider allows.
fn parts(
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    longest: chrono::TimeDelta,
) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = at;
        at = (at + longest).min(to);
        (start < to).then_some((start, at))
    })
}

/// A text as it may stand in a query.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
