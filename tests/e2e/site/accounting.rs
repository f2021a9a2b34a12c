//! Slurm's own accounting, slurmdbd with MariaDB, says of jobs, users, accounts and times what the
//! ledger says; and it takes what the ledger says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::site::wait_for_long;
use ct_tests::{JobId, Proctrack, Site, User, accounting_test_is_possible};
use serde_json::Value;

use crate::publish;

/// Longest time all jobs may take.
const LONG: Duration = Duration::from_secs(300);

/// Tasks of each user's array of short jobs.
const TASKS: usize = 48;

/// How far the time of one job may be off: Slurm counts whole seconds, and from before the prolog
/// until after the epilog began, which on a loaded machine takes its time.
const SLACK_S: f64 = 5.0;

/// A job's run, as sacct has it.
#[derive(Clone, Debug)]
struct Run {
    job_id: u64,
    user: String,
    account: String,
    partition: String,
    state: String,
    elapsed_s: f64,
    n_nodes: u64,
}

/// What sacct itself says of jobs that ran.
fn of_sacct(site: &Site) -> Result<Vec<Run>> {
    let columns = "JobIDRaw,User,Account,Partition,State,ElapsedRaw,NNodes,AllocTRES";
    let args = ["-a", "-X", "-D", "-n", "-P", "-S", "now-1days", "-o", columns];
    let output = site.cluster.command(&User::root(), "sacct").args(&args).run()?.success();
    let run = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        ensure!(fields.len() == 8, "{line:?}");
        Ok(Run {
            job_id: fields[0].parse()?,
            user: fields[1].to_owned(),
            account: fields[2].to_owned(),
            partition: fields[3].to_owned(),
            state: fields[4].split(' ').next().unwrap_or_default().to_lowercase(),
            elapsed_s: fields[5].parse()?,
            n_nodes: fields[6].parse()?,
        })
    };
    // A job that was cancelled before it began has no TRES.
    output.stdout().lines().filter(|line| !line.ends_with('|')).map(run).collect()
}

fn usage(site: &Site, args: &[&str]) -> Result<(Value, String)> {
    let (ledger, program) = (site.ledger().display().to_string(), site.bin("ct-report"));
    let base = ["usage", "--ledger", &ledger, "--json"];
    let program = program.display().to_string();
    let command = site.cluster.command(&User::root(), &program).args(&base).args(args);
    let output = command.run()?.success();
    Ok((serde_json::from_str(output.stdout())?, output.stderr().to_owned()))
}

#[test]
fn a_months_jobs_of_six_users_are_in_the_ledger_as_in_slurmdbd() -> Result<()> {
    if !accounting_test_is_possible() {
        return Ok(());
    }
    let site = start()?;
    let never = submit_all(&site)?;
    let cluster = &site.cluster;
    wait_for_long(LONG, "the queue to be empty", || {
        let left = cluster.squeue(&["-h", "-r", "-o", "%i %T"]).ok()?;
        (left.is_success() && left.stdout().is_empty()).then_some(())
    })?;
    let theirs = of_sacct(&site)?;
    let n_records: u64 = theirs.iter().map(|run| run.n_nodes).sum();
    let are_there = wait_for_long(LONG, &format!("{n_records} records"), || {
        (site.ledger_lines().ok()?.len() as u64 >= n_records).then_some(())
    });
    are_there.with_context(|| missing(&site, &theirs))?;
    ensure!(theirs.iter().all(|run| run.job_id != u64::from(never)), "a job ran that was held");
    every_kind_is_there(&theirs)?;
    sums_are_equal(&site, &theirs, &["user"], |run| vec![run.user.clone()])?;
    sums_are_equal(&site, &theirs, &["account"], |run| vec![run.account.clone()])?;
    let keys = ["user", "account", "partition", "end_reason"];
    sums_are_equal(&site, &theirs, &keys, |run| {
        vec![run.user.clone(), run.account.clone(), run.partition.clone(), run.state.clone()]
    })?;
    each_jobs_time_is_equal(&site, &theirs)?;
    a_job_that_was_never_seen_is_named(&site)?;
    publish::comments_are_what_the_ledger_says(&site)
}

