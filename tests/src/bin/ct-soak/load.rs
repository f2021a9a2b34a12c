//! The batch jobs: submitted by four users as fast as they go, and treated as their kind says.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ct_tests::Site;

use crate::Counts;
use crate::dice::Dice;
use crate::kinds::{KINDS, Kind, SLOW_KINDS, Treatment};
use crate::queue::{self, Queued};

/// Jobs that wait in Slurm's queue at the same time, at most.
const MOST_QUEUED: usize = 80;
/// Of how many tasks the first array of a kind is, at most.
const MOST_AT_FIRST: usize = 4;
/// How long a job that is cancelled or sent back runs at least.
const RUNS_FOR_S: u64 = 2;
/// How often a job is sent back at most: one that Slurm holds again and again is let go.
const MOST_NUDGES: u32 = 40;

/// What is under way.
struct Load<'a> {
    site: &'a Site,
    dice: Dice,
    counts: Counts,
    arrays: BTreeMap<u32, &'static Kind>,
    nudges: BTreeMap<u32, u32>,
    /// Jobs that were sent back: Slurm would send back one that is over, too.
    sent_back: BTreeSet<u32>,
}

/// What was submitted: how many of each kind, and of what kind each array is.
pub(crate) type Submitted = (Counts, BTreeMap<u32, &'static Kind>);

/// Submits so many jobs and waits for their end.
pub(crate) fn run(site: &Site, n_jobs: usize, seed: u64, end: Instant) -> Result<Submitted> {
    let dice = Dice::new(seed, 1);
    let mut load = Load {
        site,
        dice,
        counts: Counts::new(),
        arrays: BTreeMap::new(),
        nudges: BTreeMap::new(),
        sent_back: BTreeSet::new(),
    };
    let mut n_left = n_jobs;
    for kind in &SLOW_KINDS {
        n_left -= load.submit(kind, kind.most.min(n_left))?;
    }
    // Some of each kind in some order, then as it comes.
    let mut first = load.dice.order(KINDS.len());
    while n_left > 0 {
        let (kind, most) = match first.pop() {
            Some(place) => (&KINDS[place], KINDS[place].most.min(MOST_AT_FIRST)),
            None => load.choose(),
        };
        let n = (1 + load.dice.below(most)).min(n_left);
        n_left -= load.submit(kind, n)?;
        load.wait_until_below(MOST_QUEUED, end)?;
    }
    load.wait_until_below(1, end)?;
    Ok((load.counts, load.arrays))
}

impl Load<'_> {
    /// A kind, and how many of it at most.
    fn choose(&mut self) -> (&'static Kind, usize) {
        let kind = &KINDS[self.dice.weighted(KINDS.iter().map(|kind| kind.weight))];
        (kind, kind.most)
    }

    fn submit(&mut self, kind: &'static Kind, n: usize) -> Result<usize> {
        if n == 0 {
            return Ok(0);
        }
        let user = self.site.cluster.user(1 + self.dice.below(4));
        let array = format!("--array=1-{n}");
        let mut args = vec![array.as_str(), "--output=/dev/null"];
        if !kind.args.contains(&"--requeue") {
            args.push("--no-requeue");
        }
        args.extend(kind.args);
        let track = self.site.bin("ct-track").display().to_string();
        let body = kind.body.replace("$CT_TRACK", &track);
        let script = format!("#!/bin/sh\n{body}\n");
        let job = self.site.cluster.sbatch_with(user, &args, &script)?;
        *self.counts.entry(kind.name).or_default() += n;
        self.arrays.insert(job.as_u32(), kind);
        Ok(n)
    }

    /// Treats what is there until fewer than `n` jobs are in the queue.
    fn wait_until_below(&mut self, n: usize, end: Instant) -> Result<()> {
        loop {
            if let Some(queued) = queue::look(self.site) {
                for job in &queued {
                    self.treat(job);
                }
                if queued.len() < n {
                    return Ok(());
                }
                if Instant::now() > end {
                    bail!("time is up with {} jobs in the queue: {queued:?}", queued.len());
                }
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn treat(&mut self, job: &Queued) {
        let Some(treatment) = self.arrays.get(&job.array).map(|kind| &kind.treatment) else {
            return;
        };
        let is_running = job.state == "RUNNING";
        let has_run = is_running && job.seconds >= RUNS_FOR_S;
        match treatment {
            Treatment::None => {}
            Treatment::Cancel if has_run => self.cancel(job),
            Treatment::CancelAtLaunch if is_running => self.cancel(job),
            Treatment::Requeue | Treatment::RequeueAtOnce => {
                let is_at_once = *treatment == Treatment::RequeueAtOnce;
                if has_run && job.restarts == 0 && !self.sent_back.contains(&job.id) {
                    if self.control(&["requeue", &job.id.to_string()]) {
                        self.sent_back.insert(job.id);
                    }
                } else if job.state == "PENDING" && job.restarts > 0 {
                    self.nudge(job, is_at_once);
                } else if has_run && job.seconds > 30 {
                    // A run that does not know that it is not the first.
                    self.cancel(job);
                }
            }
            _ => {}
        }
    }

    /// Lets a job that was sent back run again, rather than after the two minutes that Slurm waits.
    fn nudge(&mut self, job: &Queued, is_at_once: bool) {
        let n = self.nudges.entry(job.id).or_default();
        *n += 1;
        if *n > MOST_NUDGES {
            self.cancel(job);
            return;
        }
        // The queue is looked at every some tenths of a second.
        if !is_at_once && *n < 10 {
            return;
        }
        let id = format!("jobid={}", job.id);
        if job.reason.contains("Held") || job.reason.contains("held") {
            self.control(&["release", &job.id.to_string()]);
        }
        self.control(&["update", &id, "StartTime=now"]);
    }

    /// Whether it was done: what Slurm refuses, as the job has just changed, is tried again at the next
    /// look.
    fn control(&self, args: &[&str]) -> bool {
        self.site.cluster.scontrol(args).is_ok_and(|output| output.is_success())
    }

    fn cancel(&self, job: &Queued) {
        let _ = self.site.cluster.scancel(&[&job.name]);
    }
}
