//! Sites with other PrologFlags than `Alloc`, which all other tests have: none at all, so that a job
//! begins for us with its first step on a node, and `Contain`.

use anyhow::Result;
use ct_tests::site::wait_for;
use ct_tests::{Site, cgroup_test_is_possible, e2e_is_possible};
use serde_json::Value;

use crate::job_dir::number;
use crate::{assert_within, completed};

/// What each node draws.
const WATTS: f64 = 100.0;
/// Seconds that an allocation is held before its step, and that the step takes.
const SECONDS: f64 = 2.0;

/// The records of a job once it has `n`, by node.
fn records(site: &Site, id: u32, n: usize) -> Result<Vec<Value>> {
    let mut records = wait_for(&format!("{n} records of job {id}"), || {
        let lines = site.ledger_lines().ok()?;
        let of_job: Vec<_> = lines.into_iter().filter(|l| l["job_id"] == id).collect();
        (of_job.len() >= n).then_some(of_job)
    })?;
    records.sort_by_key(|record| record["node"].to_string());
    Ok(records)
}

/// An allocation that is held for a while, then has a step: its one record.
fn held_before_its_step(site: &Site) -> Result<Value> {
    let script = "echo $SLURM_JOB_ID; sleep 2; srun sleep 2";
    let args = ["-N1", "--exclusive", "--carbontracker=on", "sh", "-c", script];
    let output = site.cluster.salloc(site.cluster.user(1), &args)?.success();
    let records = records(site, output.stdout().trim().parse()?, 1)?;
    let [record] = &records[..] else { panic!("one record: {records:#?}") };
    Ok(record.clone())
}

/// A batch job on two nodes without a step on the second; its two records.
fn batch_on_two_nodes(site: &Site) -> Result<Vec<Value>> {
    let script = "#!/bin/sh\n#SBATCH -N2 --exclusive\n#SBATCH --carbontracker=on\nsleep 2\n";
    let job = site.cluster.sbatch(site.cluster.user(1), script)?;
    completed(&site.cluster, job);
    let records = records(site, job.as_u32(), 2)?;
    assert_eq!(records.len(), 2, "{records:#?}");
    Ok(records)
}

/// Alone on its node, a job is charged all that the node drew in its time.
fn assert_right(record: &Value) {
    let elapsed_s = number(record, "elapsed_s");
    assert!(elapsed_s >= SECONDS, "{record:#}");
    assert_within(number(record, "energy_j.cpu"), WATTS * elapsed_s, 0.02, "its energy");
    assert_eq!(record["end_reason"], "completed", "{record:#}");
}

/// All nodes are as they were.
fn assert_idle(site: &Site) -> Result<()> {
    let output =
        site.cluster.command(&ct_tests::User::root(), "sinfo").args(&["-ho", "%T"]).run()?;
    assert_eq!(output.stdout().trim(), "idle", "{output}");
    Ok(())
}

#[test]
fn without_prolog_flags_a_job_is_measured_from_its_first_step_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().watts(&[WATTS, WATTS]).cluster(|c| c.prolog_flags("")).start()?;
    let record = held_before_its_step(&site)?;
    assert_right(&record);
    // What was held before the step is not the job's.
    assert!(number(&record, "elapsed_s") < 2.0 * SECONDS, "{record:#}");
    let records = batch_on_two_nodes(&site)?;
    assert_right(&records[0]);
    // On the second node nothing of the job ever ran but its epilog: it was held, and not measured.
    let unmeasured = &records[1];
    assert_eq!(number(unmeasured, "energy_j.cpu"), 0.0, "{unmeasured:#}");
    assert_eq!(number(unmeasured, "coverage"), 0.0, "{unmeasured:#}");
    let warning = "no hook told of it before its end: nothing of it was measured";
    let warnings = unmeasured["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|w| w == warning), "{unmeasured:#}");
    let lines = site.ledger_lines()?;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_idle(&site)
}

#[test]
fn with_contain_a_job_is_measured_from_its_allocation_on_every_node() -> Result<()> {
    if !e2e_is_possible() || !cgroup_test_is_possible() {
        return Ok(());
    }
    let contain = |c: ct_tests::cluster::Builder| c.prolog_flags("Contain");
    let site = Site::builder().watts(&[WATTS, WATTS]).cluster(contain).start()?;
    let record = held_before_its_step(&site)?;
    assert_right(&record);
    assert!(number(&record, "elapsed_s") >= 2.0 * SECONDS, "{record:#}");
    assert_eq!(record["method"]["activity"], "cgroup", "{record:#}");
    batch_on_two_nodes(&site)?.iter().for_each(assert_right);
    assert_idle(&site)
}
