//! Tracked jobs on a real cluster, from the option to the month's report.

mod accounting;
mod batch;
mod budgets;
mod check;
mod configless;
mod container;
mod control;
mod endings;
mod epochs;
mod forms;
mod gpus;
mod harm;
mod impostors;
mod intensity;
mod job_dir;
mod local;
mod prolog_flags;
mod publish;
mod refusals;
mod shared_node;
mod upstream;

use std::time::Duration;

use ct_tests::{Cluster, JobId, JobInfo};

/// Longest time a job of these tests may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Keeps one core busy for some seconds.
const BURN: &str = "burn() { timeout \"$1\" sh -c 'while :; do :; done'; return 0; }\n";

/// Waits for a job and expects that it completed.
#[track_caller]
fn completed(cluster: &Cluster, job: JobId) -> JobInfo {
    let info = cluster.wait_for(job, PATIENCE).expect("the job ends");
    assert_eq!((info.state(), info.get("ExitCode")), ("COMPLETED", "0:0"));
    info
}

/// Fails unless `seen` is within a part of `expected`.
#[track_caller]
fn assert_within(seen: f64, expected: f64, part: f64, what: &str) {
    let off = (seen - expected).abs() / expected;
    assert!(off <= part, "{what}: {seen} is {:.2} % off {expected}", off * 100.0);
}
