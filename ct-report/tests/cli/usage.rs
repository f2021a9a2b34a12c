//! `usage`.

use std::fs;
use std::path::Path;

use ct_core::energy::ByComponent;
use ct_core::record::{EndReason, GpuShare};
use ct_core::units::Microjoules;
use serde_json::Value;

use crate::ledger::{Ledger, cpu, record};
use crate::{assert_ran, ct_report, fixtures};

const LEDGER: [&str; 3] = ["usage", "--ledger", "ledger/v1"];

fn usage(args: &[&str]) -> crate::Ran {
    ct_report(&fixtures(), &[&LEDGER, args].concat())
}

#[test]
fn a_job_over_the_end_of_a_month_counts_in_both() {
    // Job 1: 1.2 MJ before midnight, 2.4 MJ after it. Job 2: 1.8 MJ on n1, 5.4 MJ on n2.
    let table = "
 user  month    jobs  elapsed_h  energy_kwh  allocated_kwh  dynamic_kwh   cpu_kwh  dram_kwh   gpu_kwh  rest_kwh   co2e_g  measured_share  coverage
 bob   2026-10     1     1.0000    2.000000       0.000000     2.000000  1.000000  0.000000  1.000000  0.000000  960.000           0.750     1.000
 eva   2026-09     1     0.5000    0.333333       0.000000     0.333333  0.333333  0.000000  0.000000  0.000000  160.000           1.000     1.000
 eva   2026-10     2     0.6667    0.666667       0.000000     0.666667  0.666667  0.000000  0.000000  0.000000  320.500           1.000     0.875
";
    assert_ran(&usage(&["--by", "user,month"]), 0, &table[1..], "");
}

#[test]
fn months_begin_where_the_zone_says() {
    // At 23:30 UTC it is October in Berlin.
    let expected = "month|jobs|energy_kwh\n2026-10|3|3.000000000000278\n";
    let args = ["--by", "month", "--timezone", "Europe/Berlin", "-P", "-o", "jobs,energy_kwh"];
    assert_ran(&usage(&args), 0, expected, "");
}

#[test]
fn csv_is_quoted_and_control_characters_are_shown() {
    let expected = "\
cluster,job_name,jobs,energy_j,co2e_g
lab,\\u{1b}[2Jclear,1,0.000001,0.5
lab,\"a,\"\"b\"\"|c\",1,7200000.000000,960
lab,train,1,3600000.000000,480
";
    let args = ["--csv", "--by", "cluster,job_name", "-o", "jobs,energy_j,co2e_g"];
    assert_ran(&usage(&args), 0, expected, "");
    let parsable = "lab|\\u{1b}[2Jclear|1\nlab|a,\"b\"\\u{7c}c|1\nlab|train|1\n";
    let args = ["-P", "-n", "--by", "cluster,job_name", "-o", "jobs"];
    assert_ran(&usage(&args), 0, parsable, "");
}

#[test]
fn json_keeps_unknown_apart_from_empty() {
    let expected = r#"[
  {
    "account": null,
    "jobs": 1,
    "energy_j": 0.000001,
    "coverage": 0.5
  },
  {
    "account": "chemistry",
    "jobs": 1,
    "energy_j": 7200000.000000,
    "coverage": 1.0
  },
  {
    "account": "physics",
    "jobs": 1,
    "energy_j": 3600000.000000,
    "coverage": 1.0
  }
]
"#;
    let args = ["--json", "--by", "account", "-o", "account,jobs,energy_j,coverage"];
    assert_ran(&usage(&args), 0, expected, "");
}

#[test]
fn no_job_counts_twice_and_the_ledger_wins() {
    let args = ["logs", "--by", "user", "-P", "-o", "jobs,energy_j,co2e_g"];
    let expected = "\
user|jobs|energy_j|co2e_g
bob|1|7200000.000000|960
eva|2|3600000.000001|480.5
zoë|1|1080000.000000|144
";
    assert_ran(&usage(&args), 0, expected, "");
    let alone = "user|energy_j\nbob|900000.000000\nzoë|1080000.000000\n";
    let ran = ct_report(&fixtures(), &["usage", "logs", "-P", "-o", "user,energy_j"]);
    assert_ran(&ran, 0, alone, "");
}

