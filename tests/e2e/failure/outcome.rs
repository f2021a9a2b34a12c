//! What must hold whatever goes wrong: the job's own affairs, the node, one record each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use ct_tests::site::{SiteBuilder, wait_for, wait_for_long};
use ct_tests::{JobId, Meter, PowerPlant, Site};
use serde_json::Value;

use crate::PATIENCE;
use crate::cost::median;

/// What a job may be delayed by where ct-noded is stopped or hung.
pub(crate) const MOST_DELAY: Duration = Duration::from_secs(1);

/// A signal to a process.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process 0")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// A job that ran, and how long that took, from srun's start until the node was free again.
pub(crate) struct Ran {
    pub(crate) job: JobId,
    pub(crate) wall: Duration,
}

/// Runs a small job by srun that passes all hooks, prints its number and fails with 7; expects just
/// that of it.
pub(crate) fn run(site: &Site) -> Result<Ran> {
    run_on(site, 1)
}

/// The same on one node.
pub(crate) fn run_on(site: &Site, node: usize) -> Result<Ran> {
    let cluster = &site.cluster;
    let begun = Instant::now();
    let (name, script) = (cluster.node(node), "echo $SLURM_JOB_ID; exit 7");
    let option = "--carbontracker=epochs:2,verbose:0";
    let args = ["-n1", "-w", &name, option, "sh", "-c", script];
    let output = cluster.srun(cluster.user(1), &args)?;
    ensure!(output.code() == Some(7), "{output}");
    let id = output.stdout_unchecked().trim();
    let job = JobId::new(id.parse().with_context(|| format!("stdout is {id:?}\n{output}"))?);
    let info = cluster.wait_for(job, PATIENCE)?;
    let wall = begun.elapsed();
    ensure!((info.state(), info.get("ExitCode")) == ("FAILED", "7:0"), "{info:?}");
    ensure!(!output.stderr().contains("slurmstepd: error"), "{output}");
    nodes_are_up(site)?;
    Ok(Ran { job, wall })
}

/// How long the one in the middle of so many such jobs takes: what is measured here has other tests beside
/// it.
pub(crate) fn median_of(
    n: usize,
    mut one: impl FnMut() -> Result<Ran>,
) -> Result<(Duration, Vec<JobId>)> {
    let (mut times, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let ran = one()?;
        times.push(ran.wall);
        jobs.push(ran.job);
    }
    Ok((median(&mut times), jobs))
}

/// Submits a tracked batch job of user 1.
pub(crate) fn submit(site: &Site, option: &str, body: &str) -> Result<JobId> {
    let script = format!("#!/bin/sh\n#SBATCH --carbontracker={option}\n{body}\n");
    site.cluster.sbatch(site.cluster.user(1), &script)
}

/// Waits for a batch job, expects its exit code and nodes that are up, and returns what it printed.
pub(crate) fn ended(site: &Site, job: JobId, code: u8) -> Result<String> {
    expect(site, job, code)?;
    nodes_are_up(site)?;
    output(site, job)
}

/// Waits for a batch job and expects its exit code.
pub(crate) fn expect(site: &Site, job: JobId, code: u8) -> Result<()> {
    let info = site.cluster.wait_for(job, PATIENCE)?;
    let state = if code == 0 { "COMPLETED" } else { "FAILED" };
    ensure!(info.state() == state && info.get("ExitCode") == format!("{code}:0"), "{info:?}");
    Ok(())
}

/// What a batch job of user 1 has printed by now.
pub(crate) fn output(site: &Site, job: JobId) -> Result<String> {
    let path = site.cluster.home(site.cluster.user(1)).join(format!("slurm-{job}.out"));
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Waits for a file that a job makes.
pub(crate) fn wait_for_file(site: &Site, name: &str) -> Result<()> {
    let path = site.cluster.home(site.cluster.user(1)).join(name);
    wait_for(name, || path.exists().then_some(()))
}

/// No node is drained or down.
pub(crate) fn nodes_are_up(site: &Site) -> Result<()> {
    for (node, state) in site.cluster.node_states()? {
        let is_up =
            ["idle", "planned", "mixed", "allocated", "completing"].contains(&state.as_str());
        ensure!(is_up, "{node} is {state}");
    }
    Ok(())
}

/// The one record of a job on its one node.
pub(crate) fn record(site: &Site, job: JobId) -> Result<Value> {
    let mut records = wait_for(&format!("the record of job {job}"), || {
        let lines = lines(site).ok()?.into_iter();
        let of_job: Vec<_> = lines.filter(|l| l["job_id"] == job.as_u32()).collect();
        (!of_job.is_empty()).then_some(of_job)
    })?;
    ensure!(records.len() == 1, "{} records: {records:#?}", records.len());
    Ok(records.remove(0))
}

/// The ledger's lines of jobs, but for torn ones.
fn lines(site: &Site) -> Result<Vec<Value>> {
    let text = site.ledger_text()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["kind"] == "job").collect())
}

