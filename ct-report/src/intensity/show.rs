//! `ct-report intensity show`: the hours of a zone, the value that holds now, its source and age.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ct_core::carbon::intensity::{HourIntensity, IntensitySeries, hour_of};
use ct_core::carbon::series;
use ct_core::config::Carbon;
use serde::Serialize;

use super::file;
use crate::diagnostic::{Hint, Outcome};
use crate::render::{csv, json};
use crate::row::{Cell, Head};
use ct_core::text::printable;

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Csv,
    Json,
}

/// One hour as it is printed.
#[derive(Debug, Serialize)]
struct Hour<'a> {
    hour: String,
    g_per_kwh: f64,
    covered: f64,
    is_forecast: bool,
    source: &'a str,
}

impl<'a> Hour<'a> {
    fn new(hour: DateTime<Utc>, value: &'a HourIntensity) -> Self {
        Self {
            hour: hour.to_rfc3339_opts(SecondsFormat::Secs, true),
            g_per_kwh: value.intensity.as_g_per_kwh(),
            covered: value.covered,
            is_forecast: value.is_forecast,
            source: &value.source,
        }
    }
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    zone: &'a str,
    file: &'a Path,
    /// Seconds since the file was written; `None` where its clock is ahead of ours.
    age_s: Option<u64>,
    now: Option<Hour<'a>>,
    hours: Vec<Hour<'a>>,
}

/// Shows the hours from `start` on and before `end`; a day back and a day ahead unless said.
///
/// # Errors
///
/// A file or a zone that is not there.
pub(crate) fn run(
    carbon: &Carbon,
    (start, end): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    form: Form,
    outcome: &mut Outcome,
) -> Result<()> {
    let path = file::path(carbon)?;
    let points = file::read(&path, outcome)?;
    let zones = series::zones(&points);
    let only = (zones.len() == 1).then(|| zones.iter().next().copied()).flatten();
    let zone = carbon.zone.as_deref().or(only).unwrap_or_default();
    let series = IntensitySeries::new(zone, &points);
    if series.is_empty() {
        let reason = series::unknown_zone(zone, &points);
        let error = anyhow!("series {}: {reason}", path.display());
        return Err(error.context(Hint("name a zone of the file with --zone")));
    }
    let now = Utc::now();
    let start = start.unwrap_or(now - TimeDelta::days(1));
    let end = end.unwrap_or(now + TimeDelta::days(1));
    let is_asked =
        |(hour, _): &(DateTime<Utc>, _)| *hour + TimeDelta::hours(1) > start && *hour < end;
    let hours: Vec<Hour<'_>> =
        series.hours().filter(is_asked).map(|(hour, value)| Hour::new(hour, value)).collect();
    outcome.matched += hours.len();
    let current = series.at(now).map(|value| Hour::new(hour_of(now), value));
    let age_s = fs::metadata(&path)?.modified()?.elapsed().ok().map(|age| age.as_secs());
    print(&Shown { zone, file: &path, age_s, now: current, hours }, form)
}

fn print(shown: &Shown<'_>, form: Form) -> Result<()> {
    match form {
        Form::Json => return json::print(shown),
        Form::Csv => return print_csv(shown),
        Form::Text => {}
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    write_head(&mut out, shown)?;
    for hour in &shown.hours {
        let Hour { hour: at, g_per_kwh: g, covered, source, .. } = hour;
        let source = printable(source);
        if *covered < 1.0 {
            writeln!(out, "{at}  {g:8.2}  {source} ({:.0} % of the hour)", covered * 100.0)?;
        } else {
            writeln!(out, "{at}  {g:8.2}  {source}")?;
        }
    }
    out.flush()?;
    Ok(())
}

fn print_csv(shown: &Shown<'_>) -> Result<()> {
    let heads = [
        Head::text("hour"),
        Head::text("zone"),
        Head::number("g_per_kwh"),
        Head::number("covered"),
        Head::text("source"),
    ];
    let text = |text: &str| Cell::Text(Some(text.to_owned()));
    let row = |hour: &Hour<'_>| {
        let numbers = [hour.g_per_kwh, hour.covered].map(|n| Cell::Number(Some(n), 0));
        let [g_per_kwh, covered] = numbers;
        vec![text(&hour.hour), text(shown.zone), g_per_kwh, covered, text(hour.source)]
    };
    let rows: Vec<_> = shown.hours.iter().map(row).collect();
    csv::print(csv::Form::Csv, &heads, &rows, true)
}

fn write_head(out: &mut impl Write, shown: &Shown<'_>) -> io::Result<()> {
    let file = shown.file.display().to_string();
    let (zone, file) = (printable(shown.zone), printable(&file));
    let age = shown.age_s.map_or_else(|| "in the future".to_owned(), age);
    writeln!(out, "Zone {zone}, gCO2e/kWh by hour (UTC); {file}, written {age}")?;
    match &shown.now {
        Some(now) => writeln!(out, "Now: {:.2} ({})\n", now.g_per_kwh, printable(now.source)),
        None => writeln!(out, "Now: no value; jobs are priced with the fallback\n"),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
