//! Slurm's own accounting, slurmdbd with MariaDB, says of jobs, users, accounts and times what the
//! ledger says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::{Site, User, accounting_test_is_possible};
use serde_json::Value;

/// Longest time all jobs may take.
const LONG: Duration = Duration::from_secs(120);

/// Jobs and time by user and account.
type Sums = BTreeMap<(String, String), (u64, f64)>;

/// What sacct itself says of jobs that ran: sums of whole seconds.
fn of_sacct(site: &Site) -> Result<Sums> {
    let args =
        ["-a", "-X", "-D", "-n", "-P", "-S", "now-1days", "-o", "User,Account,ElapsedRaw,Start"];
    let output = site.cluster.command(&User::root(), "sacct").args(&args).run()?.success();
    let mut sums = Sums::new();
    for line in output.stdout().lines() {
        let fields: Vec<&str> = line.split('|').collect();
        ensure!(fields.len() == 4, "{line:?}");
        if !fields[3].starts_with("20") {
            continue;
        }
        let sum = sums.entry((fields[0].to_owned(), fields[1].to_owned())).or_default();
        *sum = (sum.0 + 1, sum.1 + fields[2].parse::<f64>().context(line.to_owned())?);
    }
    Ok(sums)
}

fn usage(site: &Site, args: &[&str]) -> Result<(Value, String)> {
    let (ledger, program) = (site.ledger().display().to_string(), site.bin("ct-report"));
    let base = ["usage", "--ledger", &ledger, "--by", "user,account", "--json"];
    let program = program.display().to_string();
    let command = site.cluster.command(&User::root(), &program).args(&base).args(args);
    let output = command.run()?.success();
    Ok((serde_json::from_str(output.stdout())?, output.stderr().to_owned()))
}

#[test]
fn jobs_of_six_users_are_in_the_ledger_as_in_slurmdbd() -> Result<()> {
    if !accounting_test_is_possible() {
        return Ok(());
    }
    let builder = Site::builder().watts(&[120.0, 80.0]);
    let site = builder.cluster(|cluster| cluster.users(6).accounting()).start()?;
    let cluster = &site.cluster;
    let mut jobs = Vec::new();
    for n in 1..=6 {
        let user = cluster.user(n);
        cluster.add_account(user, ["physics", "chemistry"][n % 2])?;
        // Every third fails; one has an array, one a job on both nodes.
        let exit = u8::from(n % 3 == 0);
        jobs.push(cluster.sbatch(user, &format!("#!/bin/sh\nsleep 1\nexit {exit}\n"))?);
        let args: &[&str] = match n {
            1 => &["--array=1-3"],
            2 => &["-N2"],
            _ => &[],
        };
        jobs.push(cluster.sbatch_with(user, args, "#!/bin/sh\nsleep 2\n")?);
    }
    for job in &jobs {
        cluster.wait_for_array(*job, LONG)?;
    }
    // 12 jobs, two of them more of an array; the one on two nodes has two records.
    ct_tests::site::wait_for("the records of all jobs", || {
        let lines = site.ledger_lines().ok()?;
        let n = lines.iter().filter(|line| line["kind"] == "job").count();
        (n >= 15).then_some(())
    })?;
    compare(&site)?;
    a_job_that_was_never_seen_is_named(&site)
}

fn compare(site: &Site) -> Result<()> {
    let theirs = of_sacct(site)?;
    let n_jobs: u64 = theirs.values().map(|(n, _)| n).sum();
    ensure!((theirs.len(), n_jobs) == (6, 14), "{theirs:?}");
    let columns = "user,account,jobs,elapsed_h,sacct_jobs,unseen_jobs,sacct_elapsed_h";
    let (rows, said) = usage(site, &["--sacct", "run", "-o", columns])?;
    assert_eq!(said, "", "no job is known to one side only: {rows:#}");
    let mut ours = Sums::new();
    for row in rows.as_array().context("rows")? {
        let name = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let hours = |key: &str| row[key].as_f64().unwrap_or(f64::NAN) * 3600.0;
        let (n, seconds) = (row["jobs"].as_u64().unwrap_or(0), hours("elapsed_h"));
        assert_eq!(
            (row["sacct_jobs"].as_u64(), &row["unseen_jobs"]),
            (Some(n), &0.into()),
            "{row}"
        );
        let key = (name("user"), name("account"));
        let slurms = theirs.get(&key).with_context(|| format!("sacct has no {key:?}"))?.1;
        assert_eq!(hours("sacct_elapsed_h").round(), slurms, "{row}");
        // Slurm counts whole seconds, and from before the prolog until after the epilog began.
        let slack = 1.5 * n as f64;
        assert!((seconds - slurms).abs() <= slack, "{seconds} s, by sacct {slurms} s: {row}");
        ours.insert(key, (n, slurms));
    }
    assert_eq!(ours, theirs);
    Ok(())
}

/// A month's file without one job's line: the job is counted and named.
fn a_job_that_was_never_seen_is_named(site: &Site) -> Result<()> {
    let lines = site.ledger_text()?;
    let is_lost = |line: &&str| !line.contains("\"job_id\":1,");
    let month = site.ledger().join("2000-01");
    let copy = ledger_of(&month, &lines.lines().filter(is_lost).collect::<Vec<_>>().join("\n"))?;
    let program = site.bin("ct-report").display().to_string();
    let ledger = copy.display().to_string();
    let args = [
        "usage",
        "--ledger",
        &ledger,
        "--sacct",
        "run",
        "-Pn",
        "-o",
        "jobs,unseen_jobs",
        "-u",
        "ctuser1",
    ];
    let output = site.cluster.command(&User::root(), &program).args(&args).run()?.success();
    assert_eq!(output.stdout(), "ctuser1|3|1", "{}", output.stderr());
    let note = "note: 1 job(s) of sacct have no record: 1\n";
    assert!(output.stderr().contains(note), "{}", output.stderr());
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
