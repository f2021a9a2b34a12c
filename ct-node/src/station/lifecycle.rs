//! Start and end of jobs, steps and epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use ct_core::job::{EpochError, Job, merge};
use ct_core::log::writer::{file_names, stem};
use ct_core::option::{EpochBy, OptionSet, Settings};
use ct_core::protocol::{JobFacts, OpenLogs, StepFacts};
use ct_core::sample::Moment;
use ct_core::slurm::{PatternValues, expand, expand_counts, expand_hostlist, job_cgroup};
use ct_core::source::cgroup::CpuTimeFile;
use serde::{Deserialize, Serialize};

use super::choice::decide;
use super::late::told_late;
use super::process::{is_alive, is_slurmstepd};
use super::{Station, gpus};

/// slurmstepds of a job that are remembered before those that are gone are forgotten.
const MOST_STEPDS: usize = 64;

/// Jobs whose last run is remembered, the latest ones.
const MOST_LAST_RUNS: usize = 10_000;
/// The same of those that are kept across a restart of the daemon.
const MOST_SENT_BACK: usize = 1000;

/// A job that ended on this node and whose record is still to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The job, with its last interval charged.
    pub job: Job,
    /// The wait status the epilog knew.
    pub wait_status: Option<i32>,
    /// Whether its end was told, or it was found gone.
    pub was_told: bool,
    /// Whether nothing but its end was told: it may be of a run that was closed before.
    #[serde(default)]
    pub is_end_only: bool,
    /// The save of the running jobs that is the first without it.
    #[serde(default)]
    pub seq: u64,
    /// As which run it was written down last; it may have been counted anew since.
    #[serde(skip)]
    pub kept_as: Option<u32>,
}

impl Ended {
    /// Whether it was written down, as the run it is counted as.
    pub fn is_kept(&self) -> bool {
        self.kept_as == Some(self.job.restart)
    }

    /// A job that ended just now.
    pub(crate) fn new(job: Job, wait_status: Option<i32>, was_told: bool) -> Self {
        Self { job, wait_status, was_told, is_end_only: false, seq: 0, kept_as: None }
    }
}

impl Station {
    /// A job starts, or a hook knows more of one that did.
    pub fn job_start(&mut self, facts: JobFacts) {
        let job_id = facts.job_id;
        self.books.note_cluster(facts.cluster.as_deref());
        if self.jobs.get(&job_id).is_some_and(|job| is_other_run(job, &facts)) {
            // The epilog of the run before was never heard.
            self.job_end(job_id, None, false);
        }
        match self.jobs.get(&job_id).map(|job| job.stepd_pids.is_empty()) {
            // What only the first step tells of a job was so from its start.
            Some(true) => {
                self.learn(facts);
                self.sample();
            }
            Some(false) => {
                self.sample();
                self.learn(facts);
            }
            None => {
                let at = self.sample();
                let facts = self.with_restart(facts);
                self.count_ends_before(job_id, facts.restart.unwrap_or(0));
                let decision = decide(&facts, &self.config.track);
                let late = told_late(&facts, at);
                let start = late.unwrap_or(at);
                let mut job = Job::new(facts, decision.tracked, decision.settings, start);
                job.warnings.extend(decision.warnings);
                if late.is_some() {
                    job.charge_from(at);
                }
                job.publish();
                self.jobs.insert(job_id, job);
                self.complete_facts(job_id);
                self.find_gpus(job_id, false);
            }
        }
    }

    /// Whether a hook has told of a job, also of one that has ended.
    pub fn has_seen(&self, job_id: u32) -> bool {
        self.jobs.contains_key(&job_id)
            || self.last_runs.contains_key(&job_id)
            || self.ended.iter().any(|ended| ended.job.facts.job_id == job_id)
    }

    /// Says which jobs run here that no hook has told of: the node is not idle.
    pub fn set_unseen(&mut self, jobs: BTreeSet<u32>) {
        self.unseen = jobs;
        self.note_unseen();
    }

