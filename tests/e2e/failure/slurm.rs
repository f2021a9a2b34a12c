//! Faults of Slurm's own, one after the other on one node: a job's affairs are as without us, and each
//! run has one record that says how it ended.
//!
//! The time limit and scancel are in `site/endings`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::site::{wait_for, wait_for_long};
use ct_tests::{JobId, Site, cgroup_test_is_possible, e2e_is_possible};
use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::outcome::{
    ended, expect, has_its_energy, nodes_are_up, one_record_each, output, signal, submit,
    wait_for_file,
};

/// A partition whose jobs give way to those of another.
const PARTITIONS: &str = "PreemptType=preempt/partition_prio\nPreemptMode=CANCEL\n\
    PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=CANCEL\n\
    PartitionName=high Nodes=ALL PriorityTier=9 PreemptMode=OFF";

#[test]
fn each_costs_what_it_costs_without_us_and_has_one_record_that_says_so() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let prolog = dir.path().join("prolog");
    let switch = dir.path().join("fail");
    fs::write(&prolog, format!("#!/bin/sh\n[ ! -e {} ]\n", switch.display()))?;
    for path in [dir.path(), &prolog] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let conf = format!("{PARTITIONS}\nProlog={}", prolog.display());
    let site = Site::builder()
        .cluster(|c| c.extra(&conf).kill_wait_s(1))
        .config("attribution.policy", "allocated")
        .plugstack("update_interval=0.5")
        .start()?;
    preempted(&site).context("preemption")?;
    suspended(&site).context("suspend and resume")?;
    if cgroup_test_is_possible() {
        out_of_memory(&site).context("out of memory")?;
    }
    requeued_twice(&site).context("requeue, twice")?;
    without_slurmstepd(&site).context("slurmstepd killed")?;
    without_slurmd(&site).context("slurmd restarted and killed")?;
    on_a_failed_node(&site).context("node_fail")?;
    with_a_failing_prolog(&site, &switch).context("prolog failure")?;
    with_a_slurmd_from_before(&site).context("slurmd not restarted after the installation")?;
    one_record_each(&site)
}

/// The records of a job's runs, by restart: exactly so many.
fn runs(site: &Site, job: JobId, n: usize) -> Result<Vec<Value>> {
    let mut runs = site.wait_for_records(job, n)?;
    runs.sort_by_key(|record| record["restart"].as_u64());
    Ok(runs)
}

/// Expects that a job's runs ended so, in this order.
fn ended_as(site: &Site, job: JobId, reasons: &[&str]) -> Result<Vec<Value>> {
    let runs = runs(site, job, reasons.len())?;
    let seen: Vec<_> = runs.iter().map(|r| r["end_reason"].as_str().unwrap_or_default()).collect();
    ensure!(seen == reasons, "{seen:?}, expected {reasons:?}: {runs:#?}");
    let restarts: Vec<_> = runs.iter().filter_map(|r| r["restart"].as_u64()).collect();
    ensure!(restarts.iter().zip(0..).all(|(seen, expected)| *seen == expected), "{restarts:?}");
    Ok(runs)
}

fn state_and_code(site: &Site, job: JobId) -> Result<(String, String)> {
    let info = site.cluster.wait_for(job, PATIENCE)?;
    Ok((info.state().to_owned(), info.get("ExitCode").to_owned()))
}

fn preempted(site: &Site) -> Result<()> {
    let option = "on\n#SBATCH --exclusive --partition=low";
    let low = submit(site, option, "touch low; echo begun; sleep 300")?;
    wait_for_file(site, "low")?;
    let high = submit(site, "on\n#SBATCH --exclusive --partition=high", "echo hello; exit 3")?;
    ended(site, high, 3)?;
    let state = state_and_code(site, low)?.0;
    ensure!(state == "PREEMPTED", "{state}");
    ensure!(output(site, low)?.starts_with("begun\n"));
    ensure!(output(site, high)?.starts_with("hello\n"));
    ended_as(site, low, &["preempted"])?;
    ended_as(site, high, &["failed"])?;
    nodes_are_up(site)
}

fn suspended(site: &Site) -> Result<()> {
    let body = "touch running; for n in 1 2 3 4 5 6 7 8; do sleep 0.2; done; echo hello; exit 3";
    let job = submit(site, "on\n#SBATCH --exclusive", body)?;
    wait_for_file(site, "running")?;
    let id = job.to_string();
    site.cluster.scontrol(&["suspend", &id])?.success();
    std::thread::sleep(Duration::from_secs(3));
    site.cluster.scontrol(&["resume", &id])?.success();
    ensure!(ended(site, job, 3)?.starts_with("hello\n"));
    let record = &ended_as(site, job, &["failed"])?[0];
    // It held its node meanwhile: without that it is over after two seconds. slurmd may be told of either
    // some tenths of a second late.
    ensure!(record["elapsed_s"].as_f64() > Some(3.0), "{record:#}");
    has_its_energy(site, 1, record)
}

