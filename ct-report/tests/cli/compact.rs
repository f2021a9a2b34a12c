//! `compact`, and what the other commands say of what it wrote.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use ct_core::energy::ByComponent;
use ct_core::ledger::writer;
use ct_core::record::{EndReason, GpuShare, NodeRecord, Record};
use ct_core::units::Microjoules;
use serde_json::Value;

use crate::ledger::{Ledger, cpu, line, record};
use crate::{Ran, assert_ran, ct_report};

fn run(ledger: &Ledger, args: &[&str]) -> Ran {
    ct_report(ledger.base(), &[&args[..1], &["--ledger", "ledger"], &args[1..]].concat())
}

/// Compacts and expects that nothing was skipped.
#[track_caller]
fn compact(ledger: &Ledger, args: &[&str]) -> String {
    let ran = run(ledger, &[&["compact", "-Pn"], args].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    ran.stdout
}

/// Two nodes from December 2023 to February 2024: a job over two nodes and the end of a year, one
/// over the end of a month with a GPU, one that failed, one without a trace of energy.
fn records() -> Vec<Record> {
    let span = ("2023-12-31T22:30:00Z", "2024-01-01T01:10:00Z");
    let mut first = record("n1", 1, span.0, span.1, &[7, 20, 30, 4]);
    let mut second = record("n2", 1, span.0, "2024-01-01T01:00:00Z", &[5, 6, 7]);
    (first.n_nodes, second.n_nodes) = (2, 2);
    (first.idle_j, first.water_l) = (cpu(9), Some(0.5));
    let mut gpu = record("n1", 2, "2024-01-31T23:00:00Z", "2024-02-01T00:30:00Z", &[5, 2]);
    gpu.gpus = vec![GpuShare { uuid: "GPU-1".to_owned(), name: "H200".to_owned(), share: 0.5 }];
    gpu.energy_j.gpu = Microjoules::new(30);
    gpu.energy_by_hour[0].3 = Microjoules::new(20);
    gpu.energy_by_hour[1].3 = Microjoules::new(10);
    gpu.idle_j = ByComponent { gpu: Microjoules::new(10), ..cpu(4) };
    gpu.gpu_unused_j = Microjoules::new(10);
    gpu.end_reason = EndReason::Cancelled;
    gpu.account = None;
    let mut failed = record("n2", 3, "2024-01-10T00:00:00Z", "2024-01-10T01:00:00Z", &[100]);
    failed.end_reason = EndReason::OutOfMemory;
    failed.method = [("cpu".to_owned(), "modelled:tdp".to_owned())].into();
    (failed.user, failed.embodied_g) = ("zoë".to_owned(), Some(1.5));
    let empty = record("n2", 4, "2024-02-10T00:00:00Z", "2024-02-10T00:00:00Z", &[0]);
    vec![first, second, gpu, failed, empty]
}

fn lines() -> Vec<NodeRecord> {
    vec![
        line("n1", "2023-12-31T22:00:00Z", "2023-12-31T23:00:00Z", &[(1, 7)]),
        line("n1", "2023-12-31T23:00:00Z", "2024-01-01T00:00:00Z", &[(1, 20)]),
        line("n1", "2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", &[(1, 30)]),
        line("n1", "2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z", &[(1, 4)]),
        line("n2", "2024-01-10T00:00:00Z", "2024-01-10T01:00:00Z", &[(3, 99)]),
    ]
}

fn ledger() -> Ledger {
    let ledger = Ledger::new();
    ledger.write(&lines(), &records());
    ledger
}

/// What `usage` and `reconcile` say in many ways.
fn said(ledger: &Ledger) -> Vec<Value> {
    let all = "jobs,elapsed_h,energy_kwh,allocated_kwh,dynamic_kwh,cpu_kwh,dram_kwh,gpu_kwh,\
               rest_kwh,co2e_g,measured_share,coverage,gpu_unused_kwh,failed_kwh,cancelled_kwh,\
               embodied_g,water_l,core_hours,gpu_hours,energy_j,allocated_j,dynamic_j,gpu_unused_j";
    let mut said = Vec::new();
    let mut ask = |args: &[&str]| {
        let ran = run(ledger, args);
        assert!([0, 1, 2].contains(&ran.code), "{args:?}: {ran:?}");
        said.push(Value::from(ran.stderr));
        said.push(serde_json::from_str(&ran.stdout).unwrap());
    };
    for by in [
        "user",
        "account",
        "month",
        "user,month",
        "cluster",
        "node",
        "node,day",
        "hour",
        "week,qos",
        "job_name,partition",
        "end_reason",
        "user,account,partition",
    ] {
        ask(&["usage", "--json", "--by", by, "-o", all]);
        ask(&["usage", "--json", "--by", by, "-o", all, "--timezone", "Asia/Kolkata"]);
    }
    ask(&["usage", "--json", "--by", "user"]);
    for filter in [
        &["-u", "zoë"][..],
        &["-A", "physics"],
        &["-r", "nowhere"],
        &["-M", "lab"],
        &["-M", "other"],
        &["-j", "2"],
        &["-S", "2024-01-01"],
        &["-E", "2024-01-01T00:30:00Z"],
        &["-S", "2023-12-31T23:00:00Z", "-E", "2024-02-01T00:00:00Z"],
        &["-S", "2024-01-31T23:20:00Z"],
    ] {
        ask(&[&["usage", "--json", "--by", "user,day", "-o", all], filter].concat());
    }
    // What is filtered by is not what is grouped by.
    ask(&["usage", "--json", "--by", "node,end_reason", "-o", all, "-u", "eva", "-A", "physics"]);
    ask(&["usage", "--json", "--by", "cluster", "-o", "failed_kwh,jobs", "-u", "zoë"]);
    ask(&["reconcile", "--json"]);
    ask(&["reconcile", "--json", "--by", "hour", "-S", "2024-01-01"]);
    said
}

/// Whether two answers are one: integers and texts equal, floats as sums in another order.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| {
                let is_exact = key.ends_with("_j") || key.ends_with("_uj");
                b.get(key).is_some_and(|b| if is_exact { a == b } else { is_same(a, b) })
            };
            a.len() == b.len() && a.iter().all(same)
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
        }
        _ => a == b,
    }
}