#[test]
fn filters_select_jobs_and_times() {
    let jobs = |args: &[&str]| {
        let ran =
            usage(&[args, &["--by", "job_name", "-P", "-n", "-o", "job_name,energy_j"]].concat());
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let two = "a,\"b\"\\u{7c}c|7200000.000000";
    assert_eq!(jobs(&["-u", "bob"]), [two]);
    assert_eq!(jobs(&["-A", "chemistry,none"]), [two]);
    assert_eq!(jobs(&["-r", "gpu"]), [two]);
    assert_eq!(jobs(&["-j", "1"]), ["train|3600000.000000"]);
    assert_eq!(jobs(&["-j", "3_7"]), ["\\u{1b}[2Jclear|0.000001"]);
    assert_eq!(jobs(&["-j", "3"]), ["\\u{1b}[2Jclear|0.000001"]);
    assert_eq!(jobs(&["-M", "other"]), [""; 0]);
    assert_eq!(jobs(&["-S", "2026-10-01", "-E", "2026-10-02"]), ["train|2400000.000000"]);
    assert_eq!(jobs(&["-E", "2026-10-01T00:00:00Z"]), ["train|1200000.000000"]);
}

#[test]
fn sums_by_one_key_add_up_to_sums_by_another() {
    let total = |by: &str| -> f64 {
        let ran = usage(&["logs", "--json", "--by", by, "-o", "energy_j"]);
        let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
        rows.as_array().unwrap().iter().map(|row| row["energy_j"].as_f64().unwrap()).sum()
    };
    // 3.6 MJ + 7.2 MJ + 1 µJ + 1.08 MJ
    for by in ["user", "account", "month", "day", "node,day", "user,qos,end_reason", "partition"] {
        assert!((total(by) - 11_880_000.000001).abs() < 1e-7, "{by}");
    }
}

#[test]
fn a_torn_last_line_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let month = dir.path().join("ledger/2026-10");
    fs::create_dir_all(&month).unwrap();
    let whole = fs::read(fixtures().join("ledger/v1/2026-10/n1.jsonl")).unwrap();
    fs::write(month.join("n1.jsonl"), &whole[..whole.len() - 9]).unwrap();
    let args = ["usage", "--ledger", "ledger", "-P", "-o", "jobs,energy_j"];
    let ran = ct_report(dir.path(), &args);
    let line = String::from_utf8_lossy(whole.split(|b| *b == b'\n').nth(3).unwrap()).into_owned();
    let expected = format!(
        "ledger/2026-10/n1.jsonl:4: skipped: torn last line: no record: EOF while parsing a \
         value at line 1 column {}\nnote: 1 part(s) could not be read and are not counted\n",
        line.len() - 8
    );
    let stdout = "user|jobs|energy_j\nbob|1|1800000.000000\neva|1|3600000.000000\n";
    assert_ran(&ran, 3, stdout, &expected);
}

#[test]
fn what_is_torn_in_an_earlier_month_does_not_touch_this_one() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path(), str::to_owned);
    fs::create_dir_all(dir.path().join("ledger/2026-09")).unwrap();
    fs::write(dir.path().join("ledger/2026-09/n1.jsonl"), "{\"v\":1").unwrap();
    let args = ["usage", "--ledger", "ledger", "-u", "bob", "-Po", "jobs", "-S"];
    let stdout = "user|jobs\nbob|1\n";
    let ran = ct_report(dir.path(), &[&args[..], &["2026-10-01"]].concat());
    assert_ran(&ran, 0, stdout, "");
    let ran = ct_report(dir.path(), &[&args[..], &["2026-09-30T23:59:59Z"]].concat());
    assert_eq!((ran.code, ran.stdout.as_str()), (3, stdout));
}

#[test]
fn a_record_whose_hours_do_not_add_up_is_named() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path(), |line| {
        line.replace("\"2026-10-01T00:00:00.000Z\",2400000", "\"2026-10-01T00:00:00.000Z\",2400001")
    });
    let ran =
        ct_report(dir.path(), &["usage", "--ledger", "ledger", "--by", "month", "-Po", "jobs"]);
    let stderr = "ledger/2026-10/n1.jsonl:1: skipped: \"energy_by_hour\" adds up to 3600001000000 µJ \
                  of cpu, expected the 3600000000000 µJ of \"energy_j\"\n\
                  note: 1 part(s) could not be read and are not counted\n";
    assert_ran(&ran, 3, "month|jobs\n2026-10|2\n", stderr);
}

#[test]
fn commands_outside_of_slurm_are_all_counted() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path(), |line| {
        line.replace("\"job_id\":1,", "\"job_id\":0,").replace("\"job_id\":4,", "\"job_id\":0,")
    });
    let ran = ct_report(dir.path(), &["usage", "--ledger", "ledger", "-u", "eva", "-Po", "jobs"]);
    assert_ran(&ran, 0, "user|jobs\neva|2\n", "");
}

#[test]
fn the_ledger_is_found_by_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    write_ledger(dir.path(), |line| line.to_owned());
    let ledger = dir.path().join("ledger");
    let config = dir.path().join("carbontracker.toml");
    fs::write(&config, format!("[ledger]\ndir = {ledger:?}\n")).unwrap();
    let args = ["usage", "--config", "carbontracker.toml", "-Po", "jobs"];
    assert_ran(&ct_report(dir.path(), &args), 0, "user|jobs\nbob|1\neva|2\n", "");
    fs::write(&config, "[ledger]\ndirr = \"x\"\n").unwrap();
    let ran = ct_report(dir.path(), &args);
    let stderr = "error: configuration carbontracker.toml:2: unknown key \"ledger.dirr\" \
                  (did you mean \"ledger.dir\"?)\n";
    assert_ran(&ran, 2, "", stderr);
}