/// The jobs that have fewer records than sacct has nodes of their runs.
fn missing(site: &Site, theirs: &[Run]) -> String {
    let mut n_missing: BTreeMap<u64, i64> = BTreeMap::new();
    for run in theirs {
        *n_missing.entry(run.job_id).or_default() += run.n_nodes.cast_signed();
    }
    for line in site.ledger_lines().unwrap_or_default() {
        *n_missing.entry(line["job_id"].as_u64().unwrap_or(0)).or_default() -= 1;
    }
    n_missing.retain(|_, n| *n != 0);
    let runs: Vec<_> = theirs.iter().filter(|run| n_missing.contains_key(&run.job_id)).collect();
    format!("records that are missing by job: {n_missing:?}, of {runs:#?}")
}

/// Two nodes with room for many jobs at once, six users with three accounts, two partitions.
fn start() -> Result<Site> {
    let short = "PartitionName=short Nodes=ALL MaxTime=10 DefMemPerCPU=100 State=UP";
    let site = Site::builder().watts(&[120.0, 80.0]).cluster(|cluster| {
        // Without control groups a node may claim more CPUs than the machine has.
        let cluster = cluster.users(6).accounting().track(Proctrack::Linuxproc).cpus_per_node(16);
        cluster.extra(short)
    });
    let site = site.start()?;
    for n in 1..=6 {
        let user = site.cluster.user(n);
        site.cluster.add_account(user, ["physics", "chemistry"][n % 2])?;
        if n <= 2 {
            site.cluster.add_account(user, "biology")?;
        }
    }
    Ok(site)
}

/// Submits the jobs of all users; returns one that is cancelled before it begins.
fn submit_all(site: &Site) -> Result<u32> {
    let cluster = &site.cluster;
    let submit = |user: &User, args: &[&str], script: &str| -> Result<JobId> {
        let base = ["--mem=100", "--output=/dev/null"];
        cluster.sbatch_with(user, &[&base, args].concat(), &format!("#!/bin/sh\n{script}\n"))
    };
    let array = format!("--array=1-{TASKS}");
    let (mut long, mut again) = (Vec::new(), None);
    for n in 1..=6 {
        let user = cluster.user(n);
        let account = if n <= 2 { "biology" } else { ["physics", "chemistry"][n % 2] };
        submit(user, &["-p", "short", &array], "exit 0")?;
        submit(user, &["-A", account, "--array=1-6"], "sleep 1\nexit 3")?;
        submit(user, &["-N2", "-n2"], "srun --mem=50 sleep 1")?;
        submit(user, &["-p", "short"], "srun true\nsrun false\nsrun -n1 true\ntrue")?;
        submit(user, &["-J", &format!("long of {n}")], "sleep 20")?;
        long.push(submit(user, &["--array=1-2"], "exec sleep 600")?);
        if n == 6 {
            again = Some(submit(user, &["--requeue"], "exec sleep 8")?);
        }
    }
    // Those that run long were submitted after the rest: when they run, the rest did or does.
    for job in &long {
        cluster.wait_until_running(*job, LONG)?;
    }
    for n in 1..=3 {
        let step = ["--mem=100", "-p", "short", "true"];
        cluster.srun(cluster.user(n), &step)?.success();
    }
    requeue(site, again.context("a job to be requeued")?)?;
    let never = submit(cluster.user(1), &["--hold"], "true")?;
    for job in long.iter().chain([&never]) {
        cluster.scancel(&[&job.to_string()])?.success();
    }
    Ok(never.as_u32())
}