#[track_caller]
fn assert_same(before: &[Value], after: &[Value]) {
    for (a, b) in before.iter().zip(after) {
        assert!(is_same(a, b), "before {a:#}\nafter {b:#}");
    }
    assert_eq!(before.len(), after.len());
}

/// Files below a directory with their content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn names(dir: &Path) -> Vec<String> {
    tree(dir).into_iter().map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
}

#[test]
fn reports_are_the_same_from_lines_from_both_and_from_parquet_alone() {
    let ledger = ledger();
    let before = said(&ledger);
    // Job 1 has 4 hours on n1 and 3 on n2, which ends at 01:00; jobs 2, 3, 4 have 2, 1, 1.
    let out = compact(&ledger, &[]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split('|').collect()).collect();
    let counts: Vec<_> = rows.iter().map(|row| [&row[..4], &row[6..]].concat()).collect();
    assert_eq!(
        counts,
        [
            ["2023-12", "0", "0", "1", "0", "written"],
            ["2024-01", "3", "8", "4", "0", "written"],
            ["2024-02", "2", "3", "0", "0", "written"],
        ]
    );
    assert_same(&before, &said(&ledger));
    assert!(ledger.dir().join("2024-01/n1.jsonl").exists(), "pruned without being asked");
    let again = compact(&ledger, &["--prune"]);
    assert_eq!(again.matches("|unchanged, pruned\n").count(), 3, "{again}");
    let left = names(&ledger.dir());
    assert!(left.iter().all(|name| name.starts_with("parquet/")), "{left:?}");
    assert_eq!(
        left,
        [
            "parquet/compacted/2023-12.json",
            "parquet/compacted/2024-01.json",
            "parquet/compacted/2024-02.json",
            "parquet/hours/cluster=lab/month=2023-12/ended-2024-01.parquet",
            "parquet/hours/cluster=lab/month=2024-01/ended-2024-01.parquet",
            "parquet/hours/cluster=lab/month=2024-01/ended-2024-02.parquet",
            "parquet/hours/cluster=lab/month=2024-02/ended-2024-02.parquet",
            "parquet/jobs/cluster=lab/month=2024-01/ended-2024-01.parquet",
            "parquet/jobs/cluster=lab/month=2024-02/ended-2024-02.parquet",
            "parquet/nodes/cluster=lab/month=2023-12/ended-2023-12.parquet",
            "parquet/nodes/cluster=lab/month=2024-01/ended-2024-01.parquet",
        ]
    );
    assert_same(&before, &said(&ledger));
}

