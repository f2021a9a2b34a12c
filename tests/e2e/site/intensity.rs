//! The site's file of intensities: what a job is priced with is what stands in it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ct_tests::site::wait_for;
use ct_tests::{JobId, Site, e2e_is_possible};
use serde_json::Value;

use crate::completed;
use crate::job_dir::{JobDir, number};

/// PUE of these sites.
const PUE: f64 = 1.25;

/// A series around now: so many g/kWh in every even hour of UTC, twice as many in every odd one.
fn series(g_per_kwh: f64, source: &str) -> String {
    let now = Utc::now().duration_trunc(TimeDelta::hours(1)).expect("an hour");
    let line = |n: i64| {
        let hour = now + TimeDelta::hours(n);
        let g = g_per_kwh * if hour.timestamp() / 3600 % 2 == 0 { 1.0 } else { 2.0 };
        format!("{},DK-DK1,{g},{source}\n", hour.format("%Y-%m-%dT%H:%M:%SZ"))
    };
    format!("time,zone,g_per_kwh,source\n{}", (-1..=2).map(line).collect::<String>())
}

/// Replaces the file as a fetch does.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

/// The grams of a record by hand: the sum over its hours.
fn by_hand(record: &Value, g_per_kwh: f64) -> f64 {
    let hours = record["energy_by_hour"].as_array().expect("hours");
    let grams = |hour: &Value| {
        let at: DateTime<Utc> = hour[0].as_str().expect("a time").parse().expect("RFC 3339");
        let is_even = at.timestamp() / 3600 % 2 == 0;
        let joules: f64 = (1..=4).map(|c| hour[c].as_f64().expect("joules")).sum();
        joules / 3.6e6 * PUE * g_per_kwh * if is_even { 1.0 } else { 2.0 }
    };
    hours.iter().map(grams).sum()
}

fn run_job(site: &Site) -> Result<(JobId, Value)> {
    let user = site.cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH --carbontracker=on\nsleep 1\n";
    let job = site.cluster.sbatch(user, script)?;
    completed(&site.cluster, job);
    let record = site.wait_for_records(job, 1)?.remove(0);
    Ok((job, record))
}

/// Waits until ct-noded has said something so many times.
fn wait_until_logged(site: &Site, what: &str, n: usize) -> Result<()> {
    let log = site.state_dir(1).join("noded.log");
    wait_for(&format!("{n} times {what:?} in {}", log.display()), || {
        let text = fs::read_to_string(&log).ok()?;
        (text.matches(what).count() >= n).then_some(())
    })
}

fn assert_priced(record: &Value, g_per_kwh: f64) {
    let (seen, expected) = (number(record, "co2e_g"), by_hand(record, g_per_kwh));
    assert!(expected > 0.0 && (seen - expected).abs() < 1e-9 * expected, "{seen} {expected}");
    let kwh = number(record, "energy_j.cpu") / 3.6e6;
    let mean = number(record, "intensity.g_per_kwh");
    assert!((mean * kwh * PUE - expected).abs() < 1e-9 * expected, "{mean}");
}

#[test]
fn a_series_that_changes_prices_the_next_job_and_one_that_is_gone_falls_back() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("series.csv");
    // The service user reads it.
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    write(&file, &series(100.0, "Test actual"))?;
    let site = Site::builder()
        .config("carbon.series_file", file.display().to_string())
        .config("carbon.zone", "DK-DK1")
        .config("carbon.series_check_s", 0.2)
        .config("power.pue", PUE)
        .start()?;
    let (job, record) = run_job(&site)?;
    assert_priced(&record, 100.0);
    let intensity = &record["intensity"];
    assert_eq!(
        (&intensity["zone"], &intensity["source"]),
        (&"DK-DK1".into(), &"Test actual".into())
    );
    assert!(!record["warnings"].to_string().contains("intensity"), "{record:#}");
    assert_eq!(record["sci"]["unit"], "job");
    let user = site.cluster.user(1);
    let logs = JobDir::read(&site.cluster.home(user).join("carbontracker"), job, user)?;
    assert!(logs.standard.contains("gCO2/kWh at DK-DK1\n"), "{}", logs.standard);

    // The file is replaced while ct-noded runs; it looks every 0.2 s.
    let pid = site.noded_pid(1);
    write(&file, &series(300.0, "Test forecast"))?;
    wait_until_logged(&site, "4 hours of zone DK-DK1", 2)?;
    let (_, record) = run_job(&site)?;
    assert_priced(&record, 300.0);
    assert_eq!(record["intensity"]["source"], "Test forecast");
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("the intensity is a forecast for all of the energy"), "{warnings}");

    // What the last job was priced with beforehand, the report prices with what was measured.
    write(&file, &series(250.0, "Test actual"))?;
    let (ledger, series_file) = (site.ledger().display().to_string(), file.display().to_string());
    let args = ["usage", "--ledger", &ledger, "--reprice", &series_file, "--json"];
    let id = record["job_id"].to_string();
    let program = site.bin("ct-report").display().to_string();
    let root = ct_tests::User::root();
    let all = [&args[..], &["-j", &id]].concat();
    let output = site.cluster.command(&root, &program).args(&all).run()?.success();
    let row: Value = serde_json::from_str::<Value>(output.stdout())?[0].take();
    let (own, anew) = (number(&row, "co2e_g"), number(&row, "co2e_repriced_g"));
    assert!((own - by_hand(&record, 300.0)).abs() < 1e-9 * own, "{row}");
    assert!((anew - by_hand(&record, 250.0)).abs() < 1e-9 * anew, "{row}");
    assert_eq!(number(&row, "repriced_share"), 1.0);

    // A file that nobody keeps up has no value of this hour.
    let old = "2026-01-01T00:00:00Z,DK-DK1,7,Test actual\n";
    write(&file, &format!("time,zone,g_per_kwh,source\n{old}"))?;
    wait_until_logged(&site, "1 hours of zone DK-DK1, up to 2026-01-01", 1)?;
    let (_, record) = run_job(&site)?;
    assert_eq!(number(&record, "intensity.g_per_kwh"), 143.3);
    let warnings = record["warnings"].to_string();
    let says =
        "the series has no intensity of zone DK-DK1 for all of the energy: 143.3 g/kWh is used";
    assert!(warnings.contains(says), "{warnings}");

    // Without the file it is Denmark's annual average, and the record says so.
    fs::remove_file(&file)?;
    wait_until_logged(&site, "series.csv: No such file", 1)?;
    let (_, record) = run_job(&site)?;
    assert_eq!(record["intensity"]["zone"], "DK");
    assert_eq!(number(&record, "intensity.g_per_kwh"), 143.3);
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("series.csv: No such file"), "{warnings}");
    assert_eq!(site.noded_pid(1), pid, "ct-noded went on");
    Ok(())
}

#[test]
fn a_country_prices_every_job() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().config("carbon.country", "ISL").start()?;
    let (_, record) = run_job(&site)?;
    assert_eq!(record["intensity"]["zone"], "IS");
    assert_eq!(number(&record, "intensity.g_per_kwh"), 28.33);
    let source = record["intensity"]["source"].as_str().unwrap_or_default();
    assert!(source.contains("Iceland in 2023") && source.contains("Ember"), "{source}");
    Ok(())
}
