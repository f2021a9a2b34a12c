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

/// Where no ct-noded can be had a job runs, and its owner, who asked for tracking, is told in one line.
fn runs_unmeasured(site: &Site) -> Result<()> {
    let out = runs_unharmed(site)?;
    let told = out.strip_suffix("hello\n").unwrap_or_default();
    assert!(told.starts_with("carbontracker: ct-noded does not run on "), "{out}");
    assert_eq!((told.lines().count(), out.lines().count()), (1, 2), "{out}");
    Ok(())
}

#[test]
fn without_the_daemon_jobs_run_and_slurmds_log_says_so() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_noded().start()?;
    runs_unmeasured(&site)?;
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    assert_eq!(log.matches(" ct: ").count(), 1, "{log}");
    assert!(log.contains("cannot start") && log.contains("hint: noded=PATH"), "{log}");
    Ok(())
}

#[test]
fn a_configuration_that_was_edited_wrongly_is_told_to_all_whom_it_concerns() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let (cluster, node) = (&site.cluster, site.cluster.node(1));
    let pid = site.wait_for_noded(1)?;
    let good = fs::read_to_string(site.config())?;
    fs::write(site.config(), format!("{good}\n[pwoer]\npue = 1.2\n"))?;
    let place =
        format!("{}:{}: unknown key \"pwoer\"", site.config().display(), good.lines().count() + 2);
    // One that runs says so, and runs on; hooks find it, wherever its socket is.
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process 0")?;
    rustix::process::kill_process(raw, rustix::process::Signal::HUP)?;
    wait_for("ct-noded's answer", || {
        let log = fs::read_to_string(site.state_dir(1).join("noded.log")).ok()?;
        (log.contains("asked to reload: ") && log.contains(&place)).then_some(())
    })?;
    let on_node = |user| cluster.sbatch_with(user, &["-w", &node], TRACKED);
    let job = on_node(cluster.user(1))?;
    completed(cluster, job);
    let out =
        |job| fs::read_to_string(cluster.home(cluster.user(1)).join(format!("slurm-{job}.out")));
    assert!(out(job)?.contains("Actual consumption:\n"), "{}", out(job)?);
    assert_eq!(site.noded_pid(1), Some(pid));
    // One that has ended does not start again.
    kill(pid)?;
    wait_for("ct-noded to end", || {
        fs::metadata(format!("/proc/{pid}/cwd")).is_err().then_some(())
    })?;
    let job = on_node(cluster.user(1))?;
    completed(cluster, job);
    assert!(out(job)?.starts_with("carbontracker: ct-noded does not run on "), "{}", out(job)?);
    let log = fs::read_to_string(cluster.slurmd_log(1))?;
    assert!(log.contains(&place) && log.contains("`ct-report check`"), "{log}");
    let config = site.config().display().to_string();
    let args = ["check", "--config", &config, "--node", &node];
    let report = site.bin("ct-report").display().to_string();
    let check = cluster.command(&ct_tests::User::root(), &report).args(&args).run()?;
    assert_eq!(check.code(), Some(2), "{check}");
    for says in [&*place, "mend: mend the file", "it does not run, and does not start"] {
        assert!(check.stdout_unchecked().contains(says), "{says}: {check}");
    }
    // By hand it says the same, as its unit's journal does.
    let noded = site.bin("ct-noded").display().to_string();
    let by_hand =
        cluster.command(&ct_tests::User::root(), &noded).args(&["--config", &config]).run()?;
    assert_eq!(by_hand.code(), Some(2), "{by_hand}");
    assert!(by_hand.stderr().contains(&place), "{by_hand}");
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
    runs_unmeasured(&site)?;
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
