//! UK Carbon Intensity API (NESO): `/intensity/{from}/{to}`, and by region or postcode.
//!
//! Half hours of Great Britain: national forecast and actual, regional forecast. Emissions of the
//! power stations' operation only, without their life cycle.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use ct_core::carbon::intensity::Point;
use serde::Deserialize;

use super::{Ask, Span, check_zone, parts, point};

/// Longest range in one request.
const LONGEST_RANGE: TimeDelta = TimeDelta::days(13);

#[derive(Deserialize)]
struct National {
    data: Vec<HalfHour>,
}

#[derive(Deserialize)]
struct Regional {
    data: OneOrMany,
}

/// By region and time the API answers with an object, by time alone with a list of one.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Region),
    Many(Vec<Region>),
}

#[derive(Deserialize)]
struct Region {
    regionid: Option<u8>,
    data: Vec<HalfHour>,
}

#[derive(Deserialize)]
struct HalfHour {
    from: String,
    intensity: Intensity,
}

#[derive(Deserialize)]
struct Intensity {
    forecast: Option<f64>,
    #[serde(default)]
    actual: Option<f64>,
}

pub(super) fn requests(zone: &str, span: Span) -> Vec<Ask> {
    let ask = |(from, to): (DateTime<Utc>, DateTime<Utc>)| {
        let (from, to) = (from.format("%Y-%m-%dT%H:%MZ"), to.format("%Y-%m-%dT%H:%MZ"));
        let (path, read): (_, super::Read) = match zone.strip_prefix("GB-") {
            None => (format!("/intensity/{from}/{to}"), read_national),
            Some(part) => {
                let kind = if is_numbered(zone) { "regionid" } else { "postcode" };
                (format!("/regional/intensity/{from}/{to}/{kind}/{part}"), read_regional)
            }
        };
        Ask { path, is_optional: false, read }
    };
    parts(span.from, span.to, LONGEST_RANGE).map(ask).collect()
}

fn read_national(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    let answer: National = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    points(zone, &answer.data)
}

fn read_regional(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    let answer: Regional = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let regions = match answer.data {
        OneOrMany::One(region) => vec![region],
        OneOrMany::Many(regions) => regions,
    };
    match &regions[..] {
        [region] => {
            let said = region.regionid.map(|id| format!("GB-{id}"));
            check_zone(zone, said.as_deref().filter(|_| is_numbered(zone)))?;
            points(zone, &region.data)
        }
        others => Err(format!("{} regions, expected 1", others.len())),
    }
}

/// Whether a zone is a region's number; a postcode lies in a region with another name.
fn is_numbered(zone: &str) -> bool {
    zone.strip_prefix("GB-").is_some_and(|part| part.parse::<u8>().is_ok())
}

fn points(zone: &str, half_hours: &[HalfHour]) -> Result<Vec<Point>, String> {
    let mut out = Vec::new();
    for half_hour in half_hours {
        let time = NaiveDateTime::parse_from_str(&half_hour.from, "%Y-%m-%dT%H:%MZ")
            .map_err(|e| format!("\"from\" is {:?}: {e}", half_hour.from))?
            .and_utc();
        let (g, source) = match half_hour.intensity {
            Intensity { actual: Some(g), .. } => (Some(g), "UK Carbon Intensity actual"),
            Intensity { forecast, .. } => (forecast, "UK Carbon Intensity forecast"),
        };
        out.extend(point(zone, time, g, source)?);
    }
    Ok(out)
}
