//! The site's file of intensities: CSV with the header `time,zone,g_per_kwh,source`.
//!
//! `time` is RFC 3339, the instant from which on the value holds. Reading takes what it can and says
//! of each line that it skipped why. Writing and fetching are not done here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use super::intensity::Point;
use crate::log::parser::Skipped;
use crate::suggest::nearest;
use crate::units::CarbonIntensity;

/// First line of the file.
pub const HEADER: &str = "time,zone,g_per_kwh,source";

/// Highest intensity that is believed; burning lignite gives some 1200 g/kWh.
pub const MOST_G_PER_KWH: f64 = 5000.0;

/// Longest zone or source that is taken.
const LONGEST_TEXT: usize = 128;

/// Reads a series file: its points, and the lines that are none.
///
/// Empty lines and lines that begin with `#` are passed over, as is the header.
pub fn parse(text: &str) -> (Vec<Point>, Vec<Skipped>) {
    let (mut points, mut skipped) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') || line == HEADER {
            continue;
        }
        match parse_line(line) {
            Ok(point) => points.push(point),
            Err(reason) => skipped.push(Skipped { line: index + 1, reason: reason.into() }),
        }
    }
    (points, skipped)
}

fn parse_line(line: &str) -> Result<Point, String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [time, zone, g_per_kwh, source] = cells[..] else {
        return Err(format!("{} values, expected 4: {HEADER}", cells.len()));
    };
    let time = DateTime::parse_from_rfc3339(time)
        .map_err(|e| format!("\"time\" is {:?}, expected RFC 3339: {e}", cut(time)))?;
    let number = g_per_kwh.parse::<f64>().ok().filter(|g| *g <= MOST_G_PER_KWH);
    let intensity = number.and_then(CarbonIntensity::new).ok_or_else(|| {
        let seen = cut(g_per_kwh);
        format!("\"g_per_kwh\" is {seen:?}, expected a number from 0 to {MOST_G_PER_KWH}")
    })?;
    for (name, text) in [("zone", zone), ("source", source)] {
        if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
            return Err(format!("{name:?} is {:?}, expected a short text", cut(text)));
        }
    }
    Ok(Point {
        time: time.with_timezone(&Utc),
        zone: zone.to_owned(),
        intensity,
        source: source.to_owned(),
    })
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The file's text, in the order of time and zone.
pub fn to_text(points: &[Point]) -> String {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| (a.time, &a.zone).cmp(&(b.time, &b.zone)));
    let mut text = format!("{HEADER}\n");
    for point in sorted {
        let time = point.time.to_rfc3339_opts(SecondsFormat::Secs, true);
        // A text of ours has no comma; a provider's might.
        let source = point.source.replace([',', '\n', '\r'], " ");
        let (zone, g) = (point.zone.replace(',', " "), point.intensity.as_g_per_kwh());
        // Writing to a String does not fail.
        let _ = writeln!(text, "{time},{zone},{g},{source}");
    }
    text
}

/// Puts new points to old ones: what is old stays, a measured value replaces a forecast, a forecast
/// never replaces what was measured, and of one kind the new one counts.
pub fn merge(old: Vec<Point>, new: Vec<Point>) -> Vec<Point> {
    let mut all: BTreeMap<(DateTime<Utc>, String), Point> = BTreeMap::new();
    for point in old.into_iter().chain(new) {
        let key = (point.time, point.zone.clone());
        let is_worse = all.get(&key).is_some_and(|k| point.is_forecast() && !k.is_forecast());
        if !is_worse {
            all.insert(key, point);
        }
    }
    all.into_values().collect()
}

/// The zones of a file.
pub fn zones(points: &[Point]) -> BTreeSet<&str> {
    points.iter().map(|p| p.zone.as_str()).collect()
}