    /// Notes them in the node's open line.
    pub(super) fn note_unseen(&mut self) {
        if !self.unseen.is_empty() {
            let jobs: Vec<String> = self.unseen.iter().take(10).map(u32::to_string).collect();
            let text = format!("jobs that no hook has told of ran here: {}", jobs.join(", "));
            self.books.warn(&text);
        }
    }

    /// Takes up a job that ran before it was seen, as if it started now.
    pub fn take_up(&mut self, facts: JobFacts, steps: &[StepFacts]) {
        let job_id = facts.job_id;
        if self.jobs.contains_key(&job_id) {
            return;
        }
        self.job_start(facts.clone());
        for step in steps {
            self.step_start(facts.clone(), step);
        }
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.is_taken_up = true;
            let warning = "it ran before ct-noded saw it: only what it drew since then is included, \
                           and its GPUs are not known before its next step";
            job.warnings.insert(warning.to_owned());
        }
    }

    /// Adds what a hook knows of a job that has started.
    fn learn(&mut self, facts: JobFacts) {
        let job_id = facts.job_id;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let is_new_step = gpus::add_step_gpus(&mut job.facts, facts.step_gpus.as_deref());
        job.restart = facts.restart.unwrap_or(job.restart).max(job.restart);
        merge(&mut job.facts, facts);
        self.complete_facts(job_id);
        self.find_gpus(job_id, is_new_step);
    }

    /// The one job of a command's own station starts, with these options.
    pub fn start_local(&mut self, facts: JobFacts, set: &OptionSet) {
        let at = self.sample();
        self.is_local = true;
        let mut options = self.config.track.options().unwrap_or_default();
        options.extend(set);
        // Checked by who took the command line; a clash with the site's keys leaves the command's.
        let settings = Settings::resolve(&options).or_else(|_| Settings::resolve(set));
        let job_id = facts.job_id;
        let job = Job::new(facts, true, settings.unwrap_or_default(), at);
        self.jobs.insert(job_id, job);
        self.complete_facts(job_id);
        self.find_gpus(job_id, false);
    }

    /// A step starts.
    pub fn step_start(&mut self, facts: JobFacts, step: &StepFacts) {
        let (job_id, option) = (facts.job_id, facts.option.clone());
        self.job_start(facts);
        let track = &self.config.track;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        job.has_batch_step |= step.name == "batch";
        if job.cgroup.is_none() {
            job.cgroup = job_cgroup(&step.cgroup, job_id);
            // What the job used before it was known here is not of this interval.
            let cgroupfs = &self.config.path.cgroupfs;
            let packages = self.activities.packages();
            let read = |c| CpuTimeFile::default().read(c, cgroupfs, packages);
            let used = job.cgroup.as_ref().map(read);
            if let Some(Ok(time)) = used {
                job.cpu_time.begin_at(time);
            }
        }
        if job.stepd_pids.len() >= MOST_STEPDS {
            job.stepd_pids.retain(|pid| is_alive(*pid));
        }
        job.stepd_pids.insert(step.stepd_pid);
        // An option given to srun alone, inside an allocation without one.
        if !job.tracked && option.is_some() && !job.is_log_open() {
            let own = JobFacts { option, ..job.facts.clone() };
            let decision = decide(&own, track);
            (job.tracked, job.settings) = (decision.tracked, decision.settings);
            job.warnings.extend(decision.warnings);
        }
        if job.limit_at.is_none() {
            job.limit_at = job.facts.end_time.and_then(|s| DateTime::from_timestamp(s, 0));
        }
        let is_srun_step = step.name.bytes().all(|b| b.is_ascii_digit());
        let is_asked_for = job.tracked && job.settings.epoch_by == EpochBy::Step;
        if is_asked_for && job.is_first_node && is_srun_step {
            let at = self.show_anew(job_id);
            self.jobs.get_mut(&job_id).into_iter().for_each(|job| begin_step_epoch(job, step, at));
        }
    }

    /// A step ended: text for its output.
    ///
    /// The node is sampled; what the text says is new unless the owner was shown too much lately. The
    /// batch step's is the job's last word, and exact.
    pub fn step_end(&mut self, job_id: u32, step: &str) -> String {
        self.sample();
        let is_read = |job: &&mut Job| job.tracked && job.is_first_node;
        let Some(job) = self.jobs.get_mut(&job_id).filter(is_read) else { return String::new() };
        if step == "batch" {
            job.publish();
        }
        let at = self.show_anew(job_id);
        self.refresh_others(job_id, at);
        let Some((job, context)) = self.job_and_context(job_id) else { return String::new() };
        let is_by_output = job.settings.epoch_by == EpochBy::Pattern;
        if is_by_output && (step == "batch" || !job.has_batch_step) {
            job.output_ended(at, context);
        }
        if step == "batch" {
            let text = job.take_unsaid();
            return text + &job.close_logs(at, context);
        }
        let mut text = String::new();
        if job.step_epoch.as_ref().is_some_and(|(name, _)| name == step) {
            job.step_epoch = None;
            text = job.epoch_end(at, context).unwrap_or_default();
        }
        // Any srun may be a stranger to the job's output, as one that answers a question is.
        if !job.has_batch_step {
            text.push_str(&job.take_unsaid());
        }
        if !job.has_batch_step && job.settings.verbose > 0 {
            text.push_str(&job.summary(context));
        }
        text
    }

    /// A job ended on this node; its record waits in [`Station::ended_mut`].
    pub fn job_end(&mut self, job_id: u32, wait_status: Option<i32>, was_told: bool) {
        let at = self.sample();
        self.refresh_others(job_id, at);
        // Meters that are back by then have said so to the jobs that are there then.
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.warnings.extend(self.sampler.outages());
            job.publish();
        }
        if let Some((job, context)) = self.job_and_context(job_id) {
            job.close_logs(at, context);
        }
        self.books.end_job(job_id);
        if let Some(job) = self.jobs.remove(&job_id) {
            self.note_run(job_id, job.restart);
            self.ended.push(Ended::new(job, wait_status, was_told));
            if self.jobs.is_empty() {
                self.close_line();
            }
        }
    }

    /// An epoch starts; whether there is such a job.
    pub fn epoch_start(&mut self, job_id: u32) -> bool {
        let at = self.show_anew(job_id);
        self.refresh_others(job_id, at);
        let Some(job) = self.jobs.get_mut(&job_id) else { return false };
        job.epoch_start(at);
        true
    }

    /// An epoch ends: text for the job's output; `None` where there is no such job.
    pub fn epoch_end(&mut self, job_id: u32) -> Option<Result<String, EpochError>> {
        let at = self.show_anew(job_id);
        self.refresh_others(job_id, at);
        let (job, context) = self.job_and_context(job_id)?;
        Some(job.epoch_end(at, context))
    }

    /// Monitoring of epochs ends: text for the job's output.
    pub fn stop(&mut self, job_id: u32) -> Option<String> {
        let at = self.show_anew(job_id);
        let (job, context) = self.job_and_context(job_id)?;
        Some(job.stop(at, context))
    }

    /// The log files have come: what is to be said in the job's output.
    pub fn begin_logs(&mut self, job_id: u32) -> Option<String> {
        let at = self.sample();
        let (job, context) = self.job_and_context(job_id)?;
        Some(job.begin_logs(at, context))
    }

    /// A run whose count no hook knows (a step of Slurm 22.05 without a prolog before it), or that a
    /// prolog takes for the first (22.05 again), comes after the last one that ended here.
    pub(super) fn with_restart(&self, mut facts: JobFacts) -> JobFacts {
        let next = self.last_run(facts.job_id).and_then(|r| r.checked_add(1));
        facts.restart = facts.restart.max(next);
        facts
    }

    /// The last run of a job that ended here.
    fn last_run(&self, job_id: u32) -> Option<u32> {
        let ended = self.ended.iter().filter(|e| e.job.facts.job_id == job_id);
        // An epilog may count a run too many.
        let run = |e: &Ended| e.job.restart.saturating_sub(u32::from(e.is_end_only));
        ended.map(run).chain(self.last_runs.get(&job_id).copied()).max()
    }

    /// Whether a run of a job is known to have ended here.
    pub(crate) fn has_run_of(&self, job_id: u32) -> bool {
        self.last_runs.contains_key(&job_id)
    }

    /// Whether this run of a job, or a later one whose count is sure, is known to have ended here.
    pub(crate) fn has_ended(&self, job_id: u32, restart: u32) -> bool {
        let is_it =
            |ended: &Ended| (ended.job.facts.job_id, ended.job.restart) == (job_id, restart);
        self.ended.iter().any(is_it)
            || self.last_runs.get(&job_id).is_some_and(|last| *last >= restart)
    }

    /// Notes that a run was sent back: Slurm may tell the next one that it is the first, too.
    pub(crate) fn note_sent_back(&mut self, job_id: u32, restart: u32) {
        self.sent_back.insert(job_id, restart);
        if self.sent_back.len() > MOST_SENT_BACK {
            self.sent_back.pop_first();
        }
    }

    /// The last run of each job that was sent back, to be kept.
    pub(crate) fn sent_back(&self) -> &BTreeMap<u32, u32> {
        &self.sent_back
    }

    /// Takes up what an earlier life knew of runs that were sent back.
    pub(crate) fn restore_sent_back(&mut self, runs: BTreeMap<u32, u32>) {
        for (job_id, restart) in &runs {
            self.note_run(*job_id, *restart);
        }
        self.sent_back = runs;
    }

    /// Keeps in mind that a run of a job ended here.
    pub(crate) fn note_run(&mut self, job_id: u32, restart: u32) {
        let last = self.last_runs.entry(job_id).or_insert(restart);
        *last = restart.max(*last);
        if self.sent_back.get(&job_id).is_some_and(|before| *before < restart) {
            self.sent_back.remove(&job_id);
        }
        if self.last_runs.len() > MOST_LAST_RUNS {
            self.last_runs.pop_first();
        }
    }

    /// Takes up a job of an earlier life of this daemon, which goes on from its last interval.
    pub fn restore(&mut self, mut job: Job) {
        job.publish();
        self.jobs.insert(job.facts.job_id, job);
    }

    /// Takes up a job of an earlier life whose processes are gone: nobody knows since when, so what
    /// it would be charged until the next sample is nobody's.
    pub fn restore_gone(&mut self, mut job: Job) {
        job.warnings.insert("the time that ct-noded did not run is not charged".to_owned());
        self.gone.insert(job.facts.job_id);
        self.restore(job);
    }

    /// Goes on from the last sample of an earlier life: the next interval is the gap.
    pub fn resume(&mut self, earlier: &ct_core::sampler::LastSample) {
        self.sampler.resume(earlier);
        self.is_resumed = true;
    }

    /// Sets what the job's other nodes have drawn by now, and by the start of the running epoch.
    pub(super) fn refresh_others(&mut self, job_id: u32, at: Moment) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        if !job.is_first_node || job.facts.n_nodes.unwrap_or(1) <= 1 {
            return;
        }
        let Some(look) = &mut self.other_nodes else { return };
        let mut names = expand_hostlist(job.facts.nodelist.as_deref().unwrap_or_default());
        // A step's environment is the user's, and names become those of files.
        names.retain(|name| !name.starts_with('.') && !name.contains('/'));
        let own = job.facts.node.as_deref().unwrap_or(&self.node);
        let wanted: Vec<String> = names.into_iter().filter(|n| n != own).collect();
        job.others = look(job, &wanted, at);
        if let Some(start) = job.epoch_started_at() {
            let others = look(job, &wanted, start);
            job.correct_epoch_start(others.energy);
        }
    }

    pub(super) fn job_and_context(
        &mut self,
        job_id: u32,
    ) -> Option<(&mut Job, ct_core::job::Context<'_>)> {
        let context =
            super::context(&self.factors, &self.config, &self.sampler, &self.node, &self.problems);
        Some((self.jobs.get_mut(&job_id)?, context))
    }

    /// Fills in what follows from the facts: CPUs on this node, number of nodes.
    fn complete_facts(&mut self, job_id: u32) {
        if let Some(job) = self.jobs.get_mut(&job_id) {
            complete_facts(job, &self.node);
        }
    }

    /// The log files wanted from the job's user, if its logs are still to be opened here.
    pub fn wanted_logs(&mut self, job_id: u32) -> Option<OpenLogs> {
        let node = self.node.clone();
        let job = self.jobs.get_mut(&job_id).filter(|job| job.tracked && job.is_first_node)?;
        let values = pattern_values(job, &node);
        let dir = log_dir(job, &values);
        let prefix = expand(&job.settings.log_file_prefix, &values);
        let start: Moment = job.start;
        let (id, restart) = (job.facts.job_id, job.restart);
        let stem = job
            .stem
            .get_or_insert_with(|| stem(&prefix, id, restart, start.wall.with_timezone(&Local)));
        Some(OpenLogs { dir, names: file_names(stem) })
    }
}

