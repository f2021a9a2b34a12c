//! `intensity show` and `usage --reprice`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{assert_ran, ct_report, fixtures};

/// Half of what the records were priced with, of the zone of the fixtures' first job; of the second
/// hour only a forecast.
const SERIES: &str = "time,zone,g_per_kwh,source\n\
    2026-09-30T23:00:00Z,DE,200,X actual\n\
    2026-10-01T00:00:00Z,DE,100,X forecast\n\
    2026-10-01T00:30:00Z,DE,300,X forecast\n";

fn series(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("series.csv");
    fs::write(&path, text).unwrap();
    path
}

fn usage(file: &Path, args: &[&str]) -> crate::Ran {
    let file = file.to_str().unwrap();
    let all = ["usage", "--ledger", "ledger/v1", "--reprice", file];
    ct_report(&fixtures(), &[&all, args].concat())
}

#[test]
fn a_record_is_priced_anew_hour_by_hour_beside_its_own_value() {
    let dir = tempfile::tempdir().unwrap();
    let file = series(dir.path(), SERIES);
    // Job 1: 1.2 MJ before midnight at 200 g/kWh, 2.4 MJ after it at 200 g/kWh, PUE 1.2:
    // 1/3 kWh · 1.2 · 200 = 80 g, 2/3 kWh · 1.2 · 200 = 160 g.
    let ran = usage(
        &file,
        &["-j", "1", "-P", "--by", "month", "-o", "co2e_g,co2e_repriced_g,repriced_share"],
    );
    let expected =
        "month|co2e_g|co2e_repriced_g|repriced_share\n2026-09|160|80|1\n2026-10|320|160|1\n";
    let note =
        format!("note: {} has only forecasts for some hours of 0.666667 kWh\n", file.display());
    assert_ran(&ran, 0, expected, &note);

    // The whole job at once comes to the same sum.
    let ran = usage(&file, &["-j", "1", "--json"]);
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let near = |name: &str, g: f64| (rows[0][name].as_f64().unwrap() - g).abs() < 1e-9;
    assert!(near("co2e_g", 480.0) && near("co2e_repriced_g", 240.0), "{rows:#}");
}

#[test]
fn energy_without_a_price_keeps_its_own_and_the_share_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = SERIES.lines().take(2).collect::<Vec<_>>().join("\n");
    let file = series(dir.path(), &first);
    let ran = usage(&file, &["-j", "1", "-P", "-n", "-o", "co2e_repriced_g,repriced_share"]);
    // 80 g and the record's 320 g; a third of the energy.
    assert_ran(&ran, 0, "eva|400|0.3333333333333333\n", "");

    // Two zones, none of them the records': nothing is priced, and which zone is missing is said.
    let other = SERIES.replace(",DE,", ",FR,") + "2026-10-01T00:00:00Z,NL,1,X actual\n";
    let file = series(dir.path(), &other);
    let ran = usage(&file, &["-j", "1", "-P", "-n", "-o", "co2e_repriced_g,repriced_share"]);
    assert_eq!((ran.code, &*ran.stdout), (0, "eva|480|0\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("has no zone DE"), "{}", ran.stderr);
    let ran = usage(&file, &["-j", "1", "-P", "-n", "-o", "repriced_share", "--zone", "FR"]);
    assert_eq!(&*ran.stdout, "eva|1\n");
    let ran = usage(&file, &["--zone", "FRA"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("did you mean \"FR\"?"), "{}", ran.stderr);
}

fn show(file: &Path, args: &[&str]) -> crate::Ran {
    let file = file.to_str().unwrap();
    ct_report(&fixtures(), &[&["intensity", "show", "--series", file], args].concat())
}

#[test]
fn hours_are_shown_with_their_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = series(dir.path(), &(SERIES.to_owned() + "2026-10-01T00:00:00Z,NL,1,X actual\n"));
    let span = ["-S", "2026-09-30", "-E", "2026-10-01T00:30:00Z", "--zone", "DE"];
    let csv = "hour,zone,g_per_kwh,covered,source\n\
               2026-09-30T23:00:00Z,DE,200,1,X actual\n\
               2026-10-01T00:00:00Z,DE,200,1,X forecast\n";
    assert_ran(&show(&file, &[&span[..], &["--csv"]].concat()), 0, csv, "");

    let ran = show(&file, &[&span[..], &["--json"]].concat());
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(shown["hours"][1]["is_forecast"], true);
    assert_eq!((&shown["now"], &shown["zone"]), (&Value::Null, &Value::from("DE")));
    assert!(shown["age_s"].as_u64().unwrap() < 600, "{shown:#}");

    let ran = show(&file, &span);
    assert!(ran.stdout.contains("Now: no value; jobs are priced with the fallback"), "{ran:?}");
    assert!(ran.stdout.contains("\n2026-09-30T23:00:00Z    200.00  X actual\n"), "{ran:?}");

    let ran = show(&file, &["--zone", "DEE"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("did you mean \"DE\"?"), "{}", ran.stderr);
    // A line that is none is said, and the others are shown.
    let file = series(dir.path(), &(SERIES.to_owned() + "soon,DE,1,x\n"));
    let ran = show(&file, &["-S", "2026-09-30", "-E", "2026-10-01", "--csv"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("series.csv:5: skipped: \"time\" is \"soon\""), "{}", ran.stderr);
}

#[test]
fn the_value_that_holds_now_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let now = chrono::Utc::now().format("%Y-%m-%dT%H:00:00Z");
    let file = series(dir.path(), &format!("{now},DE,123.4,X actual\n"));
    let ran = show(&file, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // At the stroke of the hour the value may have become that of the hour before.
    let is_now = ran.stdout.contains("Now: 123.40 (X actual)");
    assert!(
        is_now || now.to_string() != chrono::Utc::now().format("%Y-%m-%dT%H:00:00Z").to_string()
    );
}
