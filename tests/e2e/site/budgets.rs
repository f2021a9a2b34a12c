//! Budgets of jobs and of accounts: who is warned, who is ended, and by whom.

use std::fs;
use std::time::Instant;

use anyhow::Result;
use ct_tests::site::wait_for;
use ct_tests::{Site, User, e2e_is_possible};

use crate::control::output_of;
use crate::job_dir::{JobDir, number};
use crate::{PATIENCE, assert_within, completed};

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

/// Whether a process watches one of this site's jobs.
fn is_watched(site: &Site) -> bool {
    let track = site.bin("ct-track").display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut command_lines = entries.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
    let wanted = format!("{track}\0watch\0");
    command_lines.any(|line| line.starts_with(wanted.as_bytes()))
}

#[test]
fn elsewhere_a_job_over_its_budget_is_ended_by_its_owners_own_processes() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let (cluster, user) = (&site.cluster, site.cluster.user(1));
    let marks = format!(
        "for n in 1 2 3 4 5 6; do\n  {t} epoch start; sleep 1; {t} epoch end\ndone\necho trained\n",
        t = site.bin("ct-track").display()
    );
    // At its next mark, or by the process that watches it: a job without marks has but that.
    for work in [&marks, "sleep 300\necho trained\n"] {
        let job = cluster.sbatch(user, &format!("{SPENDTHRIFT}#SBATCH --exclusive\n{work}"))?;
        let info = cluster.wait_for(job, PATIENCE)?;
        assert_eq!(info.state(), "CANCELLED", "{}", output_of(&site, user, job));
        let record = &site.wait_for_records(job, 1)?[0];
        assert_eq!(record["budget"]["action"], "asked", "{record:#}");
        let out = output_of(&site, user, job);
        assert!(out.contains("The job is to end.") && !out.contains("trained"), "{out}");
    }
    // A job that keeps its budget is watched, ends by itself and in its own time.
    let script =
        "#!/bin/sh\n#SBATCH --carbontracker=max_energy:10,on_budget:stop\nsleep 2; exit 3\n";
    let job = cluster.sbatch(user, script)?;
    cluster.wait_until_running(job, PATIENCE)?;
    wait_for("the job to be watched", || is_watched(&site).then_some(()))?;
    let info = cluster.wait_for(job, PATIENCE)?;
    assert_eq!((info.state(), info.get("ExitCode")), ("FAILED", "3:0"));
    let record = &site.wait_for_records(job, 1)?[0];
    assert!((2.0..4.0).contains(&number(record, "elapsed_s")), "{record:#}");
    assert!(!is_watched(&site), "the watching process is left");
    // As is an srun without a batch job.
    let args =
        ["--exclusive", "--carbontracker=update_interval:0.5,max_energy:0.0001,on_budget:stop"];
    let output = cluster.srun(user, &[&args[..], &["sleep", "300"]].concat())?;
    assert!(!output.is_success(), "{output}");
    Ok(())
}

#[test]
fn an_accounts_budget_is_of_what_its_jobs_used_this_month() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    // 900 J with PUE.
    let accounts = "{ physics = { energy_kwh = 0.00025, on_budget = \"stop\" } }";
    let site = Site::builder()
        .config("budget.check_s", 0.2)
        .config("budget.account", accounts.parse::<toml_edit::Value>()?)
        .config("track.allow_stop", true)
        .config("track.stop_grace_s", 1.0)
        .start()?;
    let (cluster, user) = (&site.cluster, site.cluster.user(1));
    let config = site.config().display().to_string();
    let report = site.bin("ct-report").display().to_string();
    let budget = |args: &[&str]| {
        let args = [&["budget", "--config", &config], args].concat();
        anyhow::Ok(cluster.command(&User::root(), &report).args(&args).run()?.success())
    };
    budget(&["--write"])?;
    // 100 W · 1.58 for 3 s.
    let first = cluster.sbatch_with(
        user,
        &["--account=physics", "--exclusive", "--carbontracker=on"],
        "#!/bin/sh\nsleep 3\n",
    )?;
    completed(cluster, first);
    let record = &site.wait_for_records(first, 1)?[0];
    assert!(record["account_budget"]["exceeded_at"].is_null(), "{record:#}");
    let joules = number(record, "energy_j.cpu") * 1.58;
    let rows: serde_json::Value = serde_json::from_str(budget(&["--json"])?.stdout())?;
    assert_eq!((&rows[0]["account"], &rows[0]["on_budget"]), (&"physics".into(), &"stop".into()));
    assert_within(number(&rows[0], "used_kwh") * 3.6e6, joules, 1e-6, "the account's sum");
    budget(&["--write"])?;

    let script = format!(
        "#!/bin/sh\n#SBATCH --exclusive --account=physics\n\
         #SBATCH --carbontracker=epochs:100,update_interval:0.5\n\
         {t} epoch start; sleep 0.5; {t} epoch end\nsleep 300\n",
        t = site.bin("ct-track").display()
    );
    let job = cluster.sbatch(user, &script)?;
    let info = cluster.wait_for(job, PATIENCE)?;
    assert_ne!(info.state(), "COMPLETED");
    let record = &site.wait_for_records(job, 1)?[0];
    let used = &record["account_budget"];
    assert_eq!((&used["by"], &used["action"]), (&"prediction".into(), &"terminated".into()));
    assert!(used["month"].is_string() && used["as_of"].is_string(), "{used:#}");
    assert_within(number(used, "used_energy_kwh") * 3.6e6, joules, 1e-6, "what was seen");
    let out = output_of(&site, user, job);
    assert!(out.contains("Budget of account physics: predicted are 0.0"), "{out}");
    assert!(out.contains("by other jobs until ") && out.contains("The job is to end."));
    // A job of no account, or of one without a budget, has none.
    let other = cluster.sbatch_with(user, &["--account=arts"], "#!/bin/sh\nsleep 3\n")?;
    completed(cluster, other);
    assert!(site.wait_for_records(other, 1)?[0].get("account_budget").is_none());
    Ok(())
}