/// Fills in what follows from the facts: CPUs on this node, number of nodes.
pub(super) fn complete_facts(job: &mut Job, own_node: &str) {
    let facts = &mut job.facts;
    // Slurm's own name of the node, where the hook has it; ours may be the host's.
    let node = facts.node.clone().unwrap_or_else(|| own_node.to_owned());
    let hosts = expand_hostlist(facts.nodelist.as_deref().unwrap_or_default());
    if facts.alloc_cpus.is_none() {
        let index = hosts.iter().position(|h| *h == node).unwrap_or(0);
        let counts = expand_counts(facts.cpus_per_node.as_deref().unwrap_or_default());
        facts.alloc_cpus = counts.get(index).or(counts.last()).copied();
    }
    if facts.n_nodes.is_none() && !hosts.is_empty() {
        facts.n_nodes = u32::try_from(hosts.len()).ok();
    }
    // A job whose nodes are unknown has one.
    job.is_first_node = hosts.first().is_none_or(|first| *first == node);
}

/// A step begins an epoch, where no other step that still runs is one.
fn begin_step_epoch(job: &mut Job, step: &StepFacts, at: Moment) {
    if let Some((name, pid)) = &job.step_epoch {
        if is_slurmstepd(*pid) {
            return;
        }
        // Its end was never told, and nobody knows when it was.
        job.warnings.insert(format!("the end of step {name} was not told: it is no epoch"));
        job.abandon_epoch();
    }
    job.step_epoch = Some((step.name.clone(), step.stepd_pid));
    job.epoch_start(at);
}

