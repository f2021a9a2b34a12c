//! What an ordinary fault may add to a job, beside the same job on a cluster without the plugin.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ct_tests::{Cluster, JobId, Site, e2e_is_possible};
use rustix::process::Signal;

use crate::outcome::{one_record_each, signal};

/// What it may add, in the median.
const MOST_ADDED: Duration = Duration::from_millis(50);
/// Jobs of each kind that are run before the medians are looked at.
const JOBS: usize = 5;
/// How often so many more are run where what else the machine does hides it.
const MOST_ROUNDS: usize = 4;

/// A kind of job: what goes wrong in it, and one of it with the time that it took.
pub(crate) type Kind<'a> = (&'static str, &'a mut dyn FnMut() -> Result<Duration>);

/// Runs jobs of all kinds in turn, the usual one before: the median of each is to be at most 50 ms above
/// that of the usual ones, or half of it where the machine is so busy that Slurm itself is slow.
pub(crate) fn add_next_to_nothing(
    usual: &mut dyn FnMut() -> Result<Duration>,
    kinds: &mut [Kind<'_>],
) -> Result<()> {
    let mut without = Vec::new();
    let mut with = vec![Vec::new(); kinds.len()];
    let mut late = Vec::new();
    for _ in 0..MOST_ROUNDS {
        for _ in 0..JOBS {
            without.push(usual()?);
            for ((_, one), times) in kinds.iter_mut().zip(&mut with) {
                times.push(one()?);
            }
        }
        let usually = median(&mut without);
        let most = usually + MOST_ADDED.max(usually / 2);
        let medians: Vec<_> = with.iter_mut().map(|times| median(times)).collect();
        let of_kinds = kinds.iter().zip(medians).filter(|(_, median)| *median > most);
        late = of_kinds.map(|((name, _), median)| format!("{name}: {median:?}")).collect();
        if late.is_empty() {
            return Ok(());
        }
    }
    bail!("{:?} usually, expected at most 50 ms more: {late:?}", median(&mut without))
}

/// The time in the middle.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A small job by srun that prints its number and fails with 7: which it was, and how long srun took.
pub(crate) fn srun(cluster: &Cluster, args: &[&str]) -> Result<(JobId, Duration)> {
    let begun = Instant::now();
    let command = [&["-n1"], args, &["sh", "-c", "echo $SLURM_JOB_ID; exit 7"]].concat();
    let output = cluster.srun(cluster.user(1), &command)?;
    let wall = begun.elapsed();
    ensure!(output.code() == Some(7), "{output}");
    let job = JobId::new(output.stdout_unchecked().trim().parse()?);
    // Its epilog is no part of the next job.
    ensure!(cluster.wait_for(job, crate::PATIENCE)?.state() == "FAILED", "{output}");
    Ok((job, wall))
}

#[test]
fn what_is_gone_or_closed_adds_next_to_nothing_to_a_job() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let bare = Cluster::builder().start()?;
    let site = Site::builder().without_report().start()?;
    let mut jobs = Vec::new();
    let mut tracked = |option: &str| -> Result<Duration> {
        let (job, wall) = srun(&site.cluster, &[&format!("--carbontracker={option}")])?;
        jobs.push(job);
        Ok(wall)
    };
    // One at a time has the use of it.
    let tracked = std::cell::RefCell::new(&mut tracked);
    let run = |option: &str| tracked.borrow_mut()(option);
    let state = site.state_dir(1).join("jobs");
    let close =
        |mode| fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(mode));
    add_next_to_nothing(
        &mut || srun(&bare, &[]).map(|(_, wall)| wall),
        &mut [
            ("nothing", &mut || run("on")),
            ("ct-noded killed", &mut || {
                let pid = site.wait_for_noded(1)?;
                signal(pid, Signal::KILL)?;
                run("on")
            }),
            ("socket gone", &mut || {
                site.wait_for_noded(1)?;
                fs::remove_file(site.run_dir(1).join("noded.sock"))?;
                run("on")
            }),
            ("state directory closed", &mut || {
                close(0o500)?;
                let wall = run("on");
                close(0o750)?;
                wall
            }),
            ("log directory closed", &mut || run("log_dir:/proc/logs")),
        ],
    )?;
    ensure!(jobs.len() >= 5 * JOBS, "{} jobs", jobs.len());
    one_record_each(&site)
}
