//! One job on one node, between its start and its end.
//!
//! Takes charges from [`crate::attribution`] and marks from the job's owner; gives text for the
//! logs, text for the job's output, and at last a [`crate::record::Record`]. A value that can be
//! written down at any time and taken up again.

mod account;
mod budget;
mod components;
mod confirm;
mod epochs;
mod facts;
mod outlook;
mod pattern;
mod pricing;
mod record;
mod report;
mod simulated;
mod told;

pub use confirm::Confirmation;
pub use epochs::{Epoch, EpochError};
pub use facts::merge;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use serde::{Deserialize, Serialize};

use crate::attribution::Charge;
use crate::carbon::Factors;
use crate::config::Policy;
use crate::energy::{ByComponent, JobEnergy};
use crate::log::writer::LogText;
use crate::option::Settings;
use crate::protocol::JobFacts;
use crate::record::{AccountBudgetUse, BudgetUse, GpuShare, Prediction};
use crate::sample::Moment;
use crate::slurm::CgroupPaths;
use crate::source::Device;
use crate::source::cgroup::CpuTime;
use crate::units::Microjoules;
use epochs::{EpochBook, Open};
use pattern::Unseen;

/// What surrounds every job on this node.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Carbon factors in force.
    pub factors: &'a Factors,
    /// Attribution policy.
    pub policy: Policy,
    /// The node's devices.
    pub devices: &'a [Device],
    /// Cluster name as the site sets it; else Slurm's own.
    pub cluster: Option<&'a str>,
    /// This node's name.
    pub node: &'a str,
    /// Number of CPUs of the node.
    pub n_cpus: u32,
    /// What is degraded on this node.
    pub problems: &'a BTreeSet<String>,
}

/// What other nodes of the job have drawn, as far as this node can see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Others {
    /// Their energy.
    pub energy: ByComponent<Microjoules>,
    /// How many are in it.
    pub n_seen: u32,
    /// Names of those that are not.
    pub missing: Vec<String>,
}

/// By what a job's share of the node's shared devices was found, the best that there ever was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivitySource {
    /// What it was allocated.
    #[default]
    Allocation,
    /// The busy time of the CPUs in its cpuset.
    Cpuset,
    /// The CPU time of its cgroup.
    Cgroup,
}

impl ActivitySource {
    /// The name used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocation => "allocation",
            Self::Cpuset => "cpuset",
            Self::Cgroup => "cgroup",
        }
    }
}

/// A job that is being measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// All that hooks have told so far.
    pub facts: JobFacts,
    /// Restart count.
    pub restart: u32,
    /// Whether its owner asked for tracking.
    pub tracked: bool,
    /// What it is tracked with.
    pub settings: Settings,
    /// Its start on this node.
    pub start: Moment,
    /// End of the last interval charged to it.
    pub last: Moment,
    /// Its cgroup, once a step has told.
    pub cgroup: Option<CgroupPaths>,
    /// Its CPU time so far.
    pub cpu_time: CpuTime,
    /// How its share of shared devices was found.
    #[serde(default)]
    pub activity: ActivitySource,
    /// Its share of the node's CPUs by its cpuset, where that is known.
    #[serde(default)]
    pub cpuset_share: Option<f64>,
    /// slurmstepds of its steps, as far as they told.
    pub stepd_pids: BTreeSet<u32>,
    /// The srun step that is the running epoch, with `epoch_by:step`, and its slurmstepd.
    pub step_epoch: Option<(String, u32)>,
    /// GPUs it holds.
    pub gpus: Vec<GpuShare>,
    /// GPUs beside those on which it has had a process, with `devices_by_pid`.
    #[serde(default)]
    pub used_gpus: Vec<GpuShare>,
    /// Energy charged to it.
    pub energy: JobEnergy,
    /// What its other nodes have drawn.
    pub others: Others,
    /// The last prediction.
    pub prediction: Option<Prediction>,
    /// Text that is still to be appended to its logs.
    pub log: LogText,
    /// Stem of its log files, once they were asked for.
    pub stem: Option<String>,
    /// Whether this node is the job's first, which writes its logs and sees the other nodes.
    pub is_first_node: bool,
    /// Whether it has a batch step.
    pub has_batch_step: bool,
    /// Whether it ran before it was first seen: not all that it was given is known.
    #[serde(default)]
    pub is_taken_up: bool,
    /// Whether it was over before anything could be charged to it.
    #[serde(default)]
    pub is_unmeasured: bool,
    /// What is degraded or left out for this job alone.
    pub warnings: BTreeSet<String>,
    /// The account that slurmctld names, once it was asked; what a step's environment says is the
    /// user's to change.
    #[serde(default)]
    pub account: Option<String>,
    /// When its time limit ends it, where that is known.
    #[serde(default)]
    pub limit_at: Option<DateTime<Utc>>,
    /// Whether its output is read for lines that begin an epoch.
    #[serde(skip)]
    pub is_output_read: bool,
    /// Where in its output reading goes on after a restart.
    #[serde(default)]
    pub output_at: u64,
    /// The last instant of which its owner was shown energy, and its own energy then.
    #[serde(skip)]
    published: Option<(Moment, ByComponent<Microjoules>)>,
    /// The first instant charged, where its start was told late.
    #[serde(default)]
    charged_from: Option<Moment>,
    gpu_unused: Microjoules,
    covered: Duration,
    epochs: EpochBook,
    is_log_begun: bool,
    is_log_closed: bool,
    /// Of how many epochs the last actual block told.
    #[serde(default)]
    n_epochs_reported: u32,
    /// Of how many the last summary of a step did.
    #[serde(default)]
    n_epochs_summed_up: u32,
    /// The hour whose live intensity is in the log.
    #[serde(default)]
    logged_hour: Option<DateTime<Utc>>,
    /// Text for the job's output, until somebody comes who prints it.
    #[serde(default)]
    unsaid: String,
    #[serde(default)]
    confirmation: Option<Confirmation>,
    #[serde(default)]
    budget: Option<BudgetUse>,
    #[serde(default)]
    account_budget: Option<AccountBudgetUse>,
    /// When it was to be ended.
    #[serde(default)]
    end_wanted: Option<Moment>,
    /// What tells the running epoch from the next, with `epoch_by:pattern`.
    #[serde(default)]
    epoch_label: Option<String>,
    /// Epochs of whose bounds nobody knew while its output was not read.
    #[serde(default)]
    unseen: Option<Unseen>,
}