/// Sends a job back, and has it run again soon rather than after the two minutes Slurm waits.
///
/// Not before its first run is over on its node and the next second has begun: slurmd refuses a run
/// that begins in the second in which the one before was killed, and no hook ever hears of it.
fn requeue(site: &Site, job: JobId) -> Result<()> {
    let cluster = &site.cluster;
    cluster.wait_until_running(job, LONG)?;
    cluster.scontrol(&["requeue", &job.to_string()])?.success();
    wait_for_long(LONG, "the record of the run that was sent back", || {
        let lines = site.ledger_lines().ok()?;
        lines.iter().any(|line| line["job_id"] == job.as_u32()).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(2));
    wait_for_long(LONG, "the job to be back in the queue", || {
        let now = ["update", &format!("jobid={job}"), "StartTime=now"];
        let is_pending = cluster.job_info(job).ok()?.iter().all(|j| j.state() == "PENDING");
        (is_pending && cluster.scontrol(&now).ok()?.is_success()).then_some(())
    })
}

fn every_kind_is_there(runs: &[Run]) -> Result<()> {
    let count = |is: &dyn Fn(&Run) -> bool| runs.iter().filter(|run| is(run)).count();
    let distinct = |of: fn(&Run) -> &str| runs.iter().map(of).collect::<BTreeSet<_>>().len();
    // Of each user the short ones, 6 failed, one each on two nodes, with steps and long, 2 cancelled;
    // then 3 of srun, and two runs of one that was sent back.
    ensure!(runs.len() == 6 * (TASKS + 11) + 3 + 2, "{} runs", runs.len());
    ensure!(count(&|run| run.state == "requeued") == 1, "requeued jobs of {runs:#?}");
    ensure!(count(&|run| run.state == "failed") == 6 * 6, "failed jobs of {runs:#?}");
    ensure!(count(&|run| run.state == "cancelled") == 6 * 2, "cancelled jobs of {runs:#?}");
    ensure!(count(&|run| run.n_nodes == 2) == 6, "jobs on two nodes of {runs:#?}");
    ensure!(count(&|run| run.elapsed_s >= 20.0) >= 6, "long jobs of {runs:#?}");
    let kinds =
        (distinct(|run| &run.user), distinct(|run| &run.account), distinct(|run| &run.partition));
    ensure!(kinds == (6, 3, 2), "{kinds:?}");
    Ok(())
}

/// Jobs and seconds, by group.
type Sums = BTreeMap<Vec<String>, (u64, f64)>;

/// `usage` by these keys has the groups, the numbers of jobs and, by `--sacct`, the seconds that
/// sacct has; and seconds of its own near them.
fn sums_are_equal(
    site: &Site,
    runs: &[Run],
    keys: &[&str],
    group: impl Fn(&Run) -> Vec<String>,
) -> Result<()> {
    let mut theirs = Sums::new();
    for run in runs {
        let sum = theirs.entry(group(run)).or_default();
        *sum = (sum.0 + 1, sum.1 + run.elapsed_s);
    }
    let by = keys.join(",");
    let columns = format!("{by},jobs,elapsed_h,sacct_jobs,unseen_jobs,sacct_elapsed_h");
    let (rows, said) = usage(site, &["--by", &by, "--sacct", "run", "-o", &columns])?;
    assert_eq!(said, "", "no job is known to one side only: {rows:#}");
    let (mut ours, mut joined) = (Sums::new(), Sums::new());
    for row in rows.as_array().context("rows")? {
        let name = |key: &&str| row[*key].as_str().unwrap_or_default().to_owned();
        let seconds = |key: &str| (row[key].as_f64().unwrap_or(f64::NAN) * 3600.0).round();
        let count = |key: &str| row[key].as_u64().unwrap_or(u64::MAX);
        assert_eq!(count("unseen_jobs"), 0, "{row}");
        let group: Vec<String> = keys.iter().map(name).collect();
        joined.insert(group.clone(), (count("sacct_jobs"), seconds("sacct_elapsed_h")));
        ours.insert(group, (count("jobs"), seconds("elapsed_h")));
    }
    assert_eq!(joined, theirs, "by {by}");
    for (group, (n, elapsed_s)) in &ours {
        let (their_n, their_s) = theirs[group];
        assert_eq!(*n, their_n, "jobs of {group:?}");
        let slack = SLACK_S * *n as f64;
        assert!((elapsed_s - their_s).abs() <= slack, "{group:?}: {elapsed_s} s, not {their_s} s");
    }
    Ok(())
}

/// Each run's longest record is as long as sacct says.
fn each_jobs_time_is_equal(site: &Site, runs: &[Run]) -> Result<()> {
    let mut ours: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut longest: BTreeMap<(u64, u64), f64> = BTreeMap::new();
    for line in site.ledger_lines()? {
        let number = |key: &str| line[key].as_u64().with_context(|| format!("{key} of {line}"));
        let elapsed_s = line["elapsed_s"].as_f64().context("elapsed_s")?;
        let of_run = longest.entry((number("job_id")?, number("restart")?)).or_default();
        *of_run = of_run.max(elapsed_s);
    }
    for ((job_id, _), elapsed_s) in longest {
        ours.entry(job_id).or_default().push(elapsed_s);
    }
    let mut theirs: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    runs.iter().for_each(|run| theirs.entry(run.job_id).or_default().push(run.elapsed_s));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (job_id, times) in &mut ours {
        let of_slurm = theirs.get_mut(job_id).context("the same jobs")?;
        assert_eq!(times.len(), of_slurm.len(), "runs of job {job_id}");
        times.sort_by(f64::total_cmp);
        of_slurm.sort_by(f64::total_cmp);
        for (own, slurms) in times.iter().zip(of_slurm) {
            assert!((own - *slurms).abs() <= SLACK_S, "job {job_id}: {own} s, not {slurms} s");
        }
    }
    Ok(())
}

/// A month's file without one job's line: the job is counted and named.
fn a_job_that_was_never_seen_is_named(site: &Site) -> Result<()> {
    let all = site.ledger_lines()?;
    let is_theirs = |line: &&Value| line["user"] == "ctuser1";
    let n_jobs = all.iter().filter(is_theirs).map(|line| &line["job_id"]);
    let n_jobs = n_jobs.map(Value::to_string).collect::<BTreeSet<_>>().len();
    let lost = all.iter().find(|l| l["job_name"] == "long of 1").context("a long job")?;
    let lost = lost["job_id"].as_u64().context("its id")?;
    let lines = site.ledger_text()?;
    let is_lost = |line: &&str| !line.contains(&format!("\"job_id\":{lost},"));
    let month = site.ledger().join("2000-01");
    let copy = ledger_of(&month, &lines.lines().filter(is_lost).collect::<Vec<_>>().join("\n"))?;
    let program = site.bin("ct-report").display().to_string();
    let ledger = copy.display().to_string();
    let args = ["usage", "--ledger", &ledger, "--sacct", "run", "-Pn"];
    let args = [&args[..], &["-o", "jobs,unseen_jobs", "-u", "ctuser1"]].concat();
    let output = site.cluster.command(&User::root(), &program).args(&args).run()?.success();
    assert_eq!(output.stdout(), format!("ctuser1|{}|1", n_jobs - 1), "{}", output.stderr());
    let note = format!("note: 1 job(s) of sacct have no record: {lost}\n");
    assert!(output.stderr().contains(&note), "{}", output.stderr());
    Ok(())
}

/// A ledger of these lines beside the real one.
fn ledger_of(month: &Path, lines: &str) -> Result<std::path::PathBuf> {
    let ledger = month.parent().and_then(Path::parent).context("a parent")?.join("ledger-less-one");
    let month = ledger.join(month.file_name().context("a name")?);
    std::fs::create_dir_all(&month)?;
    std::fs::write(month.join("all.jsonl"), format!("{lines}\n"))?;
    Ok(ledger)
}
