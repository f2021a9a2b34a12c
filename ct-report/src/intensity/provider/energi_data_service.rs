//! Energi Data Service (Energinet): datasets `CO2Emis` and `CO2EmisProg`, every five minutes.
//!
//! Emissions of the electricity consumed in the price areas DK1 and DK2, power stations' operation
//! only. `start` and `end` are Danish time; the answers have UTC as well.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Europe::Copenhagen;
use ct_core::carbon::intensity::Point;
use serde::Deserialize;

use super::{Ask, Span, encode, point};

#[derive(Deserialize)]
struct Answer {
    records: Vec<FiveMinutes>,
}

#[derive(Deserialize)]
struct FiveMinutes {
    #[serde(rename = "Minutes5UTC")]
    time: String,
    #[serde(rename = "PriceArea")]
    area: String,
    #[serde(rename = "CO2Emission")]
    g_per_kwh: Option<f64>,
}

pub(super) fn requests(zone: &str, span: Span) -> Vec<Ask> {
    let mut asks = Vec::new();
    let end = span.to.min(span.hour + TimeDelta::hours(1));
    if span.from < end {
        let path = path("CO2Emis", zone, span.from, end);
        asks.push(Ask { path, is_optional: false, read: read_actual });
    }
    if span.to > end {
        // The rest of the running hour is a forecast still.
        let path = path("CO2EmisProg", zone, span.hour.max(span.from), span.to);
        asks.push(Ask { path, is_optional: !asks.is_empty(), read: read_forecast });
    }
    asks
}

fn path(dataset: &str, zone: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let filter = encode(&format!("{{\"PriceArea\":[\"{zone}\"]}}"));
    let (from, to) = (encode(&danish(from, -1)), encode(&danish(to, 1)));
    // Without limit=0 the answer ends after a hundred records.
    format!(
        "/dataset/{dataset}?start={from}&end={to}&filter={filter}&sort=Minutes5UTC%20asc&limit=0"
    )
}

/// An instant in Danish time; one that comes twice, in the night in which summer time ends, is so
/// many hours earlier or later that it comes once.
fn danish(at: DateTime<Utc>, hours: i64) -> String {
    let mut local = at.with_timezone(&Copenhagen);
    while matches!(Copenhagen.from_local_datetime(&local.naive_local()), LocalResult::Ambiguous(..))
    {
        local += TimeDelta::hours(hours);
    }
    local.format("%Y-%m-%dT%H:%M").to_string()
}

fn read_actual(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    read(zone, body, "Energi Data Service actual")
}

fn read_forecast(zone: &str, body: &[u8]) -> Result<Vec<Point>, String> {
    read(zone, body, "Energi Data Service forecast")
}

fn read(zone: &str, body: &[u8], source: &str) -> Result<Vec<Point>, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for record in answer.records.iter().filter(|record| record.area == zone) {
        let time = NaiveDateTime::parse_from_str(&record.time, "%Y-%m-%dT%H:%M:%S")
            .map_err(|e| format!("\"Minutes5UTC\" is {:?}: {e}", record.time))?;
        out.extend(point(zone, time.and_utc(), record.g_per_kwh, source)?);
    }
    Ok(out)
}