/// Every job of the cluster has a record, and no run of one has two on a node: neither now nor later, as
/// ct-noded has nothing left of which it could make another.
pub(crate) fn one_record_each(site: &Site) -> Result<()> {
    one_record_each_but(site, &[])
}

/// The same, where these have none.
pub(crate) fn one_record_each_but(site: &Site, without: &[JobId]) -> Result<()> {
    let look = || (1..=site.plants.len()).flat_map(|node| left(site, node)).collect::<Vec<_>>();
    // An end that nobody told is looked for after half a minute.
    let is_over = wait_for_long(Duration::from_secs(90), "ct-noded to have nothing left", || {
        look().is_empty().then_some(())
    });
    is_over.with_context(|| format!("{:?}", look()))?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_ledger = BTreeSet::new();
    for line in lines(site)? {
        let key = format!("job {} run {} on {}", line["job_id"], line["restart"], line["node"]);
        *seen.entry(key).or_default() += 1;
        of_ledger.extend(line["job_id"].as_u64());
    }
    let twice: Vec<_> = seen.iter().filter(|(_, n)| **n > 1).collect();
    ensure!(twice.is_empty(), "more than one record: {twice:?}");
    let of_slurm = site.cluster.jobs()?.into_iter().filter(|job| !without.contains(job));
    let missing: Vec<_> = of_slurm.filter(|j| !of_ledger.contains(&j.as_u32().into())).collect();
    ensure!(missing.is_empty(), "no record of jobs {missing:?}");
    for job in without {
        ensure!(!of_ledger.contains(&job.as_u32().into()), "a record of job {job}");
    }
    Ok(())
}

/// Jobs of a node's ct-noded that run or have ended and are in no ledger yet, and ends that it was not
/// told.
fn left(site: &Site, node: usize) -> Vec<String> {
    let dir = site.state_dir(node).join("jobs");
    let names = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let text = fs::read_to_string(dir.join("running.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let running = state["jobs"].as_array().into_iter().flatten();
    let running = running.map(|job| format!("running: {}", job["facts"]["job_id"]));
    let kept = names(&dir).into_iter().filter(|name| name != "running.json");
    running.chain(kept).chain(names(&site.run_dir(node).join("ended"))).collect()
}

/// Whether a record's warnings say something.
pub(crate) fn warns(record: &Value, text: &str) -> bool {
    record["warnings"].to_string().contains(text)
}

/// What a node's package drew, by the plant's word, between start and end of a record.
pub(crate) fn plant_joules(plant: &PowerPlant, record: &Value) -> Result<f64> {
    let instant = |key: &str| -> Result<std::time::SystemTime> {
        let text = record[key].as_str().unwrap_or_default();
        Ok(DateTime::parse_from_rfc3339(text).with_context(|| format!("{key} {text:?}"))?.into())
    };
    plant.energy_between_j(Meter::Package(0), instant("start")?, instant("end")?)
}

/// A site whose jobs have their nodes to themselves: what a node drew is its job's.
pub(crate) fn lone_jobs() -> SiteBuilder {
    Site::builder()
        .without_report()
        .plugstack("update_interval=0.5")
        .config("attribution.policy", "allocated")
}

/// Expects that a record has the energy that its node drew meanwhile: of a job alone on its node, with
/// the policy `allocated`, as the system has its part by the other.
pub(crate) fn has_its_energy(site: &Site, node: usize, record: &Value) -> Result<()> {
    let truth = plant_joules(&site.plants[node - 1], record)?;
    let seen = record["energy_j"]["cpu"].as_f64().unwrap_or(f64::NAN);
    let off = (seen - truth).abs() / truth;
    // On a busy machine a job of seconds begins and ends a tenth of a second off.
    ensure!(off <= 0.05, "{seen} J is {:.2} % off {truth} J: {record:#}", off * 100.0);
    Ok(())
}

/// The sums of jobs and node agree, in every hour there is.
pub(crate) fn reconciles(site: &Site) -> Result<()> {
    // The node's line ends with its last job.
    wait_for("the node's lines", || {
        site.ledger_text().ok().filter(|text| text.contains(r#""kind":"node""#))
    })?;
    let (program, ledger) = (site.bin("ct-report"), site.ledger().display().to_string());
    let args = ["reconcile", "--ledger", &ledger, "-S", "2000-01-01", "--csv"];
    let program = program.display().to_string();
    let output = site.cluster.command(&ct_tests::User::root(), &program).args(&args).run()?;
    ensure!(output.code() == Some(0), "{output}");
    Ok(())
}