#[test]
fn late_lines_give_the_bytes_that_all_lines_at_once_give() {
    let whole = ledger();
    compact(&whole, &["--prune"]);
    let late = Ledger::new();
    let (lines, records) = (lines(), records());
    late.write(&lines[1..], &records[2..]);
    compact(&late, &["--prune"]);
    // One of them is there already: a copy.
    late.write(&lines[..1], &[&records[..2], &records[3..4]].concat());
    compact(&late, &["--prune"]);
    let without_lists = |ledger: &Ledger| {
        let mut files = tree(&ledger.dir());
        files.retain(|(path, _)| !path.starts_with("parquet/compacted"));
        files
    };
    assert!(without_lists(&whole) == without_lists(&late), "the bytes differ");
    assert_same(&said(&whole), &said(&late));
}

#[test]
fn late_lines_count_before_they_are_compacted_and_copies_do_not() {
    let (ledger, records) = (ledger(), records());
    let before = said(&ledger);
    compact(&ledger, &["--prune"]);
    ledger.write(&lines()[4..], &records[3..4]);
    assert_same(&before, &said(&ledger));
    let mut other = records[3].clone();
    (other.job_id, other.energy_j, other.energy_by_hour[0].1) = (9, cpu(1), Microjoules::new(1));
    ledger.write(&[], &[other]);
    let usage = |ledger: &Ledger| {
        run(ledger, &["usage", "-Pn", "--by", "cluster", "-o", "jobs,energy_j"]).stdout
    };
    // 61 + 18 + 37 + 100 + 0 µJ and 1 µJ.
    assert_eq!(usage(&ledger), "lab|5|0.000217\n");
    assert!(compact(&ledger, &[]).contains("2024-01|4|9|4|"));
    assert_eq!(usage(&ledger), "lab|5|0.000217\n");
}

#[test]
fn what_cannot_be_read_stays_in_the_ledger_and_is_reported() {
    let ledger = ledger();
    let file = ledger.dir().join("2024-01/n2.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{{\"v\":9}}\n{whole}{{\"v\":1,\"torn")).unwrap();
    let note = "note: 2 part(s) could not be read and are not counted\n";
    let said = |line: usize| {
        format!(
            "ledger/2024-01/n2.jsonl:1: skipped: \"v\" is 9, expected 1\n\
             ledger/2024-01/n2.jsonl:{line}: skipped: torn last line: no record: EOF while \
             parsing a string at line 1 column 12\n{note}"
        )
    };
    let ran = run(&ledger, &["compact", "-Pn"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (3, said(5).as_str()), "{}", ran.stdout);
    let usage = ["usage", "-Pn", "--by", "cluster", "-o", "jobs,energy_j"];
    // The file is read beside the dataset, as not all of it is there.
    assert_ran(&run(&ledger, &usage), 3, "lab|4|0.000216\n", &said(5));
    let ran = run(&ledger, &["compact", "-Pn", "--prune"]);
    assert!(ran.stdout.contains("|unchanged, pruned in part\n"), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "note: 2024-01: 2 line(s) are not in the dataset and stay in the ledger\n"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"v\":9}\n{\"v\":1,\"torn\n");
    let ran = run(&ledger, &usage);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "lab|4|0.000216\n"), "{}", ran.stderr);
}

#[test]
fn a_copy_that_differs_is_not_removed_and_a_line_of_another_month_is_named() {
    let (ledger, records) = (ledger(), records());
    compact(&ledger, &["--prune"]);
    let mut altered = records[3].clone();
    altered.co2e_g += 1.0;
    ledger.write(&[], std::slice::from_ref(&altered));
    let ran = run(&ledger, &["compact", "-Pn", "--prune"]);
    assert!(ran.stderr.contains("2024-01: 1 line(s) are not in the dataset"), "{ran:?}");
    assert_eq!(
        fs::read_to_string(ledger.dir().join("2024-01/n2.jsonl")).unwrap(),
        altered.to_line().unwrap()
    );
    let path = ledger.dir().join("2024-02/n2.jsonl");
    fs::write(&path, records[3].to_line().unwrap()).unwrap();
    let ran = run(&ledger, &["compact", "-Pn"]);
    let reason = "ledger/2024-02/n2.jsonl:1: skipped: it is of 2024-01, expected a line of \
                  2024-02: move it there\n";
    assert!(ran.code == 3 && ran.stderr.starts_with(reason), "{ran:?}");
    let usage = run(&ledger, &["usage", "-Pn", "--by", "cluster", "-o", "jobs,energy_j"]);
    assert_ran(&usage, 0, "lab|4|0.000216\n", "");
}