/// Whether these facts are of another run of the job than the one known.
///
/// A prolog may not know the restart count (Slurm 22.05 says 0 in it), so a run that has had no
/// step yet takes the count from its first step.
fn is_other_run(job: &Job, facts: &JobFacts) -> bool {
    let is_later = facts.restart.is_some_and(|r| r > job.restart);
    facts.uid != job.facts.uid || (is_later && !job.stepd_pids.is_empty())
}

fn pattern_values(job: &Job, node: &str) -> PatternValues {
    let facts = &job.facts;
    PatternValues {
        job_id: facts.job_id,
        array_job_id: facts.array_job_id,
        array_task_id: facts.array_task_id,
        job_name: facts.job_name.clone().unwrap_or_default(),
        user: facts.user.clone().unwrap_or_else(|| facts.uid.to_string()),
        node: node.to_owned(),
        // Only the first node writes logs.
        node_index: 0,
    }
}

fn log_dir(job: &Job, values: &PatternValues) -> PathBuf {
    let dir = expand(job.settings.log_dir.as_deref().unwrap_or("carbontracker"), values);
    if Path::new(&dir).is_absolute() {
        return dir.into();
    }
    // Only the prolog knows the working directory; without it the plugin resolves the path where
    // the job's user stands when the files are opened.
    match job.facts.work_dir.as_deref().filter(|d| d.is_absolute()) {
        Some(work_dir) => work_dir.join(dir),
        None => dir.into(),
    }
}