fn out_of_memory(site: &Site) -> Result<()> {
    // A line that never ends.
    let job = submit(site, "on\n#SBATCH --mem=100", "echo begun; tail /dev/zero; exit 0")?;
    let state = state_and_code(site, job)?.0;
    ensure!(state == "OUT_OF_MEMORY", "{state}");
    ensure!(output(site, job)?.starts_with("begun\n"));
    ended_as(site, job, &["out_of_memory"])?;
    nodes_are_up(site)
}

/// Lets a requeued job begin: within the second of the requeue slurmd takes its new run for the old
/// one and revokes it.
fn begin_again(site: &Site, job: JobId) -> Result<()> {
    std::thread::sleep(Duration::from_secs(2));
    site.cluster.scontrol(&["update", &format!("jobid={job}"), "starttime=now"])?.success();
    Ok(())
}

fn requeued_twice(site: &Site) -> Result<()> {
    let body = "n=${SLURM_RESTART_COUNT:-0}; touch run$n; [ $n -ge 2 ] || sleep 300\n\
                echo hello; exit 3";
    let job = submit(site, "epochs:2\n#SBATCH --requeue", body)?;
    for restart in 0..2 {
        wait_for_file(site, &format!("run{restart}"))?;
        site.cluster.scontrol(&["requeue", &job.to_string()])?.success();
        runs(site, job, restart + 1)?;
        if restart == 1 {
            // What it counted goes with it: the step says which run it is.
            signal(site.wait_for_noded(1)?, Signal::KILL)?;
        }
        begin_again(site, job)?;
    }
    ended(site, job, 3)?;
    ended_as(site, job, &["requeued", "requeued", "failed"])?;
    ensure!(output(site, job)?.contains("hello\n"));
    nodes_are_up(site)
}

/// The slurmstepd of a job's batch step, from ct-noded's own state.
fn stepd_of(site: &Site, job: JobId) -> Result<u32> {
    let file = site.state_dir(1).join("jobs/running.json");
    wait_for("the job's slurmstepd", || {
        let state: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        let jobs = state["jobs"].as_array()?;
        let job = jobs.iter().find(|j| j["facts"]["job_id"] == job.as_u32())?;
        u32::try_from(job["stepd_pids"][0].as_u64()?).ok()
    })
}

fn without_slurmstepd(site: &Site) -> Result<()> {
    let job = submit(site, "on", "touch stepd; echo begun; sleep 20; exit 3")?;
    wait_for_file(site, "stepd")?;
    let pid = stepd_of(site, job)?.to_string();
    ensure!(std::process::Command::new("kill").args(["-9", &pid]).status()?.success());
    std::thread::sleep(Duration::from_secs(1));
    // Slurm takes it for running until somebody asks.
    ensure!(site.cluster.job_info(job)?[0].state() == "RUNNING");
    site.cluster.scancel(&[&job.to_string()])?.success();
    let state = state_and_code(site, job)?.0;
    ensure!(state == "CANCELLED", "{state}");
    ended_as(site, job, &["cancelled"])?;
    // Nobody was left to print the block; it is in the log files.
    let block = "Actual consumption";
    let out = output(site, job)?;
    ensure!(out.starts_with("begun\n") && !out.contains(block), "{out}");
    let logs = fs::read_dir(site.cluster.home(site.cluster.user(1)).join("carbontracker"))?;
    let name = format!("{job}.0_");
    let of_job = logs.flatten().map(|e| e.path()).find(|path| {
        let is_output = path.to_string_lossy().ends_with("_output.log");
        is_output && path.file_name().is_some_and(|n| n.to_string_lossy().contains(&name))
    });
    let text = fs::read_to_string(of_job.context("no output log")?)?;
    ensure!(text.contains(block), "{text}");
    wait_for("the node to be up", || nodes_are_up(site).ok())
}

