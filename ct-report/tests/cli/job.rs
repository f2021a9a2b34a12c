//! `ct-report job`.

use std::fs;

use ct_core::energy::ByComponent;
use ct_core::record::{Epochs, GpuShare, PredictedBy, Prediction, Record};
use ct_core::units::Microjoules;
use serde_json::Value;

use crate::ledger::{Ledger, at, line, record};
use crate::{assert_ran, command, ct_report, fixtures, ran};

fn uj(joules: u64) -> Microjoules {
    Microjoules::new(joules * 1_000_000)
}

/// Job 42 on two nodes with a GPU each, of which little was made.
pub(crate) fn two_nodes() -> Ledger {
    let (start, end) = ("2026-10-01T10:30:00Z", "2026-10-01T12:00:00Z");
    let mut first = record("n1", 42, start, end, &[360_000_000_000, 720_000_000_000]);
    first.n_nodes = 2;
    first.gpus = vec![GpuShare { uuid: "GPU-1".into(), name: "NVIDIA H200".into(), share: 1.0 }];
    first.energy_j.gpu = uj(900_000);
    first.energy_by_hour[0].3 = uj(300_000);
    first.energy_by_hour[1].3 = uj(600_000);
    first.idle_j = ByComponent { cpu: uj(100_000), gpu: uj(800_000), ..ByComponent::default() };
    // 1.98 MJ are 0.55 kWh: at PUE 1.2 and 400 g/kWh 264 g.
    first.co2e_g = 264.0;
    first.gpu_unused_j = uj(720_000);
    first.method.insert("gpu".into(), "nvml-energy".into());
    let second = Record { node: "n2".into(), ..first.clone() };
    first.epochs = Some(Epochs {
        declared: Some(3),
        done: 3,
        energy_j: vec![uj(1_000_000), uj(1_200_000), uj(1_100_000)],
        duration_s: vec![1700.0, 1800.0, 1750.0],
        ..Epochs::default()
    });
    let told = Prediction {
        at: at("2026-10-01T11:00:00Z"),
        from_epochs: 1,
        epochs: 3,
        duration_s: 5100.0,
        energy_j: 3_000_000.0,
        co2e_g: 400.0,
        by: PredictedBy::Epochs,
        energy_j_low: Some(2_900_000.0),
        energy_j_high: Some(4_100_000.0),
        co2e_g_low: None,
        co2e_g_high: None,
        first: None,
    };
    // The last one is made of all epochs, and what came.
    first.prediction = Some(Prediction {
        from_epochs: 3,
        energy_j: 3_300_000.0,
        duration_s: 5250.0,
        first: Some(Box::new(told.clone())),
        ..told
    });
    let mut line = line("n1", "2026-10-01T11:00:00Z", "2026-10-01T12:00:00Z", &[(42, 75), (7, 22)]);
    line.unallocated_j.cpu = Microjoules::new(2);
    let ledger = Ledger::new();
    ledger.write(&[line], &[first, second]);
    ledger
}

fn page(ledger: &Ledger, args: &[&str], locale: &str) -> crate::Ran {
    let mut command =
        command(ledger.base(), &[&["job", "42", "--ledger", "ledger"], args].concat());
    ran(command.env("COLUMNS", "78").env("LC_ALL", locale).output().unwrap())
}

#[test]
fn a_job_over_two_nodes_is_one_page() {
    let shown = include_str!("../../../docs/LEDGER.md");
    let example = shown.split_once(
        "<!-- A job's page, as it is printed in the tests of ct-report. -->\n```text\n",
    );
    let example = example.unwrap().1.split_once("```").unwrap().0;
    assert_ran(&page(&two_nodes(), &[], "C.UTF-8"), 0, example, "");
    let plain = page(&two_nodes(), &[], "C").stdout;
    assert!(plain.is_ascii() && plain.contains("####"), "{plain}");
}

#[test]
fn json_has_the_sums_the_notes_and_the_records() {
    let ran = page(&two_nodes(), &["--json"], "C");
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();
    let job = &all[0];
    // 1080 kJ of CPU and 900 kJ of GPU on each node; 1.5 hours.
    assert_eq!(
        (&job["energy_j"]["cpu"], &job["energy_j"]["gpu"]),
        (&2_160_000.0.into(), &1_800_000.0.into())
    );
    assert_eq!(job["mean_power_w"]["cpu"], 400.0);
    assert_eq!(
        (&job["gpu_unused_j"], &job["gpu_unused_share"]),
        (&1_440_000.0.into(), &0.9.into())
    );
    assert_eq!(job["node_share"]["job_j"], 0.000_075);
    assert_eq!(
        (job["records"].as_array().map(Vec::len), job["nodes"][1].as_str()),
        (Some(2), Some("n2"))
    );
    assert!(job["notes"][0].as_str().unwrap().starts_with("the 2 GPUs drew idle power for 90 %"));
}

