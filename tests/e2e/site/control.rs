//! What an owner may steer: the question after the prediction, and budgets.

use std::fs;
use std::time::Instant;

use anyhow::Result;
use ct_tests::site::wait_for;
use ct_tests::{JobId, Site, User, e2e_is_possible};

use crate::job_dir::{JobDir, number};
use crate::{PATIENCE, assert_within, completed};

/// A training that asks after its first epoch.
fn asking(site: &Site, user: &User) -> Result<JobId> {
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:3,stop_and_confirm:true\n\
         for n in 1 2 3; do\n  {t} epoch start; sleep 0.5; {t} epoch end\ndone\necho trained\n",
        t = site.bin("ct-track").display()
    );
    site.cluster.sbatch(user, &script)
}

fn output_of(site: &Site, user: &User, job: JobId) -> String {
    let path = site.cluster.home(user).join(format!("slurm-{job}.out"));
    fs::read_to_string(path).unwrap_or_default()
}

fn wait_for_question(site: &Site, user: &User, job: JobId) -> Result<String> {
    wait_for("the question", || {
        Some(output_of(site, user, job)).filter(|out| out.contains("the job waits"))
    })
}

fn answer(site: &Site, user: &User, job: JobId, answer: &str) -> Result<ct_tests::Output> {
    let (jobid, track) = (format!("--jobid={job}"), site.bin("ct-track").display().to_string());
    site.cluster.srun(user, &[&jobid, "--overlap", &track, "confirm", answer])
}

#[test]
fn a_batch_job_waits_for_its_owners_yes_and_goes_on() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let (user, stranger) = (site.cluster.user(1), site.cluster.user(2));
    let job = asking(&site, user)?;
    let out = wait_for_question(&site, user, job)?;
    assert!(out.contains("CarbonTracker: Continue training (y/n)?\n"), "{out}");
    let how = format!(
        "answer with \"srun --jobid={job} --overlap ct-track confirm y\", or n; \
                       without an answer within 600 s it is y"
    );
    assert!(out.contains(&how), "{out}");
    // Nobody else answers: not a stranger, and not root.
    let socket = site.run_dir(1).join("noded.sock").display().to_string();
    let (env, id) =
        (format!("CARBONTRACKER_SOCKET={socket}"), format!("CARBONTRACKER_JOB_ID={job}"));
    let track = site.bin("ct-track").display().to_string();
    let args = [env.as_str(), &id, &track, "confirm", "y"];
    let output = site.cluster.command(stranger, "env").args(&args).run()?;
    assert_eq!(output.code(), Some(1), "{output}");
    assert!(output.stderr().contains("no job"), "{output}");
    let root = std::process::Command::new("env").args(args).output()?;
    let said = String::from_utf8_lossy(&root.stderr).into_owned();
    assert!(!root.status.success() && said.contains("only the owner"), "{said}");
    answer(&site, user, job, "y")?.success();
    completed(&site.cluster, job);
    let out = output_of(&site, user, job);
    // The actual block of monitor_epochs:1 comes after the answer, as upstream has it.
    let [asked, on, actual] =
        ["Continue training (y/n)?", "Continuing...", "Actual consumption for 1"]
            .map(|text| out.find(text).unwrap_or_else(|| panic!("{text}: {out}")));
    assert!(asked < on && on < actual, "{out}");
    assert!(out.contains("trained") && out.matches("(y/n)?").count() == 1, "{out}");
    // It had its answer: there is no question any more.
    Ok(())
}

#[test]
fn a_batch_job_whose_owner_says_no_ends_as_its_owners_scancel() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let job = asking(&site, user)?;
    wait_for_question(&site, user, job)?;
    answer(&site, user, job, "n")?;
    let info = site.cluster.wait_for(job, PATIENCE)?;
    assert_eq!(info.state(), "CANCELLED");
    let logs = JobDir::read(&site.cluster.home(user).join("carbontracker"), job, user)?;
    assert!(logs.standard.contains("Session ended by user.\n"), "{}", logs.standard);
    assert!(logs.output.contains("CarbonTracker: Quitting...\n"), "{}", logs.output);
    assert_eq!(number(&logs.record, "epochs.done"), 1.0);
    assert!(!output_of(&site, user, job).contains("trained"));
    Ok(())
}

#[test]
fn where_nobody_answers_the_site_does() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    for (default, state) in [("y", "COMPLETED"), ("n", "CANCELLED")] {
        let site = Site::builder()
            .config("track.confirm_timeout_s", 1.0)
            .config("track.confirm_default", default)
            .start()?;
        let user = site.cluster.user(1);
        let job = asking(&site, user)?;
        let info = site.cluster.wait_for(job, PATIENCE)?;
        assert_eq!(info.state(), state, "{}", output_of(&site, user, job));
        let record = &site.wait_for_records(job, 1)?[0];
        let warning = format!("nobody answered within 1 s: the site's {default}");
        assert!(record["warnings"].to_string().contains(&warning), "{record:#}");
    }
    Ok(())
}