impl Job {
    /// A job that starts now.
    pub fn new(facts: JobFacts, tracked: bool, settings: Settings, start: Moment) -> Self {
        Self {
            restart: facts.restart.unwrap_or(0),
            facts,
            tracked,
            settings,
            start,
            last: start,
            cgroup: None,
            cpu_time: CpuTime::default(),
            activity: ActivitySource::default(),
            cpuset_share: None,
            stepd_pids: BTreeSet::new(),
            step_epoch: None,
            gpus: Vec::new(),
            used_gpus: Vec::new(),
            energy: JobEnergy::default(),
            others: Others::default(),
            prediction: None,
            log: LogText::default(),
            stem: None,
            is_first_node: true,
            has_batch_step: false,
            is_taken_up: false,
            is_unmeasured: false,
            warnings: BTreeSet::new(),
            account: None,
            limit_at: None,
            is_output_read: false,
            output_at: 0,
            published: None,
            charged_from: None,
            gpu_unused: Microjoules::ZERO,
            covered: Duration::ZERO,
            epochs: EpochBook::default(),
            is_log_begun: false,
            is_log_closed: false,
            n_epochs_reported: 0,
            n_epochs_summed_up: 0,
            logged_hour: None,
            unsaid: String::new(),
            confirmation: None,
            budget: None,
            account_budget: None,
            end_wanted: None,
            epoch_label: None,
            unseen: None,
        }
    }

    /// Takes its part of what was drawn in an hour of UTC.
    pub fn charge(&mut self, hour: DateTime<Utc>, charge: &Charge) {
        self.energy.add(hour, charge.energy, charge.idle);
        self.gpu_unused += charge.gpu_unused;
    }

    /// Ends the interval whose parts were charged; `covered` says whether every meter answered.
    pub fn advance(&mut self, end: Moment, covered: bool) {
        let duration = end.since(&self.last);
        if covered {
            self.covered += duration;
        }
        self.last = end;
    }

    /// Energy of the job on all its nodes so far, as its owner asked to see it.
    pub fn visible_energy(&self) -> ByComponent<Microjoules> {
        self.shown(self.energy.total() + self.others.energy, self.elapsed())
    }

    /// Shows its owner what was charged by now. Whoever sees a node's energy often learns what others
    /// compute on it, so between two of these the owner is shown what the last one was of.
    pub fn publish(&mut self) {
        self.published = Some((self.last, self.energy.total()));
    }

    /// The last instant that its owner was shown; the last one there is where nobody said any.
    pub fn published_at(&self) -> Moment {
        self.published.map_or(self.last, |(at, _)| at)
    }

    /// [`Self::visible_energy`] as of [`Self::published_at`].
    pub fn published_energy(&self) -> ByComponent<Microjoules> {
        let at = self.published_at();
        self.shown(self.own_at(at) + self.others.energy, at.since(&self.start))
    }

