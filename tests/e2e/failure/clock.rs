//! The clock on the wall set back and forward by a day, while ct-noded runs.
//!
//! What is at risk is ct-noded's own reading of that clock: durations come from one that nobody sets.
//! So only ct-noded sees it moved, by a library before libc; Slurm's own clocks stay.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ct_tests::{Shim, Site, e2e_is_possible};
use serde_json::Value;

use crate::outcome::{ended, one_record_each, reconciles, record, submit, wait_for_file};

const DAY_S: i64 = 86_400;

#[test]
fn set_by_a_day_in_mid_job_changes_neither_energy_nor_elapsed_time() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let shim = Shim::new()?;
    let builder = Site::builder().plugstack("update_interval=0.5");
    let site = builder.noded_preload(&shim.library()).start()?;
    let mut clock_was_off = 0;
    for (offset, name) in [(DAY_S, "forward"), (0, "back"), (-DAY_S, "further")] {
        let body = format!("touch {name}; sleep 4; echo hello; exit 3");
        let job = submit(&site, "on\n#SBATCH --exclusive", &body)?;
        wait_for_file(&site, name)?;
        let begun = Utc::now() + TimeDelta::seconds(clock_was_off);
        std::thread::sleep(Duration::from_secs(1));
        shim.set_clock_off(offset)?;
        ensure!(ended(&site, job, 3)?.contains("hello\n"));
        let record = record(&site, job)?;
        is_right(&record)?;
        begins_and_ends_right(&record, begun)?;
        // That the clock was off is seen by ct-noded's own log.
        let day = (Utc::now() + TimeDelta::seconds(offset)).format("%Y-%m-%dT").to_string();
        let log = std::fs::read_to_string(site.state_dir(1).join("noded.log"))?;
        let end = log.lines().find(|line| line.contains(&format!("job {job}: failed after")));
        ensure!(end.is_some_and(|line| line.starts_with(&day)), "no {day} in {end:?}");
        clock_was_off = offset;
        // Not more hours than the job can have touched.
        let hours = record["energy_by_hour"].as_array().map_or(0, Vec::len);
        ensure!((1..=3).contains(&hours), "{record:#}");
    }
    // A job after all that, killed in the middle of it, as usual.
    let job = submit(&site, "on\n#SBATCH --exclusive", "touch last; sleep 4; echo hello; exit 3")?;
    wait_for_file(&site, "last")?;
    std::thread::sleep(Duration::from_secs(1));
    crate::outcome::signal(site.wait_for_noded(1)?, rustix::process::Signal::KILL)?;
    shim.set_clock_off(0)?;
    ended(&site, job, 3)?;
    is_right(&record(&site, job)?)?;
    one_record_each(&site)?;
    reconciles(&site)
}

/// It begins when it began by the clock of then, and ends as much later as it took.
fn begins_and_ends_right(record: &Value, begun: DateTime<Utc>) -> Result<()> {
    let at = |key: &str| -> Result<DateTime<Utc>> {
        Ok(record[key].as_str().with_context(|| key.to_owned())?.parse()?)
    };
    let (start, end) = (at("start")?, at("end")?);
    let apart = (begun - start).num_milliseconds();
    ensure!((-500..5000).contains(&apart), "begun {begun}: {record:#}");
    let elapsed_ms = record["elapsed_s"].as_f64().unwrap_or(f64::NAN) * 1000.0;
    let span_ms = (end - start).num_milliseconds() as f64;
    ensure!((span_ms - elapsed_ms).abs() < 10.0, "{span_ms} ms: {record:#}");
    Ok(())
}

/// An hour of UTC as the series' file has it, and its intensity: twice as much in odd hours.
fn price(hour: DateTime<Utc>) -> f64 {
    if hour.timestamp() / 3600 % 2 == 0 { 100.0 } else { 200.0 }
}

#[test]
fn a_job_over_a_full_hour_is_priced_with_the_intensities_of_both() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
    let series = dir.path().join("series.csv");
    let hour = Utc::now().duration_trunc(TimeDelta::hours(1))?;
    let line = |n: i64| {
        let at = hour + TimeDelta::hours(n);
        format!("{},DK1,{},Test actual\n", at.format("%Y-%m-%dT%H:%M:%SZ"), price(at))
    };
    std::fs::write(&series, (-1..=3).map(line).collect::<String>())?;
    let shim = Shim::new()?;
    let site = Site::builder()
        .plugstack("update_interval=0.5")
        .config("carbon.series_file", series.display().to_string())
        .config("carbon.zone", "DK1")
        .config("power.pue", 1.25)
        .noded_preload(&shim.library())
        .start()?;
    let job = submit(&site, "on\n#SBATCH --exclusive", "touch begun; sleep 6; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    // Two seconds before the next hour, while it runs.
    let next = Utc::now().duration_trunc(TimeDelta::hours(1))? + TimeDelta::hours(1);
    shim.set_clock_off((next - Utc::now()).num_seconds() - 2)?;
    ended(&site, job, 3)?;
    let record = record(&site, job)?;
    let hours = record["energy_by_hour"].as_array().context("hours")?;
    let mut grams = 0.0;
    let mut prices = Vec::new();
    for hour in hours {
        let at: DateTime<Utc> = hour[0].as_str().context("a time")?.parse()?;
        let joules: f64 = (1..=4).filter_map(|c| hour[c].as_f64()).sum();
        // J / 3.6 MJ · PUE · g/kWh.
        grams += joules / 3.6e6 * 1.25 * price(at);
        prices.extend((joules > 50.0).then(|| price(at)));
    }
    ensure!(prices.contains(&100.0) && prices.contains(&200.0), "one hour only: {record:#}");
    let seen = record["co2e_g"].as_f64().context("co2e_g")?;
    ensure!((seen - grams).abs() < 1e-9 * grams, "{seen} g are not {grams} g: {record:#}");
    let mean = record["intensity"]["g_per_kwh"].as_f64().unwrap_or_default();
    ensure!(100.0 < mean && mean < 200.0, "{record:#}");
    reconciles(&site)
}

/// Some four seconds at 100 W, whatever the wall says.
fn is_right(record: &Value) -> Result<()> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (elapsed, joules) = (number(&record["elapsed_s"]), number(&record["energy_j"]["cpu"]));
    ensure!((3.8..12.0).contains(&elapsed), "{record:#}");
    let off = (joules / elapsed - 100.0).abs();
    ensure!(off < 3.0, "{joules} J in {elapsed} s are not 100 W: {record:#}");
    Ok(())
}
