//! Electricity Maps, API v3: `/carbon-intensity/history`, `/past-range`, `/forecast`.
//!
//! Life-cycle emissions of the electricity consumed in a zone, by hour. Needs a token.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ct_core::carbon::intensity::Point;
use serde::Deserialize;

use super::{Ask, Span, check_zone, encode, parts, point};

/// Hours that `history` reaches back.
const HISTORY_H: i64 = 24;
/// Longest range of hourly values in one request.
const LONGEST_RANGE: TimeDelta = TimeDelta::days(10);
/// Horizons a forecast can be asked for.
const HORIZONS_H: [i64; 4] = [6, 24, 48, 72];

#[derive(Deserialize)]
struct History {
    zone: Option<String>,
    history: Vec<Hour>,
}

#[derive(Deserialize)]
struct PastRange {
    zone: Option<String>,
    data: Vec<Hour>,
}

#[derive(Deserialize)]
struct Forecast {
    zone: Option<String>,
    forecast: Vec<Hour>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hour {
    carbon_intensity: Option<f64>,
    datetime: DateTime<Utc>,
    #[serde(default)]
    is_estimated: Option<bool>,
}

pub(super) fn requests(zone: &str, span: Span) -> Vec<Ask> {
    let zone = encode(zone);
    let path = "/v3/carbon-intensity";
    let mut asks = Vec::new();
    if span.from < span.hour - TimeDelta::hours(HISTORY_H) {
        for (start, end) in parts(span.from, span.to.min(span.hour), LONGEST_RANGE) {
            let iso = |at: DateTime<Utc>| encode(&at.to_rfc3339_opts(SecondsFormat::Secs, true));
            let query = format!("zone={zone}&start={}&end={}", iso(start), iso(end));
            let path = format!("{path}/past-range?{query}");
            asks.push(Ask { path, is_optional: false, read: read_range });
        }
    } else if span.from < span.to {
        let path = format!("{path}/history?zone={zone}");
        asks.push(Ask { path, is_optional: false, read: read_history });
    }
    let ahead = (span.to - span.hour).num_hours();
    if ahead > 1 {
        let horizon = HORIZONS_H.into_iter().find(|h| *h >= ahead).unwrap_or(HORIZONS_H[3]);
        let path = format!("{path}/forecast?zone={zone}&horizonHours={horizon}");
        asks.push(Ask { path, is_optional: !asks.is_empty(), read: read_forecast });
    }
    asks
}

fn read_history(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    let answer: History = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    check_zone(zone, answer.zone.as_deref())?;
    points(zone, &answer.history, false)
}

fn read_range(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    let answer: PastRange = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    check_zone(zone, answer.zone.as_deref())?;
    points(zone, &answer.data, false)
}

fn read_forecast(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    let answer: Forecast = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    check_zone(zone, answer.zone.as_deref())?;
    points(zone, &answer.forecast, true)
}

fn points(zone: &str, hours: &[Hour], is_forecast: bool) -> Result<Vec<Point>, String> {
    let mut out = Vec::new();
    for hour in hours {
        let source = match (is_forecast, hour.is_estimated) {
            (true, _) => "Electricity Maps forecast",
            (false, Some(true)) => "Electricity Maps estimate",
            (false, _) => "Electricity Maps actual",
        };
        out.extend(point(zone, hour.datetime, hour.carbon_intensity, source)?);
    }
    Ok(out)
}
