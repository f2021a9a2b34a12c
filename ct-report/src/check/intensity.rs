//! With what will jobs be priced, and is that of today?

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::carbon::series::parse;
use ct_core::config::Config;

use super::{Area, Finding};

/// A value older than this is not of today.
const OLDEST: TimeDelta = TimeDelta::hours(3);

/// Looks at the site's intensity and PUE.
pub(crate) fn check(config: &Config, now: DateTime<Utc>, out: &mut Vec<Finding>) {
    let mut area = Area::new("intensity", out);
    let carbon = &config.carbon;
    match (&carbon.series_file, carbon.intensity_g_per_kwh, &carbon.country) {
        (Some(_), ..) => check_series(config, now, &mut area),
        (None, Some(g), _) => area.ok(format!("a fixed {g} g/kWh")),
        (None, None, Some(country)) => area.ok(format!("the annual average of {country}")),
        (None, None, None) => area.warn(
            "jobs are priced with the world's average",
            "set carbon.country, or better carbon.series_file and carbon.zone",
        ),
    }
}

fn check_series(config: &Config, now: DateTime<Utc>, area: &mut Area<'_>) {
    let Some(file) = &config.carbon.series_file else { return };
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            return area.fail(
                format!("cannot read {shown}: {error}"),
                "fill it by `ct-report intensity fetch`, readable for the service user on every node",
            );
        }
    };
    let (points, skipped) = parse(&text);
    if let Some(first) = skipped.first() {
        let (n, reason) = (skipped.len(), &first.reason);
        area.warn(format!("{n} line(s) of {shown} are not understood: {reason}"), "correct them");
    }
    let zone = config.carbon.zone.as_deref();
    let of_zone = points.iter().filter(|point| zone.is_none_or(|zone| point.zone == zone));
    let held = of_zone.map(|point| point.time).filter(|time| *time <= now).max();
    let zone = zone.unwrap_or("any zone");
    match held {
        Some(at) if now - at <= OLDEST => area.ok(format!("{shown} has a value of {zone} of {at}")),
        Some(at) => area.warn(
            format!("the newest value of {zone} in {shown} is of {at}"),
            "see that the timer of `ct-report intensity fetch` runs: `systemctl list-timers`",
        ),
        None => area.fail(
            format!("{shown} has no value of {zone} yet"),
            "set carbon.zone to a zone of the file, or fetch it: `ct-report intensity fetch`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_series_that_is_not_kept_up_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("series.csv");
        let now: DateTime<Utc> = "2026-11-23T12:00:00Z".parse().unwrap();
        let mut config = Config::default();
        let level = |config: &Config| {
            let mut out = Vec::new();
            check(config, now, &mut out);
            out.last().unwrap().level
        };
        assert_eq!(level(&config), Level::Warning);
        config.carbon.country = Some("DK".to_owned());
        assert_eq!(level(&config), Level::Ok);
        config.carbon.series_file = Some(file.clone());
        assert_eq!(level(&config), Level::Error);
        let line = |time: &str| format!("time,zone,g_per_kwh,source\n{time},DK-DK1,101,x\n");
        for (time, zone, expected) in [
            ("2026-11-23T11:00:00Z", "DK-DK1", Level::Ok),
            ("2026-11-23T06:00:00Z", "DK-DK1", Level::Warning),
            ("2026-11-23T11:00:00Z", "DK-DK2", Level::Error),
            ("2026-11-23T13:00:00Z", "DK-DK1", Level::Error),
        ] {
            fs::write(&file, line(time)).unwrap();
            config.carbon.zone = Some(zone.to_owned());
            assert_eq!(level(&config), expected, "{time} {zone}");
        }
    }
}
