//! Runs as tests of this crate need them.

use ct_core::record::{EndReason, Epochs, GpuShare, JobCharge, PredictedBy, Prediction, Record};
use ct_core::units::Microjoules;

use super::share::NodeShare;
use super::*;

/// A job of one hour on n1 that drew 3.6 MJ by its CPUs.
pub(crate) fn record(node: &str) -> Record {
    let fixture = include_str!("../../tests/fixtures/ledger/v1/2026-10/n1.jsonl");
    let line = fixture.lines().next().unwrap();
    Record { node: node.to_owned(), ..serde_json::from_str(line).unwrap() }
}

fn uj(joules: u64) -> Microjoules {
    Microjoules::new(joules * 1_000_000)
}

/// Four GPUs that stayed at their baseline for nine tenths of the time, over two nodes.
pub(crate) fn gpu_run() -> Run {
    let gpu =
        |n: u32| GpuShare { uuid: format!("GPU-{n}"), name: "NVIDIA H200".into(), share: 1.0 };
    let mut first = record("n1");
    first.n_nodes = 2;
    first.gpus = vec![gpu(0), gpu(1)];
    first.energy_j.gpu = uj(1_000_000);
    first.method.insert("gpu".into(), "nvml-energy".into());
    first.idle_j.gpu = uj(720_000);
    first.gpu_unused_j = uj(648_000);
    first.energy_by_hour[1].3 = uj(1_000_000);
    let energy_j = (1..=40).map(|n| uj(100_000 + 500 * n)).collect();
    let duration_s = vec![90.0; 40];
    first.epochs =
        Some(Epochs { declared: Some(40), done: 40, energy_j, duration_s, ..Epochs::default() });
    first.sci = Some(ct_core::carbon::sci::Sci::new(1.0, 400.0, None, 40));
    let at = first.start;
    first.prediction = Some(Prediction {
        at,
        from_epochs: 1,
        epochs: 40,
        duration_s: 3500.0,
        energy_j: 4_020_000.0,
        co2e_g: 536.0,
        by: PredictedBy::Epochs,
        energy_j_low: Some(2_900_000.0),
        energy_j_high: Some(4_100_000.0),
        co2e_g_low: None,
        co2e_g_high: None,
        first: None,
    });
    let second = Record { node: "n2".into(), epochs: None, prediction: None, ..first.clone() };
    runs(vec![second, first]).remove(0)
}

/// A job whose owner chose every name with care.
pub(crate) fn hostile_run() -> Run {
    let mut bad = record("n1");
    bad.job_name = Some("<script>alert(1)</script>\x1b[2J\u{202e}".into());
    bad.user = "a&b\"<i>".into();
    bad.account = Some("実験".repeat(40));
    bad.warnings = vec!["</style><img src=x onerror=alert(1)>".into()];
    bad.end_reason = EndReason::Timeout;
    bad.idle_j.cpu = bad.energy_j.cpu;
    runs(vec![bad]).remove(0)
}

#[test]
fn nodes_are_added_up_and_restarts_are_runs_of_their_own() {
    let mut again = record("n1");
    again.restart = 1;
    // Slurm gave the id again a year later.
    let mut later = record("n1");
    later.start += chrono::TimeDelta::days(365);
    later.end += chrono::TimeDelta::days(365);
    let two = Record { n_nodes: 3, ..record("n1") };
    let all = runs(vec![later, record("n2"), again, two]);
    let shape: Vec<_> = all
        .iter()
        .map(|run| (run.head().restart, run.records().len(), run.sums.energy_uj()))
        .collect();
    assert_eq!(
        shape,
        [(0, 2, 7_200_000_000_000), (1, 1, 3_600_000_000_000), (0, 1, 3_600_000_000_000)]
    );
    assert_eq!(all[0].n_missing(), 1);
    assert!(is_one_job(&all));
}

#[test]
fn hours_have_the_power_of_the_time_the_job_took_of_them() {
    // Half an hour of 1.2 MJ and half an hour of 2.4 MJ: 666.7 W and 1333.3 W.
    let hours = hours::hours(&runs(vec![record("n1")])[0]);
    let watts: Vec<_> = hours.iter().map(|hour| (hour.seconds, hour.total_w().round())).collect();
    assert_eq!(watts, [(1800.0, 667.0), (1800.0, 1333.0)]);
}

#[test]
fn notes_say_what_the_records_bear_out() {
    let notes = notes::notes(&gpu_run());
    // 648 of 720 kJ a node, two nodes: 90 %, 3.6 of 4 GPUs, 1.296 MJ.
    assert_eq!(
        notes,
        [
            "the 4 GPUs drew idle power for 90 % of their time, as if 3.6 of them had not been needed: 360.0 Wh went into GPUs that were held and not used"
        ]
    );
    let notes = notes::notes(&hostile_run());
    assert_eq!(
        notes,
        [
            "asked for 2 CPUs, which did little: 0 % of their energy was above idle",
            "the job ran into its time limit: what it had not saved of 1.000 kWh is lost",
        ]
    );
    assert!(notes::notes(&runs(vec![record("n1")])[0]).is_empty());
}

#[test]
fn a_share_is_of_the_lines_that_name_the_job() {
    let line = |charges: &[(u32, u64)]| {
        let text = r#"{"v":1,"kind":"node","cluster":"lab","node":"n1","start":"2026-10-01T00:00:00Z","end":"2026-10-01T01:00:00Z","elapsed_s":3600.0,"meter_j":{"cpu":100.0,"dram":0,"gpu":0,"rest":0},"jobs_j":{"cpu":60.0,"dram":0,"gpu":0,"rest":0},"system_j":{"cpu":10.0,"dram":0,"gpu":0,"rest":0},"unallocated_j":{"cpu":30.0,"dram":0,"gpu":0,"rest":0},"idle_j":{"cpu":0,"dram":0,"gpu":0,"rest":0},"jobs":[],"baseline":{},"gap_s":0,"method":{},"attribution":"hybrid","warnings":[]}"#;
        let mut line: ct_core::record::NodeRecord = serde_json::from_str(text).unwrap();
        line.jobs = charges.iter().map(|(id, j)| JobCharge(*id, 0, uj(*j))).collect();
        line
    };
    let mut share = NodeShare::default();
    share.add(&line(&[(1, 45), (2, 15)]), 1, 0);
    share.add(&line(&[(1, 45), (2, 15)]), 1, 0);
    share.add(&line(&[(2, 60)]), 1, 0);
    let parts = [share.job_uj, share.other_jobs_uj, share.system_uj, share.unallocated_uj];
    assert_eq!(parts, [45_000_000, 15_000_000, 10_000_000, 30_000_000]);
    assert_eq!((share.of_meters(share.job_uj), share.n_other_jobs), (Some(0.45), 1));
    share.add(&line(&[(1, 45)]), 1, 1);
    assert_eq!(share.meter_uj, 100_000_000);
}

#[test]
fn ids_are_shown_as_slurm_shows_them() {
    let id = |array: Option<u32>, task, het| {
        shown_id(&Record {
            array_job_id: array,
            array_task_id: task,
            het_job_id: het,
            ..record("n1")
        })
    };
    assert_eq!(id(None, None, None), "1");
    assert_eq!(id(Some(1), Some(7), None), "1_7");
    assert_eq!(id(None, None, Some(1)), "1+0");
}
