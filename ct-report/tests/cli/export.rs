//! `ct-report export`, and what stands on its names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::ledger::{Ledger, record};
use crate::{assert_ran, ct_report, fixtures};

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let name = regex::Regex::new("carbontracker_[a-z0-9_]+").unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

/// Names of all metrics the export writes: a job with everything a record may know.
fn exported() -> BTreeSet<String> {
    let mut whole = record("n1", 1, "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", &[5]);
    (whole.embodied_g, whole.water_l) = (Some(1.0), Some(2.0));
    let ledger = Ledger::new();
    ledger.write(&[], &[whole]);
    let args = ["export", "--openmetrics", "--ledger", "ledger", "-S", "2026-10-01"];
    let ran = ct_report(ledger.base(), &args);
    assert_eq!((ran.code, &*ran.stderr), (0, ""));
    assert!(ran.stdout.ends_with("# EOF\n"), "{}", ran.stdout);
    let samples = ran.stdout.lines().filter(|line| !line.starts_with('#'));
    samples.flat_map(names).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_exported() {
    let dashboard = repository("slurm-conf/grafana/carbontracker.json");
    let json: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(json["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    let (asked, exported) = (names(&dashboard), exported());
    assert!(asked.is_subset(&exported), "{:?}", asked.difference(&exported));
    assert!(asked.len() > 8, "{asked:?}");
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exported() {
    let docs = repository("docs/LEDGER.md");
    let table = docs.split_once("## Metrics of `ct-report export`").unwrap().1;
    let table = table.split_once("\n## ").map_or(table, |(table, _)| table);
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.flat_map(names).collect::<BTreeSet<_>>(), exported());
}

#[test]
fn sums_are_those_of_usage_and_labels_are_escaped() {
    let args = ["usage", "--openmetrics", "--ledger", "ledger/v1", "--by", "user,job_name"];
    let ran = ct_report(&fixtures(), &args);
    let energy: Vec<_> =
        ran.stdout.lines().filter(|l| l.starts_with("carbontracker_energy_joules{")).collect();
    let expected = [
        r#"carbontracker_energy_joules{user="bob",job_name="a,\"b\"|c",component="cpu"} 3600000.0"#,
        r#"carbontracker_energy_joules{user="bob",job_name="a,\"b\"|c",component="dram"} 0.0"#,
        r#"carbontracker_energy_joules{user="bob",job_name="a,\"b\"|c",component="gpu"} 3600000.0"#,
        r#"carbontracker_energy_joules{user="bob",job_name="a,\"b\"|c",component="rest"} 0.0"#,
        r#"carbontracker_energy_joules{user="eva",job_name="\\u{1b}[2Jclear",component="cpu"} 0.000001"#,
    ];
    let shown: Vec<String> =
        energy[..5].iter().map(|line| line.replace("1e-6", "0.000001")).collect();
    assert_eq!(shown, expected);
    assert!(!ran.stdout.contains('\x1b'));
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = fixtures().join("ledger/v1");
    let ledger = ledger.to_str().unwrap();
    let args =
        ["export", "--openmetrics", "--ledger", ledger, "-S", "2026-09-01", "-o", "jobs.prom"];
    assert_ran(&ct_report(dir.path(), &args), 0, "", "");
    let text = fs::read_to_string(dir.path().join("jobs.prom")).unwrap();
    assert!(text.ends_with("# EOF\n"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|f| f.file_name()).collect();
    assert_eq!(left, ["jobs.prom"]);
    let args = ["export", "--openmetrics", "--ledger", ledger, "-o", "no/such/dir.prom"];
    let ran = ct_report(dir.path(), &args);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.starts_with("error: cannot write no/such/dir.prom\n"), "{}", ran.stderr);
}