#[test]
fn an_accounts_running_job_counts_as_it_last_told_and_once_when_it_has_ended() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let accounts = "{ physics = { energy_kwh = 1000 } }";
    let site = Site::builder()
        .config("budget.check_s", 0.2)
        .config("budget.account", accounts.parse::<toml_edit::Value>()?)
        .start()?;
    let (cluster, user) = (&site.cluster, site.cluster.user(1));
    let (config, report) = (site.config().display().to_string(), site.bin("ct-report"));
    let budget = |args: &[&str]| {
        let args = [&["budget", "--config", &config], args].concat();
        let report = report.display().to_string();
        anyhow::Ok(cluster.command(&User::root(), &report).args(&args).run()?.success())
    };
    let row = || -> Result<serde_json::Value> {
        let rows: serde_json::Value = serde_json::from_str(budget(&["--json"])?.stdout())?;
        Ok(rows[0].clone())
    };
    // At its first prediction it tells; by then slurmctld has named its account.
    let script = format!(
        "#!/bin/sh\n#SBATCH -c1 --account=physics --carbontracker=epochs:9\n\
         {t} epoch start; sleep 4; {t} epoch end\nwhile [ ! -e go ]; do sleep 0.1; done\n",
        t = site.bin("ct-track").display()
    );
    let running = cluster.sbatch(user, &script)?;
    let live = site.ledger().join(format!("live/{running}/.record.json"));
    let told: serde_json::Value = wait_for("the running job to tell", || {
        serde_json::from_slice(&fs::read(&live).ok()?).ok()
    })?;
    assert_eq!(told["account"], "physics", "{told:#}");
    // No other node; PUE 1.58.
    let joules = number(&told, "energy_j.cpu") * 1.58;
    let seen = row()?;
    assert_within(number(&seen, "running_kwh") * 3.6e6, joules, 1e-6, "what runs");
    assert_within(number(&seen, "running_g"), number(&told, "co2e_g"), 1e-6, "its grams");
    assert_eq!(number(&seen, "used_kwh"), 0.0, "{seen}");
    budget(&["--write"])?;

    let options = ["-c1", "--account=physics", "--carbontracker=update_interval:0.5"];
    let other = cluster.sbatch_with(user, &options, "#!/bin/sh\nsleep 4\n")?;
    completed(cluster, other);
    let record = &site.wait_for_records(other, 1)?[0];
    let others = number(record, "account_budget.used_energy_kwh") * 3.6e6;
    assert_within(others, joules, 1e-6, "what the other job sees of it");

    cluster.command(user, "touch").args(&["go"]).run()?.success();
    completed(cluster, running);
    let ended = &site.wait_for_records(running, 1)?[0];
    let all = (number(ended, "energy_j.cpu") + number(record, "energy_j.cpu")) * 1.58;
    // What it told last is there for two more minutes.
    assert!(live.exists());
    let seen = row()?;
    assert_eq!(number(&seen, "running_kwh"), 0.0, "{seen}");
    assert_within(number(&seen, "used_kwh") * 3.6e6, all, 1e-6, "both have ended");
    Ok(())
}