#[test]
fn a_budget_is_warned_of_when_the_prediction_passes_it() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    // 100 W · 1.58 for 0.5 s are 22 µWh·1000: 1000 epochs are about 0.02 kWh.
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=epochs:1000,max_energy:0.01\n\
         {t} epoch start; sleep 0.5; {t} epoch end\n{t} status --json > status.json\n",
        t = site.bin("ct-track").display()
    );
    let job = site.cluster.sbatch(user, &script)?;
    completed(&site.cluster, job);
    let out = output_of(&site, user, job);
    assert!(out.contains("CarbonTracker: Budget: predicted are 0.02"), "{out}");
    assert!(out.contains("of max_energy 0.01 kWh."), "{out}");
    let logs = JobDir::read(&site.cluster.home(user).join("carbontracker"), job, user)?;
    assert!(logs.error.contains(" - WARNING - Budget: predicted are"), "{}", logs.error);
    let budget = &logs.record["budget"];
    assert_eq!((&budget["by"], &budget["action"]), (&"prediction".into(), &"warned".into()));
    assert!(budget["passed_at"].is_string() && budget["exceeded_at"].is_null(), "{budget:#}");
    let status = fs::read_to_string(site.cluster.home(user).join("status.json"))?;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&status)?["budget"]["by"], "prediction");
    Ok(())
}

/// A job that draws 100 W · 1.58 and passes 0.0001 kWh, that is 360 J, after 2.3 s.
const SPENDTHRIFT: &str = "#!/bin/sh\n#SBATCH -c1\n\
    #SBATCH --carbontracker=update_interval:0.5,max_energy:0.0001,on_budget:stop\n";

#[test]
fn a_job_over_its_budget_is_ended_where_the_site_allows_it() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder()
        .config("track.allow_stop", true)
        .config("track.stop_grace_s", 1.0)
        .config("attribution.policy", "node")
        .start()?;
    let cluster = &site.cluster;
    let (user, other) = (cluster.user(1), cluster.user(2));
    let neighbour = cluster.sbatch(other, "#!/bin/sh\n#SBATCH -c1\nsleep 300\n")?;
    cluster.wait_until_running(neighbour, PATIENCE)?;
    // One job ends when it is asked to, the other one does not listen.
    for (listens, action) in [("", "terminated"), ("trap '' TERM\n", "killed")] {
        let begun = Instant::now();
        let script = format!("{SPENDTHRIFT}{listens}srun sleep 300 &\nwhile :; do sleep 1; done\n");
        let job = cluster.sbatch(user, &script)?;
        let info = cluster.wait_for(job, PATIENCE)?;
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
        assert_ne!(info.state(), "COMPLETED");
        let record = &site.wait_for_records(job, 1)?[0];
        assert_eq!(record["budget"]["action"], action, "{record:#}");
        assert_eq!(record["budget"]["by"], "actual");
        assert!(output_of(&site, user, job).contains("Budget: used are 0.0001"));
        // A running total is held against it twice a second.
        assert!(number(record, "energy_j.cpu") * 1.58 < 3.0 * 360.0, "{record:#}");
    }
    assert_eq!(cluster.job_info(neighbour)?[0].state(), "RUNNING");
    cluster.scancel(&[&neighbour.to_string()])?.success();
    Ok(())
}

#[test]
fn a_job_over_its_budget_ends_itself_at_its_next_mark_elsewhere() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let script = format!(
        "{SPENDTHRIFT}#SBATCH --exclusive\nfor n in 1 2 3 4 5 6; do\n  {t} epoch start; sleep 1; \
         {t} epoch end\ndone\necho trained\n",
        t = site.bin("ct-track").display()
    );
    let job = site.cluster.sbatch(user, &script)?;
    let info = site.cluster.wait_for(job, PATIENCE)?;
    assert_eq!(info.state(), "CANCELLED", "{}", output_of(&site, user, job));
    let record = &site.wait_for_records(job, 1)?[0];
    assert_eq!(record["budget"]["action"], "asked", "{record:#}");
    assert!(output_of(&site, user, job).contains("The job is to end."));
    Ok(())
}

#[test]
fn without_epochs_the_status_shows_the_value_at_the_time_limit() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let user = site.cluster.user(1);
    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive --time=10\n#SBATCH --carbontracker=update_interval:1\n\
         sleep 5\n{t} status\n",
        t = site.bin("ct-track").display()
    );
    let job = site.cluster.sbatch(user, &script)?;
    completed(&site.cluster, job);
    let out = output_of(&site, user, job);
    assert!(out.contains("for its time limit"), "{out}");
    let record = &site.wait_for_records(job, 1)?[0];
    let prediction = &record["prediction"];
    assert_eq!(prediction["by"], "time_limit", "{record:#}");
    // Ten minutes at 100 W.
    assert_within(number(prediction, "duration_s"), 600.0, 0.01, "time limit");
    assert_within(number(prediction, "energy_j"), 60_000.0, 0.02, "energy at the time limit");
    Ok(())
}
