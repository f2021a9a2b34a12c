//! `ct-report publish`: what the ledger says is in Slurm's accounting, once, and nothing else is
//! changed there.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use ct_tests::site::wait_for_long;
use ct_tests::{Output, Site, User};
use serde_json::Value;
use std::time::Duration;

/// Longest time a job may take to be requeued and run again.
const LONG: Duration = Duration::from_secs(60);

/// Runs `ct-report publish` as a user.
fn publish(site: &Site, user: &User, args: &[&str]) -> Result<Output> {
    let config = site.config().display().to_string();
    let state = site.cluster.dir().join("ct/published.jsonl").display().to_string();
    let base = ["publish", "--config", &config, "--state", &state, "--rate", "100"];
    let program = site.bin("ct-report").display().to_string();
    site.cluster.command(user, &program).args(&base).args(args).timeout(LONG).run()
}

/// AdminComment by the id Slurm shows, of jobs that have one.
fn comments(site: &Site) -> Result<BTreeMap<String, String>> {
    let args = ["-a", "-X", "-n", "-P", "-S", "now-1days", "-o", "JobID,AdminComment"];
    let output = site.cluster.command(&User::root(), "sacct").args(&args).run()?.success();
    let pairs = output.stdout().lines().filter_map(|line| line.split_once('|'));
    let is_set = |(_, comment): &(&str, &str)| !comment.is_empty();
    Ok(pairs.filter(is_set).map(|(id, text)| (id.to_owned(), text.to_owned())).collect())
}

/// Joules of each job by the id Slurm shows, by its records.
fn joules(site: &Site) -> Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for line in site.ledger_lines()? {
        let id = match (line["array_job_id"].as_u64(), line["array_task_id"].as_u64()) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => line["job_id"].to_string(),
        };
        let parts = line["energy_j"].as_object().context("energies")?.values();
        let uj = parts.map(|j| (j.as_f64().unwrap_or_default() * 1e6).round() as u64);
        *sums.entry(id).or_default() += uj.sum::<u64>();
    }
    Ok(sums)
}

/// The first row of counts that was printed, by column.
fn counts(output: &Output) -> Result<Value> {
    let rows: Value = serde_json::from_str(output.stdout())?;
    rows.get(0).cloned().with_context(|| format!("a row of {rows}"))
}

pub(crate) fn comments_are_what_the_ledger_says(site: &Site) -> Result<()> {
    let root = User::root();
    // Of the second user: not the short ones, which are many.
    let some = ["-u", "ctuser2", "-r", "main", "--json"];
    nothing_is_written_without_being_asked(site, &some)?;
    let output = publish(site, &root, &some)?.success();
    let first = counts(&output)?;
    // 6 failed, one on two nodes, a long one, 2 cancelled.
    ensure!((&first["jobs"], &first["written"]) == (&10.into(), &10.into()), "{output}");
    let (written, joules) = (comments(site)?, joules(site)?);
    ensure!(
        written.len() == 10,
        "only these have comments, no other task of an array: {written:#?}"
    );
    for (id, comment) in &written {
        let uj = joules.get(id).with_context(|| format!("{id} of {joules:?}"))?;
        let energy =
            format!("carbontracker:v1 energy_j={}.{:06} co2e_g=", uj / 1_000_000, uj % 1_000_000);
        ensure!(comment.starts_with(&energy), "{id}: {comment}, expected {energy}…");
        ensure!(!comment.contains('`'), "{id}: {comment}");
    }
    let on_two = written.values().filter(|comment| comment.contains(" nodes=2/2 runs=1")).count();
    ensure!(on_two == 1, "{written:#?}");
    let second = counts(&publish(site, &root, &some)?.success())?;
    ensure!((&second["written"], &second["unchanged"]) == (&0.into(), &10.into()), "{second}");
    comments_of_others_stay(site, &written)?;
    a_job_that_runs_again_is_told_by_slurmctld(site)
}

fn nothing_is_written_without_being_asked(site: &Site, some: &[&str]) -> Result<()> {
    let dry = [some, &["--dry-run"]].concat();
    let output = publish(site, &User::root(), &dry)?.success();
    let rows: Value = serde_json::from_str(output.stdout())?;
    let all = rows.as_array().context("rows")?;
    ensure!(all.len() == 10 && all.iter().all(|row| row["action"] == "write"), "{rows:#}");
    ensure!(comments(site)?.is_empty(), "a dry run wrote");
    // An ordinary user may neither read the ledger nor change another's job.
    let output = publish(site, site.cluster.user(2), some)?;
    ensure!(output.code() == Some(2) && comments(site)?.is_empty(), "{output}");
    Ok(())
}

/// A comment of somebody else's is left alone, and replaced where that is asked for.
fn comments_of_others_stay(site: &Site, written: &BTreeMap<String, String>) -> Result<()> {
    let (id, ours) = written.iter().next().context("a comment")?;
    let set = format!("AdminComment=ticket 4711 of {id}");
    let args = ["-i", "modify", "job", "where", &format!("jobid={id}"), "set", &set];
    site.cluster.command(&User::root(), "sacctmgr").args(&args).run()?.success();
    // Without its memory it asks Slurm.
    std::fs::remove_file(site.cluster.dir().join("ct/published.jsonl"))?;
    let one = ["-j", id, "--json"];
    let output = publish(site, &User::root(), &one)?.success();
    ensure!(counts(&output)?["foreign"] == 1, "{output}");
    ensure!(output.stderr().contains("have a comment of somebody else's"), "{output}");
    ensure!(comments(site)?[id] == format!("ticket 4711 of {id}"));
    let output = publish(site, &User::root(), &[&one[..], &["--overwrite"]].concat())?.success();
    ensure!(counts(&output)?["replaced"] == 1, "{output}");
    ensure!(&comments(site)?[id] == ours);
    Ok(())
}

/// The first run of a requeued job has a record while the second one runs: slurmctld is told, and
/// tells `scontrol show job`.
fn a_job_that_runs_again_is_told_by_slurmctld(site: &Site) -> Result<()> {
    let cluster = &site.cluster;
    let args = ["--requeue", "--mem=100", "--output=/dev/null"];
    let job = cluster.sbatch_with(cluster.user(3), &args, "#!/bin/sh\nexec sleep 600\n")?;
    cluster.wait_until_running(job, LONG)?;
    cluster.scontrol(&["requeue", &job.to_string()])?.success();
    // Slurm holds a requeued job back for a while.
    wait_for_long(LONG, "the record of the first run", || {
        let lines = site.ledger_lines().ok()?;
        lines.iter().any(|line| line["job_id"] == job.as_u32()).then_some(())
    })?;
    let output = publish(site, &User::root(), &["-j", &job.to_string(), "--json"])?.success();
    ensure!(counts(&output)?["written"] == 1, "{output}");
    let info = cluster.job_info(job)?;
    // Its words are of the form of scontrol's own fields, and are read as such.
    let words = ["AdminComment", "energy_j", "runs"].map(|field| info[0].get(field));
    ensure!((words[0], words[2]) == ("carbontracker:v1", "1"), "{info:#?}");
    ensure!(words[1].parse::<f64>().is_ok_and(|joules| joules > 0.0), "{info:#?}");
    cluster.scancel(&[&job.to_string()])?.success();
    Ok(())
}