/// The middle of the month before this one, and a time in this one.
fn months() -> (DateTime<Utc>, DateTime<Utc>) {
    let now = Utc::now();
    let first = NaiveDate::from_ymd_opt(now.year(), now.month(), 1).unwrap();
    let before = first.checked_sub_months(Months::new(1)).unwrap();
    let at = |date: NaiveDate| date.and_hms_opt(12, 0, 0).unwrap().and_utc();
    (at(before) + TimeDelta::days(14), at(first))
}

#[test]
fn a_month_that_is_not_over_or_has_an_open_job_is_left() {
    let ledger = Ledger::new();
    let (before, now) = months();
    let text = |at: DateTime<Utc>| at.to_rfc3339();
    let open = line("n1", &text(before), &text(before + TimeDelta::hours(1)), &[(7, 10)]);
    let ended = record("n1", 8, &text(now), &text(now + TimeDelta::hours(1)), &[3]);
    ledger.write(&[open], std::slice::from_ref(&ended));
    // The node went on in this month, so the record of job 7 is not one of the month before.
    let (last, this) = (before.format("%Y-%m").to_string(), now.format("%Y-%m"));
    let ran = run(&ledger, &["compact", "-Pn"]);
    assert_eq!(ran.stderr, format!("note: {this} is left: it is not over\n"));
    assert!(ran.code == 0 && ran.stdout.starts_with(&format!("{last}|0|0|1|")), "{ran:?}");
    let silent = Ledger::new();
    silent.write(
        &[line("n1", &text(before), &text(before + TimeDelta::hours(1)), &[(7, 10), (6, 1)])],
        &[record("n1", 6, &text(before), &text(before + TimeDelta::hours(1)), &[1])],
    );
    let ran = run(&silent, &["compact", "--month", &last]);
    let stderr =
        format!("note: {last} is left: job 7 on n1 has no record yet\nnote: nothing matched\n");
    assert_ran(&ran, 1, "", &stderr);
    let hint = "error: ledger ledger has no month \"2020-01\"\n\
                hint: name months as the directories of the ledger are named: 2026-10\n";
    assert_ran(&run(&silent, &["compact", "--month", "2020-01"]), 2, "", hint);
}

#[test]
fn a_dataset_that_is_not_as_it_was_written_is_an_error_and_is_made_again() {
    let ledger = ledger();
    let before = said(&ledger);
    compact(&ledger, &[]);
    let file = "parquet/jobs/cluster=lab/month=2024-02/ended-2024-02.parquet";
    let path = ledger.dir().join(file);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let ran = run(&ledger, &["usage"]);
    let (n, half) = (bytes.len(), bytes.len() / 2);
    let stderr = format!(
        "error: cannot read dataset ledger/parquet\n\
         caused by: ledger/{file}: it has {half} bytes, expected {n}\n\
         hint: run ct-report compact again: what it lists has to be there as it was written\n"
    );
    assert_ran(&ran, 2, "", &stderr);
    fs::remove_file(&path).unwrap();
    let ran = run(&ledger, &["compact", "-Pn"]);
    assert!(ran.code == 2 && ran.stderr.contains("No such file"), "{ran:?}");
    // A stale file is what an interrupted run leaves.
    let stale = Ledger::new();
    stale.write(&lines(), &records()[2..3]);
    compact(&stale, &[]);
    fs::copy(stale.dir().join(file), &path).unwrap();
    let ran = run(&ledger, &["compact", "-Pn"]);
    assert!(ran.code == 0 && ran.stderr.contains("2024-02 is compacted again"), "{ran:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_same(&before, &said(&ledger));
}

#[test]
fn a_file_that_an_interrupted_prune_set_aside_is_read_and_removed() {
    let ledger = ledger();
    let before = said(&ledger);
    let file = ledger.dir().join("2024-01/n1.jsonl");
    fs::rename(&file, file.with_extension("pruning")).unwrap();
    let late = records()[0].to_line().unwrap();
    writer::append(&ledger.dir(), "n1", "2024-01-01T01:10:00Z".parse().unwrap(), &late).unwrap();
    compact(&ledger, &["--prune"]);
    assert!(names(&ledger.dir()).iter().all(|name| name.starts_with("parquet/")));
    assert_same(&before, &said(&ledger));
}
