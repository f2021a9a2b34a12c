//! What goes wrong on our side costs the measurement, never the job or the node.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use anyhow::{Context, Result};
use ct_tests::site::wait_for;
use ct_tests::{Site, e2e_is_possible};

use crate::job_dir::{JobDir, number, plant_joules};
use crate::{assert_within, completed};

const TRACKED: &str = "#!/bin/sh\n#SBATCH --carbontracker=on\necho hello\n";

/// Ends a process at once.
fn kill(pid: u32) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process 0")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// Gives a directory and its files to root, as systemd does with a RuntimeDirectory= at each start.
fn take_back(dir: &Path) -> Result<()> {
    let files = fs::read_dir(dir)?.flatten().map(|e| e.path());
    for path in files.chain([dir.to_owned()]) {
        lchown(path, Some(0), Some(0))?;
    }
    Ok(())
}

/// The job's output without the closing block.
fn runs_unharmed(site: &Site) -> Result<String> {
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let job = cluster.sbatch(user, TRACKED)?;
    completed(cluster, job);
    for (node, state) in cluster.node_states()? {
        assert!(["idle", "completing"].contains(&state.as_str()), "{node} is {state}");
    }
    Ok(fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?)
}

#[test]
fn without_the_daemon_jobs_run_and_slurmds_log_says_so() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_noded().start()?;
    assert_eq!(runs_unharmed(&site)?, "hello\n");
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    assert_eq!(log.matches(" ct: ").count(), 1, "{log}");
    assert!(log.contains("cannot start") && log.contains("hint: noded=PATH"), "{log}");
    Ok(())
}

#[test]
fn socket_that_refuses_costs_the_measurement_only() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_noded().start()?;
    // A socket that somebody bound and nobody listens at.
    let run_dir = site.run_dir(1);
    fs::create_dir_all(&run_dir)?;
    drop(std::os::unix::net::UnixDatagram::bind(run_dir.join("noded.sock"))?);
    assert_eq!(runs_unharmed(&site)?, "hello\n");
    assert_eq!(runs_unharmed(&site)?, "hello\n");
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    assert_eq!(log.matches(" ct: ").count(), 1, "{log}");
    Ok(())
}

#[test]
fn daemon_killed_in_mid_job_takes_the_job_up_again_and_books_the_gap() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().plugstack("update_interval=0.5").start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let script = "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=on\n\
                  timeout 6 sh -c 'while :; do :; done'\ntrue\n";
    let job = cluster.sbatch(user, script)?;
    cluster.wait_until_running(job, crate::PATIENCE)?;
    wait_for("the job's state", || site.state_dir(1).join("jobs").read_dir().ok()?.next()?.ok())?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pid = site.wait_for_noded(1)?;
    kill(pid)?;
    take_back(&site.run_dir(1))?;
    completed(cluster, job);
    // The next hook on the node, the batch step's end, has started it again.
    assert_ne!(site.wait_for_noded(1)?, pid);
    let record = &site.wait_for_records(job, 1)?[0];
    let truth = plant_joules(&site.plants[0], record)?;
    assert_within(number(record, "energy_j.cpu"), truth, 0.02, "energy across the gap");
    assert!(number(record, "elapsed_s") > 5.5, "{record:#}");
    assert_eq!(record["end_reason"], "completed");
    let warnings = record["warnings"].to_string();
    assert!(warnings.contains("ct-noded was restarted"), "{warnings}");
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert_eq!(out.matches("CarbonTracker: Finished monitoring.").count(), 1, "{out}");
    // Its handles went with it; the batch step kept its own and passed them again.
    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    assert!(logs.standard.ends_with("Monitoring thread ended.\n"), "{}", logs.standard);
    Ok(())
}

#[test]
fn log_directory_that_cannot_be_written_leaves_the_record_in_the_ledger() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let closed = cluster.dir().join("closed");
    fs::create_dir(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755))?;
    let option = format!("--carbontracker=log_dir:{}", closed.join("logs").display());
    let job = cluster.sbatch_with(user, &[&option], "#!/bin/sh\necho hello\n")?;
    completed(cluster, job);
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("hello\n"), "{out}");
    assert!(out.contains("cannot write logs in") && out.contains("Permission denied"), "{out}");
    assert_eq!(out.matches("Actual consumption:\n").count(), 1, "{out}");
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["end_reason"], "completed");
    assert!(!closed.join("logs").exists());
    Ok(())
}