#[test]
fn restarts_are_listed_and_several_jobs_are_a_list() {
    let run = |id, restart, hour: u32| {
        let (start, end) =
            (format!("2026-10-01T{hour:02}:00:00Z"), format!("2026-10-01T{:02}:00:00Z", hour + 1));
        Record { restart, ..record("n1", id, &start, &end, &[3_600_000_000]) }
    };
    let task =
        |id, task| Record { array_job_id: Some(50), array_task_id: Some(task), ..run(id, 0, 5) };
    let part = |id| Record { het_job_id: Some(60), ..run(id, 0, 7) };
    let ledger = Ledger::new();
    ledger
        .write(&[], &[run(42, 0, 1), run(42, 1, 3), task(50, 1), task(51, 2), part(60), part(61)]);
    let job = |id: &str| ct_report(ledger.base(), &["job", id, "--ledger", "ledger"]);
    let page = job("42").stdout;
    let runs: Vec<_> = page.lines().filter(|line| line.starts_with("  42 ")).collect();
    assert_eq!(runs.len(), 2, "{page}");
    assert!(page.contains("2026-10-01 03:00:00 to 2026-10-01 04:00:00"), "{page}");
    let of_first = ["job", "42.0", "--ledger", "ledger"];
    let first = ct_report(ledger.base(), &of_first).stdout;
    assert!(first.contains("2026-10-01 01:00:00 to 2026-10-01 02:00:00"), "{first}");
    assert!(!first.contains("Runs;"), "{first}");
    assert!(page.contains("(`ct-report job 42.0` shows the first)"), "{page}");
    assert_eq!((job("42.2").code, job("50_2.0").code), (1, 0));
    let list = job("50");
    let ids: Vec<_> = list.stdout.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(ids, ["job", "50_1", "50_2"]);
    assert_eq!(list.stderr, "note: several jobs; `ct-report job 50_1` shows one of them\n");
    assert!(job("50_2").stdout.starts_with("Job 50_2 \"train\" on lab: completed\n"));
    assert!(job("60+1").stdout.starts_with("Job 60+1 \"train\" on lab: completed\n"));
    assert_eq!(job("60").stdout.lines().count(), 3);
    let other = ct_report(ledger.base(), &["job", "42", "-M", "other", "--ledger", "ledger"]);
    assert_eq!((other.code, &*other.stdout), (1, ""));
    assert!(other.stderr.ends_with("note: nothing matched\n"), "{}", other.stderr);
    let bad = job("42_");
    assert!(
        bad.stderr.contains("job is \"42_\", expected an id such as 42, 42_7 or 42+1"),
        "{}",
        bad.stderr
    );
    assert_eq!(job("42.x").code, 2);
}

#[test]
fn each_run_names_its_log_files() {
    let ledger = Ledger::new();
    let logs = ledger.base().join("carbontracker");
    fs::create_dir(&logs).unwrap();
    let run = |restart, hour: u32| {
        let (start, end) =
            (format!("2026-10-01T{hour:02}:00:00Z"), format!("2026-10-01T{:02}:00:00Z", hour + 1));
        Record { restart, ..record("n1", 42, &start, &end, &[1_000_000]) }
    };
    for (restart, hour) in [(0, 1), (1, 3)] {
        let stem = format!("42.{restart}_2026_carbontracker");
        let record = run(restart, hour).to_line().unwrap();
        fs::write(logs.join(format!("{stem}.json")), record).unwrap();
        for end in [".log", "_output.log.gz"] {
            fs::write(logs.join(format!("{stem}{end}")), "").unwrap();
        }
    }
    fs::write(logs.join("42.1_other_carbontracker.log"), "").unwrap();
    // The ledger's record comes first, the logs are the directory's all the same.
    ledger.write(&[], &[run(1, 3)]);
    let sources = ["carbontracker", "--ledger", "ledger"];
    let page = ct_report(ledger.base(), &[&["job", "42"], &sources[..]].concat()).stdout;
    let (_, files) = page.split_once("Log files\n").unwrap();
    let file = |run: u32, end: &str| {
        format!("  - 42.{run}: carbontracker/42.{run}_2026_carbontracker{end}\n")
    };
    let ends = [".log", "_output.log.gz", ".json"];
    let expected: String = [0, 1].iter().flat_map(|run| ends.map(|end| file(*run, end))).collect();
    assert_eq!(files, expected);
    // 1 J is 0.278 mWh.
    assert!(page.contains("energy     0.278 mWh without PUE"), "{page}");
    let json = ct_report(ledger.base(), &[&["job", "42.1", "--json"], &sources[..]].concat());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["logs"][0], "carbontracker/42.1_2026_carbontracker.log");
}

#[test]
fn who_may_not_read_the_ledger_names_the_log_directory() {
    let ran = ct_report(&fixtures(), &["job", "2", "logs"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("records of 1 of 2 nodes were found"), "{}", ran.stdout);
}

#[test]
fn reports_are_written_to_files() {
    let ledger = two_nodes();
    for (form, begins) in [("html", "<!DOCTYPE html>"), ("svg", "<svg "), ("pdf", "%PDF-")] {
        let (option, file) = (format!("--{form}"), format!("job.{form}"));
        assert_ran(&page(&ledger, &[&option, &file], "C"), 0, "", "");
        let bytes = fs::read(ledger.base().join(&file)).unwrap();
        assert!(bytes.starts_with(begins.as_bytes()), "{form}");
    }
}