/// A ledger of n1's lines, each changed by `change`.
fn write_ledger(dir: &Path, change: impl Fn(&str) -> String) {
    let month = dir.join("ledger/2026-10");
    fs::create_dir_all(&month).unwrap();
    let lines = fs::read_to_string(fixtures().join("ledger/v1/2026-10/n1.jsonl")).unwrap();
    let changed: String = lines.lines().map(|line| change(line) + "\n").collect();
    fs::write(month.join("n1.jsonl"), changed).unwrap();
}

/// A ledger of one GPU job over midnight that was cancelled, and a CPU job that failed.
fn two_views() -> Ledger {
    let mut gpu = record("n1", 1, "2026-09-30T23:00:00Z", "2026-10-01T00:30:00Z", &[5, 2]);
    gpu.gpus = vec![GpuShare { uuid: "GPU-1".to_owned(), name: "H200".to_owned(), share: 0.5 }];
    gpu.energy_j.gpu = Microjoules::new(30);
    gpu.energy_by_hour[0].3 = Microjoules::new(20);
    gpu.energy_by_hour[1].3 = Microjoules::new(10);
    gpu.idle_j = ByComponent { gpu: Microjoules::new(10), ..cpu(4) };
    gpu.gpu_unused_j = Microjoules::new(10);
    gpu.end_reason = EndReason::Cancelled;
    (gpu.embodied_g, gpu.water_l) = (Some(3.0), Some(37.0));
    let mut failed = record("n1", 2, "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", &[100]);
    (failed.end_reason, failed.alloc_cpus, failed.idle_j) = (EndReason::OutOfMemory, 8, cpu(100));
    let ledger = Ledger::new();
    ledger.write(&[], &[gpu, failed]);
    ledger
}

#[test]
fn two_views_sum_to_the_energy_exactly_in_every_period() {
    let ledger = two_views();
    let usage = |args: &[&str]| {
        let views = ["-o", "energy_j,allocated_j,dynamic_j,gpu_unused_j"];
        ct_report(
            ledger.base(),
            &[&["usage", "--ledger", "ledger", "-Pn"], &views[..], args].concat(),
        )
    };
    // Job 1, before midnight: 25 µJ; idle 4·5/7 = 2.9 and 10·20/30 = 6.7, each rounded down, so 8.
    // After it 12 µJ with what is left of 14: 6; of the unused 10 µJ 6 and 4. Job 2: all 100 idle.
    let months = "2026-09|0.000025|0.000008|0.000017|0.000006\n\
                  2026-10|0.000112|0.000106|0.000006|0.000004\n";
    assert_ran(&usage(&["--by", "month"]), 0, months, "");
    let all = "lab|0.000137|0.000114|0.000023|0.000010\n";
    assert_ran(&usage(&["--by", "cluster"]), 0, all, "");
    let weeks = "2026-W40|0.000137|0.000114|0.000023|0.000010\n";
    assert_ran(&usage(&["--by", "week"]), 0, weeks, "");
    let hours = "2026-10-01T01:00+02:00|0.000025|0.000008|0.000017|0.000006\n\
                 2026-10-01T02:00+02:00|0.000112|0.000106|0.000006|0.000004\n";
    assert_ran(&usage(&["--by", "hour", "--timezone", "Europe/Berlin"]), 0, hours, "");
}

#[test]
fn what_records_have_beside_energy_is_added_up() {
    let ledger = two_views();
    let columns = "embodied_g,water_l,core_hours,gpu_hours,failed_kwh,cancelled_kwh,gpu_unused_kwh";
    let args = ["usage", "--ledger", "ledger", "-P", "--by", "month", "-o", columns];
    // Job 1: 2 CPUs and half a GPU, an hour before midnight and half an hour after it; of 37 µJ
    // 25 before midnight. Job 2: 8 CPUs for an hour, no factors. 36 µJ are 1e-11 kWh.
    let stdout = "\
month|embodied_g|water_l|core_hours|gpu_hours|failed_kwh|cancelled_kwh|gpu_unused_kwh
2026-09|2|25|2|0.5|0|0.000000000006944444444444445|0.0000000000016666666666666668
2026-10|1|12|9|0.25|0.00000000002777777777777778|0.0000000000033333333333333335|0.000000000001111111111111111
";
    assert_ran(&ct_report(ledger.base(), &args), 0, stdout, "");
    let unknown =
        ct_report(&fixtures(), &["usage", "--ledger", "ledger/v1", "-Pno", "water_l", "-u", "bob"]);
    assert_ran(&unknown, 0, "bob|\n", "");
}
