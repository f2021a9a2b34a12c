//! Jobs that do not end of themselves: one record each, with the right end_reason.

use std::time::Duration;

use anyhow::Result;
use ct_tests::site::wait_for;
use ct_tests::{Cluster, JobId, Site, e2e_is_possible};

use crate::job_dir::JobDir;

const SLEEPER: &str =
    "#!/bin/sh\n#SBATCH --carbontracker=epochs:5\necho begun; touch begun; sleep 300\n";

/// Expects of a job what it is without us: its state, its own output first, a node that is up.
fn is_as_without_us(cluster: &Cluster, job: JobId, state: &str) -> Result<()> {
    let info = cluster.wait_for(job, Duration::from_secs(150))?;
    assert_eq!(info.state(), state, "{info:?}");
    let path = cluster.home(cluster.user(1)).join(format!("slurm-{job}.out"));
    let out = std::fs::read_to_string(path)?;
    // Slurm's own line stands behind it, and our block.
    assert!(out.starts_with("begun\n") && out.contains("slurmstepd-"), "{out}");
    let states = cluster.node_states()?;
    assert!(states.values().all(|state| state == "idle"), "{states:?}");
    Ok(())
}

#[test]
fn cancelled_job_has_one_record_and_says_cancelled() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let job = cluster.sbatch(user, SLEEPER)?;
    cluster.wait_until_running(job, crate::PATIENCE)?;
    // Cancelled before its batch step is up it would leave no logs.
    wait_for("the job's own words", || cluster.home(user).join("begun").exists().then_some(()))?;
    cluster.scancel(&[&job.to_string()])?.success();
    is_as_without_us(cluster, job, "CANCELLED")?;
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["end_reason"], "cancelled");
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    let early = "Training was interrupted before all 5 epochs were monitored.";
    assert!(logs.standard.contains(early), "{}", logs.standard);
    assert!(logs.standard.ends_with("Monitoring thread ended.\n"), "{}", logs.standard);
    Ok(())
}

#[test]
fn jobs_name_is_never_taken_for_its_account_or_its_end() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let name = "x|TIMEOUT|9 UserId=ctuser2(1) Account=rich QOS=gold JobState=TIMEOUT Restarts=9";
    let job = cluster.sbatch_with(user, &["--job-name", name], "#!/bin/sh\ntrue\n")?;
    crate::completed(cluster, job);
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["end_reason"], "completed");
    assert_eq!(record["user"], user.name());
    assert_eq!(record["account"], serde_json::Value::Null);
    assert_eq!(record["job_name"], name);
    Ok(())
}

#[test]
fn job_at_its_time_limit_has_one_record_and_says_timeout() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().cluster(|c| c.kill_wait_s(1)).start()?;
    let cluster = &site.cluster;
    // Slurm's shortest limit is a minute.
    let job = cluster.sbatch_with(cluster.user(1), &["--time=1"], SLEEPER)?;
    is_as_without_us(cluster, job, "TIMEOUT")?;
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["end_reason"], "timeout");
    Ok(())
}

#[test]
fn requeued_job_has_one_record_for_each_run() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    // A requeued job is held back for two minutes unless it is told to begin at once.
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH --requeue\n#SBATCH --carbontracker=epochs:2\n\
                  [ \"${SLURM_RESTART_COUNT:-0}\" -gt 0 ] || sleep 300\n";
    let job = cluster.sbatch(user, script)?;
    cluster.wait_until_running(job, crate::PATIENCE)?;
    let logs = cluster.home(user).join("carbontracker");
    wait_for("the job's logs", || logs.read_dir().ok())?;
    let id = job.to_string();
    cluster.scontrol(&["requeue", &id])?.success();
    let first = &site.wait_for_records(job, 1)?[0];
    assert_eq!(
        (first["end_reason"].as_str(), first["restart"].as_u64()),
        (Some("requeued"), Some(0))
    );
    // Within the second of the requeue slurmd takes the new run for the old one and revokes it.
    std::thread::sleep(Duration::from_secs(2));
    cluster.scontrol(&["update", &format!("jobid={id}"), "starttime=now"])?;
    cluster.wait_for(job, Duration::from_secs(150))?;
    let records = site.wait_for_records(job, 2)?;
    let mut runs: Vec<_> = records
        .iter()
        .map(|r| (r["restart"].as_u64(), r["end_reason"].as_str().unwrap_or_default()))
        .collect();
    runs.sort();
    assert_eq!(runs, [(Some(0), "requeued"), (Some(1), "completed")]);
    JobDir::read_run(&logs, job, 1, user)?;
    Ok(())
}