fn without_slurmd(site: &Site) -> Result<()> {
    let body = "touch with1; sleep 3; echo hello; exit 3";
    let job = submit(site, "on\n#SBATCH --exclusive", body)?;
    wait_for_file(site, "with1")?;
    site.cluster.restart_slurmd(1)?;
    expect(site, job, 3)?;
    ensure!(output(site, job)?.starts_with("hello\n"));
    let record = &ended_as(site, job, &["failed"])?[0];
    has_its_energy(site, 1, record)?;

    // It ends while slurmd is away: its epilog runs once that is back.
    let job = submit(
        site,
        "on\n#SBATCH --exclusive",
        "touch with2; sleep 1; echo hello; touch over; exit 3",
    )?;
    wait_for_file(site, "with2")?;
    site.cluster.kill_slurmd(1);
    wait_for_file(site, "over")?;
    std::thread::sleep(Duration::from_secs(1));
    site.cluster.restart_slurmd(1)?;
    expect(site, job, 3)?;
    ensure!(output(site, job)?.starts_with("hello\n"));
    ended_as(site, job, &["failed"])?;
    wait_for("the node to be up", || nodes_are_up(site).ok())
}

fn on_a_failed_node(site: &Site) -> Result<()> {
    let job = submit(site, "on\n#SBATCH --no-requeue", "touch node; echo begun; sleep 300")?;
    wait_for_file(site, "node")?;
    let node = format!("nodename={}", site.cluster.node(1));
    site.cluster.scontrol(&["update", &node, "state=down", "reason=test"])?.success();
    let state = state_and_code(site, job)?.0;
    ensure!(state == "NODE_FAIL", "{state}");
    ensure!(output(site, job)?.starts_with("begun\n"));
    site.cluster.resume_nodes()?;
    ended_as(site, job, &["node_fail"])?;
    wait_for("the node to be up", || nodes_are_up(site).ok())
}

/// Slurm itself drains the node and holds the job; it runs once both are let go.
fn with_a_failing_prolog(site: &Site, switch: &Path) -> Result<()> {
    fs::write(switch, "")?;
    let job = submit(site, "on", "echo hello; exit 3")?;
    wait_for("the prolog to fail", || {
        let states = site.cluster.node_states().ok()?;
        states.values().any(|state| state.contains("drain")).then_some(())
    })?;
    fs::remove_file(switch)?;
    site.cluster.resume_nodes()?;
    std::thread::sleep(Duration::from_secs(2));
    site.cluster.scontrol(&["release", &job.to_string()])?.success();
    begin_again(site, job)?;
    expect(site, job, 3)?;
    ensure!(output(site, job)?.contains("hello\n"));
    ended_as(site, job, &["requeued", "failed"])?;
    wait_for("the node to be up", || nodes_are_up(site).ok())
}

#[test]
fn slurmctld_that_is_away_at_a_jobs_end_tells_how_it_ended_when_it_is_back() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let job = submit(&site, "on\n#SBATCH --exclusive", "touch begun; sleep 2; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    site.cluster.stop_slurmctld();
    wait_for("the job's output", || {
        output(&site, job).ok().filter(|out| out.contains("Finished"))
    })?;
    // A minute: more than ct-noded waits for a controller that is there and says nothing.
    std::thread::sleep(Duration::from_secs(60));
    ensure!(site.ledger_lines()?.is_empty(), "a record without slurmctld's word");
    site.cluster.start_slurmctld()?;
    expect(&site, job, 3)?;
    ended_as(&site, job, &["failed"])?;
    let record = &site.wait_for_records(job, 1)?[0];
    ensure!(record["user"] == site.cluster.user(1).name(), "{record:#}");
    // Its epilog ran once slurmctld asked for it: until then the node was the job's.
    ensure!(record["elapsed_s"].as_f64() > Some(60.0), "{record:#}");
    wait_for("the node to be up", || nodes_are_up(&site).ok())?;
    one_record_each(&site)
}

/// A slurmd that was started before the plugin was there calls no epilog of ours, while steps load it:
/// the end is found out.
fn with_a_slurmd_from_before(site: &Site) -> Result<()> {
    let conf = site.cluster.dir().join("etc/plugstack.conf");
    let aside = conf.with_extension("aside");
    fs::rename(&conf, &aside)?;
    fs::write(&conf, "")?;
    site.cluster.restart_slurmd(1)?;
    fs::rename(&aside, &conf)?;
    let job = submit(site, "on", "sleep 1; exit 3")?;
    ended(site, job, 3)?;
    let found = || site.ledger_lines().ok()?.into_iter().find(|l| l["job_id"] == job.as_u32());
    let record = wait_for_long(Duration::from_secs(90), "the record", found)?;
    ensure!(record["end_reason"] == "failed", "{record:#}");
    site.cluster.restart_slurmd(1)
}