    /// Its energy on this node at an instant: the last one, or the one its owner was shown last.
    fn own_at(&self, at: Moment) -> ByComponent<Microjoules> {
        match self.published {
            Some((then, own)) if then == at => own,
            _ => self.energy.total(),
        }
    }

    /// An epoch begins.
    pub fn epoch_start(&mut self, at: Moment) {
        let (own, others) = (self.own_at(at), self.others.energy);
        self.epochs.start(Open { at, own, others });
    }

    /// When the running epoch began.
    pub fn epoch_started_at(&mut self) -> Option<Moment> {
        self.epochs.open_mut().map(|open| open.at)
    }

    /// Says what the other nodes had drawn when the running epoch began: by its end more is known.
    pub fn correct_epoch_start(&mut self, others: ByComponent<Microjoules>) {
        if let Some(open) = self.epochs.open_mut() {
            open.others = others;
        }
    }

    /// An epoch ends: text for the job's output.
    ///
    /// # Errors
    ///
    /// [`EpochError`] where none was running.
    pub fn epoch_end(&mut self, at: Moment, context: Context<'_>) -> Result<String, EpochError> {
        let open = self.epochs.take()?;
        let epoch = self.epoch_since(&open, at);
        Ok(self.complete_epoch(at, epoch, context))
    }

    /// What came since an epoch began.
    fn epoch_since(&self, open: &Open, at: Moment) -> Epoch {
        let own = self.own_at(at).since(&open.own);
        let energy = own + self.others.energy.since(&open.others);
        let duration = at.since(&open.at);
        Epoch { duration, energy: self.shown(energy, duration), end: at.wall }
    }

    fn complete_epoch(&mut self, at: Moment, epoch: Epoch, context: Context<'_>) -> String {
        let footprint = self.priced(context.factors).of_epoch(&epoch);
        self.epochs.complete(epoch, footprint);
        let text = self.report_epoch(at, epoch, context);
        self.check_budget(at, context);
        self.unless_unseen(text)
    }

    /// No more epochs: text for the job's output.
    pub fn stop(&mut self, at: Moment, context: Context<'_>) -> String {
        let text = if self.epochs.stop() { self.report_stop(at, context) } else { String::new() };
        self.unless_unseen(text)
    }

    /// Marks of a job that is not tracked, or on another than its first node, are kept for the
    /// record; there is nobody to read them elsewhere.
    fn unless_unseen(&mut self, text: String) -> String {
        if self.is_seen() {
            return text;
        }
        self.log = LogText::default();
        String::new()
    }

    /// The running epoch comes to nothing: nobody knows when it ended.
    pub fn abandon_epoch(&mut self) {
        self.epochs.abandon();
    }

    /// Epochs completed, the first 10,000 of them.
    pub fn epochs(&self) -> &[Epoch] {
        self.epochs.listed()
    }

    /// Number of epochs completed.
    pub fn n_epochs(&self) -> u32 {
        self.epochs.n()
    }

    /// Whether an epoch is open.
    pub fn is_epoch_running(&self) -> bool {
        self.epochs.is_running()
    }

    /// Whether the logs were begun and not yet closed.
    pub fn is_log_open(&self) -> bool {
        self.is_log_begun && !self.is_log_closed
    }

    /// Share of the node's CPUs that the job holds: by its cpuset, else by Slurm's count of CPUs
    /// against Linux's, which misleads where Slurm counts cores of two threads.
    pub fn cpu_share(&self, n_cpus: u32) -> f64 {
        if let Some(share) = self.cpuset_share {
            return share;
        }
        f64::from(self.facts.alloc_cpus.unwrap_or(0)) / f64::from(n_cpus.max(1))
    }

    /// GPUs it holds or has used.
    pub fn all_gpus(&self) -> impl Iterator<Item = &GpuShare> {
        self.gpus.iter().chain(&self.used_gpus)
    }

    /// Time since its start.
    pub fn elapsed(&self) -> Duration {
        self.last.since(&self.start)
    }
}

/// Longest text that waits to be printed, in bytes: a reply of ct-noded holds it.
const MOST_UNSAID: usize = 16 * 1024;

impl Job {
    /// Keeps text for the job's output until somebody comes who prints it.
    pub fn say_later(&mut self, text: &str) {
        if self.unsaid.len() + text.len() <= MOST_UNSAID {
            self.unsaid.push_str(text);
        }
    }

    /// Text for the job's output that nobody has printed yet.
    pub fn take_unsaid(&mut self) -> String {
        std::mem::take(&mut self.unsaid)
    }
}

fn local(at: Moment) -> DateTime<Local> {
    at.wall.with_timezone(&Local)
}

#[cfg(test)]
mod tests;
