//! Slurm's view: every run of every job, by sacct.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ct_core::slurm::expand_hostlist;
use ct_tests::{Site, User};

/// How long slurmdbd may take to have it all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run of a job that had nodes.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The array that it is of; of a job that is none, its own number.
    pub(crate) array: u32,
    /// As the records have it: `completed`, `cancelled`.
    pub(crate) state: String,
    /// As in `3:0`.
    pub(crate) exit_code: String,
    pub(crate) nodes: Vec<String>,
    pub(crate) user: String,
    pub(crate) account: String,
    pub(crate) start: String,
    pub(crate) elapsed_s: f64,
}

/// Runs by job, in the order of their starts.
pub(crate) type Runs = BTreeMap<u64, Vec<Run>>;

/// How many runs of a job slurmd refused to launch, by job.
pub(crate) type Refused = BTreeMap<u64, usize>;

/// Runs that began on a node in the second in which the run before was killed there: slurmd takes their
/// credential for that one's and refuses them, and runs neither prolog nor epilog.
pub(crate) fn refused(site: &Site) -> Refused {
    let log = fs::read(site.cluster.dir().join("log/slurmctld.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let ids = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Killing non-startable batch JobId=")?;
        let (id, reason) = rest.split_once(':')?;
        (reason.trim() == "Job credential revoked").then(|| id.parse().ok()).flatten()
    });
    let mut refused = Refused::new();
    for id in ids {
        *refused.entry(id).or_default() += 1;
    }
    refused
}

/// All runs, once slurmdbd has heard of so many jobs and none is under way by it either; else also what
/// it has not heard.
pub(crate) fn runs(site: &Site, n_jobs: usize) -> Result<(Runs, Option<String>)> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (ids, runs) = look(site)?;
        let is_over =
            |run: &Run| !["running", "pending", "suspended"].contains(&run.state.as_str());
        let is_all = ids.len() >= n_jobs && runs.values().flatten().all(is_over);
        if is_all {
            return Ok((runs, None));
        }
        if Instant::now() > end {
            let n_under_way = runs.values().flatten().filter(|run| !is_over(run)).count();
            let n_known = ids.len();
            let problem = format!(
                "sacct knows {n_known} jobs of {n_jobs}, and has {n_under_way} runs under way"
            );
            return Ok((runs, Some(problem)));
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The jobs that there are, and the runs of those that had nodes.
fn look(site: &Site) -> Result<(BTreeSet<u64>, Runs)> {
    let fields = "JobIDRaw,State,NodeList,User,Account,Start,ElapsedRaw,AllocTRES,JobID,ExitCode";
    let args = ["-a", "-X", "-D", "-n", "-P", "-S", "now-1days", "-o", fields];
    let output = site.cluster.command(&User::root(), "sacct").args(&args).run()?.success();
    let (mut ids, mut runs) = (BTreeSet::new(), Runs::new());
    for line in output.stdout().lines() {
        let fields: Vec<&str> = line.split('|').collect();
        ensure!(fields.len() == 10, "sacct says {line:?}");
        let id: u64 = fields[0].parse().with_context(|| line.to_owned())?;
        ids.insert(id);
        // One that was cancelled before it had a node was on none.
        if fields[7].is_empty() || fields[2] == "None assigned" {
            continue;
        }
        let state = fields[1].split(' ').next().unwrap_or_default().to_lowercase();
        let array = fields[8].split(['_', '+']).next().unwrap_or_default();
        let run = Run {
            array: array.parse().with_context(|| line.to_owned())?,
            exit_code: fields[9].to_owned(),
            state,
            nodes: expand_hostlist(fields[2]),
            user: fields[3].to_owned(),
            account: fields[4].to_owned(),
            start: fields[5].to_owned(),
            elapsed_s: fields[6].parse().with_context(|| line.to_owned())?,
        };
        runs.entry(id).or_default().push(run);
    }
    for of_job in runs.values_mut() {
        of_job.sort_by(|a, b| a.start.cmp(&b.start));
    }
    Ok((ids, runs))
}