/// Says that a file has no such zone, and which one was probably meant.
pub fn unknown_zone(zone: &str, points: &[Point]) -> String {
    let zones = zones(points);
    let lower: Vec<String> = zones.iter().map(|z| z.to_lowercase()).collect();
    let meant = nearest(zone, lower.iter().map(String::as_str));
    let meant = meant.and_then(|m| zones.iter().find(|z| z.to_lowercase() == m));
    let list: Vec<&str> = zones.iter().copied().take(20).collect();
    match meant {
        Some(meant) => format!("no zone {zone:?} in it (did you mean {meant:?}?)"),
        None if list.is_empty() => format!("no zone {zone:?} in it: it has no value at all"),
        None => format!("no zone {zone:?} in it; it has {}", list.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "time,zone,g_per_kwh,source\n\
        2026-11-23T10:00:00Z,DK1,100,Energi Data Service actual\r\n\
        # a comment\n\
        \n\
        2026-11-23T12:00:00+01:00,DK1,90.5,Energi Data Service forecast\n\
        2026-11-23 10:00,DK1,100,x\n\
        2026-11-23T10:00:00Z,DK1,-1,x\n\
        2026-11-23T10:00:00Z,DK1,nan,x\n\
        2026-11-23T10:00:00Z,DK1,99999,x\n\
        2026-11-23T10:00:00Z,,100,x\n\
        2026-11-23T10:00:00Z,DK1,100\n\
        2026-11-2";

    #[test]
    fn lines_that_are_none_are_skipped_with_their_reason() {
        let (points, skipped) = parse(FILE);
        assert_eq!(points.len(), 2);
        assert_eq!(points[1].time, "2026-11-23T11:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert!(points[1].is_forecast() && !points[0].is_forecast());
        let lines: Vec<usize> = skipped.iter().map(|s| s.line).collect();
        assert_eq!(lines, [6, 7, 8, 9, 10, 11, 12]);
        for (index, part) in [
            (0, "RFC 3339"),
            (1, "from 0 to"),
            (4, "\"zone\" is \"\""),
            (6, "1 values, expected 4"),
        ] {
            assert!(skipped[index].reason.contains(part), "{skipped:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (points, _) = parse(FILE);
        let text = to_text(&points);
        assert_eq!(parse(&text), (points, vec![]));
        assert!(text.starts_with("time,zone,g_per_kwh,source\n2026-11-23T10:00:00Z,DK1,100,"));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_loses_only_its_last_line() {
        let (points, _) = parse(FILE);
        let text = to_text(&points);
        for n in 0..text.len() {
            let (read, skipped) = parse(&text[..n]);
            assert!(read.len() <= points.len() && skipped.len() <= 1, "cut at {n}");
            for (a, b) in read.iter().zip(&points) {
                assert_eq!((a.time, &a.zone), (b.time, &b.zone), "cut at {n}");
            }
        }
    }

    #[test]
    fn merging_keeps_old_hours_and_prefers_what_was_measured() {
        let read = |text: &str| parse(text).0;
        let old = read(
            "2026-11-23T08:00:00Z,Z,1,X actual\n2026-11-23T09:00:00Z,Z,2,X actual\n\
             2026-11-23T10:00:00Z,Z,3,X forecast\n2026-11-23T11:00:00Z,Z,4,X forecast\n\
             2026-11-23T09:00:00Z,Y,9,X actual\n",
        );
        let new = read(
            "2026-11-23T09:00:00Z,Z,99,X forecast\n2026-11-23T10:00:00Z,Z,30,X actual\n\
             2026-11-23T11:00:00Z,Z,40,X forecast\n2026-11-23T12:00:00Z,Z,50,X forecast\n",
        );
        let merged = merge(old, new);
        let values: Vec<f64> =
            merged.iter().filter(|p| p.zone == "Z").map(|p| p.intensity.as_g_per_kwh()).collect();
        assert_eq!(values, [1.0, 2.0, 30.0, 40.0, 50.0]);
        assert_eq!(merged.len(), 6);
    }

    #[test]
    fn an_unknown_zone_names_the_nearest() {
        let (points, _) = parse(FILE);
        assert!(unknown_zone("DK-1", &points).contains("did you mean \"DK1\"?"));
        assert!(unknown_zone("GERMANY", &points).contains("it has DK1"));
        assert!(unknown_zone("DK1", &[]).contains("no value at all"));
    }
}
