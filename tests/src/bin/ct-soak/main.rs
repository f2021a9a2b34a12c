//! Jobs of every kind through a four-node cluster while faults are injected by a seed: Slurm's
//! accounting and the ledger must agree on every job, and nothing may leak.
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

mod dice;
mod faults;
mod interactive;
mod kinds;
mod leaks;
mod load;
mod queue;
mod slurms;
mod sockets;
mod traces;
mod verdict;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ct_tests::{Shim, Site};

/// How often what was done.
type Counts = BTreeMap<&'static str, usize>;

/// Sends jobs through a throwaway cluster while things go wrong, and compares the books
///
/// Exits 1 where anything is wrong, and says of which job.
#[derive(Debug, Parser)]
struct Cli {
    /// How many jobs, each task of an array counted [default: 1000, with --long 3000]
    #[arg(long)]
    jobs: Option<usize>,
    /// The long form: 3,000 jobs
    #[arg(long)]
    long: bool,
    /// How many minutes the jobs may take [default: 10, with --long 45]
    #[arg(long)]
    minutes: Option<u64>,
    /// Which faults come when, and which jobs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Jobs only, no faults
    #[arg(long)]
    calm: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(ct_tests::accounting_test_is_possible(), "Slurm with slurmdbd and MariaDB is needed");
    let (site, tools) = start()?;
    let begun = Instant::now();
    let jobs = cli.jobs.unwrap_or(if cli.long { 3000 } else { 1000 });
    let minutes = cli.minutes.unwrap_or(if cli.long { 45 } else { 10 });
    println!("seed {}; {jobs} jobs within {minutes} min on {} nodes", cli.seed, site.plants.len());
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let watch = leaks::Watch::begin(&site)?;
    let (kinds, arrays, done) = run(&site, &cli, jobs, end, &tools, &watch)?;
    println!("jobs submitted: {}", list(&kinds));
    println!("faults: {}", list(&done.counts));
    println!("all jobs are over after {} s", begun.elapsed().as_secs());
    let over = Instant::now();
    let deeds = verdict::Deeds { n_jobs: kinds.values().sum(), arrays, of_slurm: done.of_slurm };
    let (mut problems, seen) = verdict::judge(&site, &deeds)?;
    problems.extend(watch.end(&site)?);
    problems.extend(verdict::since(&site, &seen)?);
    println!("looked for what is left until {} s after the last job", over.elapsed().as_secs());
    for problem in &problems {
        println!("WRONG: {problem}");
        for line in traces::of(&site, problem) {
            println!("    {line}");
        }
    }
    let verdict = if problems.is_empty() { "nothing is wrong" } else { "wrong" };
    let n = problems.len();
    println!("verdict: {verdict}, {n} disagreements, after {} s", begun.elapsed().as_secs());
    drop(tools);
    if !problems.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    site.cluster.forgive();
    Ok(ExitCode::SUCCESS)
}

/// Four nodes with accounting; the ledger lies on a file system of its own that can be filled.
fn start() -> Result<(Site, faults::Tools)> {
    let shim = Shim::new()?;
    let site = Site::builder()
        .noded_preload(&shim.library())
        .watts(&[100.0, 90.0, 80.0, 70.0])
        .cluster(|c| c.users(4).accounting().kill_wait_s(2))
        .start()?;
    for n in 1..=4 {
        site.cluster.add_account(site.cluster.user(n), ["physics", "chemistry"][n % 2])?;
    }
    let ledger = faults::Ledger::mount(&site)?;
    Ok((site, faults::Tools { ledger, shim }))
}

/// The jobs, those of users who wait for them, the faults and the watch, side by side.
fn run(
    site: &Site,
    cli: &Cli,
    jobs: usize,
    end: Instant,
    tools: &faults::Tools,
    watch: &leaks::Watch,
) -> Result<(Counts, BTreeMap<u32, &'static kinds::Kind>, faults::Done)> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let injecting = scope.spawn(|| match cli.calm {
            true => Ok(faults::Done::default()),
            false => faults::inject(site, tools, cli.seed, &done),
        });
        let watching = scope.spawn(|| watch.follow(site, &done));
        let n_interactive = jobs / 40;
        let asking = scope.spawn(move || interactive::run(site, n_interactive, cli.seed, end));
        let loaded = load::run(site, jobs.saturating_sub(n_interactive), cli.seed, end);
        let asked = asking.join().ok().context("the thread of srun")?;
        done.store(true, Ordering::Relaxed);
        let injected = injecting.join().ok().context("the thread of the faults")?;
        watching.join().ok().context("the thread of the watch")?;
        let (mut kinds, arrays) = loaded?;
        kinds.extend(asked?);
        let injected = injected?;
        kinds.extend(interactive::run_last(site)?);
        Ok((kinds, arrays, injected))
    })
}

fn list(counts: &Counts) -> String {
    let total: usize = counts.values().sum();
    let each: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    format!("{total} ({})", each.join(", "))
}
