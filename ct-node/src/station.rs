//! One node: its meters, its jobs, and what happens at each event.
//!
//! Every event samples exactly; the interval since the last sample is split among the jobs that
//! were there for the whole of it. Nothing here talks to anybody: requests come from
//! [`crate::dispatch`], what is to be written goes out as values.

mod activity;
mod baseline;
mod charging;
mod choice;
mod control;
mod gpus;
mod inventory;
mod late;
mod lifecycle;
mod looks;
mod process;

pub use baseline::Baselines;
pub use charging::{Books, ClusterName};
pub use gpus::{Ask, GresList};
pub use lifecycle::Ended;
pub use process::{is_alive, is_slurmstepd};

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ct_core::carbon::{Factors, Fixed};
use ct_core::config::{Config, IdleWatts};
use ct_core::energy::Component;
use ct_core::job::{Context, Job, Others};
use ct_core::sample::Moment;
use ct_core::sampler::{Sampler, now};

use activity::Activities;
use looks::{NodeLook, is_alone};

use crate::account_watch::AccountWatch;
use crate::pace::{Limit, Paces};
use crate::series_watch::SeriesWatch;

/// A job that asks for fewer samples than this has as many all the same: its neighbours' shares and
/// the node's own books need them.
const MOST_IDLE: Duration = Duration::from_secs(60);

/// Time between two samples of an idle node whose idle power is still being learned.
const LEARNING: Duration = Duration::from_secs(15);

/// Warnings of one job beyond which failures of meters are no longer added.
const MOST_WARNINGS: usize = 32;

/// How often a user is shown energy that is new: epochs of a second and more have exact bounds, and
/// nobody can watch what others compute by what the node draws (SECURITY.md, "Energy as a side
/// channel").
const FRESH: Limit = Limit { burst: 30.0, per_second: 4.0 };

/// Two events of a user nearer than this are one sample.
const ONE_EVENT: Duration = Duration::from_millis(10);

/// Said in every record of a site that says nothing of its electricity.
const DEFAULT_INTENSITY: &str = "carbon intensity is the default world average";

/// Looks at what other nodes of a job had drawn: the job, the names of those nodes, and when.
pub type OtherNodes = Box<dyn FnMut(&Job, &[String], Moment) -> Others>;

/// A node that is being measured.
pub struct Station {
    config: Config,
    node: String,
    factors: Factors,
    series: Option<SeriesWatch>,
    accounts: Option<AccountWatch>,
    sampler: Sampler,
    /// Of samples that are still to be made, the earliest first.
    looks: Vec<NodeLook>,
    /// When a sample was last made with all that belongs to it.
    sampled_at: Option<Moment>,
    jobs: BTreeMap<u32, Job>,
    /// Those of an earlier life whose processes are gone, in the gap that nobody knows their end in.
    gone: BTreeSet<u32>,
    ended: Vec<Ended>,
    activities: Activities,
    baselines: Baselines,
    n_learned: u64,
    books: Books,
    cluster_name: ClusterName,
    /// Whether the next interval is the gap since an earlier life.
    is_resumed: bool,
    mem_total_mb: Option<u64>,
    problems: BTreeSet<String>,
    other_nodes: Option<OtherNodes>,
    last_runs: BTreeMap<u32, u32>,
    /// Of it what will run again, as slurmctld said: it outlives us.
    sent_back: BTreeMap<u32, u32>,
    /// Jobs that run here and that no hook has told of.
    unseen: BTreeSet<u32>,
    gpus: gpus::Gpus,
    /// Whether it is a command's own, without Slurm.
    is_local: bool,
    shown: Paces,
}

impl Station {
    /// A node with these meters, sampled once.
    pub fn new(config: Config, node: String, mut sampler: Sampler) -> Self {
        sampler.sample();
        let mut problems = sampler.problems();
        let baselines = Baselines::default();
        problems.extend(standing_problems(&config, &sampler, &baselines));
        Self {
            factors: Factors::from_config(&config),
            series: None,
            accounts: None,
            mem_total_mb: activity::mem_total_mb(&config.path.procfs),
            activities: Activities::of_node(&config, &sampler),
            baselines,
            n_learned: 0,
            books: Books::default(),
            cluster_name: ClusterName::default(),
            is_resumed: false,
            config,
            node,
            sampler,
            looks: Vec::new(),
            sampled_at: None,
            jobs: BTreeMap::new(),
            gone: BTreeSet::new(),
            ended: Vec::new(),
            problems,
            other_nodes: None,
            last_runs: BTreeMap::new(),
            sent_back: BTreeMap::new(),
            unseen: BTreeSet::new(),
            gpus: gpus::Gpus::default(),
            is_local: false,
            shown: Paces::new(FRESH),
        }
    }

    /// Says how other nodes of a job can be seen.
    pub fn look_at_other_nodes_with(&mut self, look: OtherNodes) {
        self.other_nodes = Some(look);
    }

    /// Prices with the series that is watched, as it changes.
    pub fn watch_series(&mut self, watch: Option<SeriesWatch>) {
        self.series = watch;
        self.refresh_series();
    }

    /// Holds jobs against the budgets of their accounts.
    pub fn watch_accounts(&mut self, watch: Option<AccountWatch>) {
        self.accounts = watch;
    }

    /// Prices with a guessed intensity, and says so.
    pub fn fall_back_on(&mut self, guessed: Fixed) {
        (self.factors.fallback, self.factors.is_guessed) = (guessed, true);
        self.problems.remove(DEFAULT_INTENSITY);
    }

    fn refresh_series(&mut self) {
        if let Some(found) = self.series.as_ref().map(SeriesWatch::latest) {
            (self.factors.series, self.factors.series_problem) = (found.series, found.problem);
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The meters.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Jobs that run, by id.
    pub fn jobs(&self) -> &BTreeMap<u32, Job> {
        &self.jobs
    }

    /// A running job.
    pub fn job_mut(&mut self, job_id: u32) -> Option<&mut Job> {
        self.jobs.get_mut(&job_id)
    }

    /// All running jobs.
    pub fn jobs_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.jobs.values_mut()
    }

    /// Jobs that ended and whose records are still to be written.
    pub fn ended(&self) -> &[Ended] {
        &self.ended
    }

    /// The same, to take them.
    pub fn ended_mut(&mut self) -> &mut Vec<Ended> {
        &mut self.ended
    }

    /// Whether nothing waits that somebody else is to do: records, lines, jobs to be ended or seen by
    /// other nodes.
    pub fn is_quiet(&self) -> bool {
        self.ended.is_empty() && self.books.lines.is_empty() && self.jobs.values().all(is_alone)
    }

    /// What surrounds every job.
    pub fn context(&self) -> Context<'_> {
        context(&self.factors, &self.config, &self.sampler, &self.node, &self.problems)
    }

    /// Samples, charges the jobs, and says when that was.
    pub fn sample(&mut self) -> Moment {
        self.take_looks();
        self.refresh_series();
        let n_found = self.sampler.n_found();
        self.sampler.take_found();
        if self.sampler.n_found() != n_found {
            self.take_new_meters();
        }
        let look = self.look();
        // After the meters are read: a driver takes its time, and an event is of its instant.
        self.refresh_gpus();
        self.take(look);
        self.check_budgets();
        self.look_for_missing_gpus();
        self.sampled_at = self.sampler.last_at();
        self.sampled_at.unwrap_or_else(now)
    }

    /// Meters were found that answered late, or whose driver came after the start.
    fn take_new_meters(&mut self) {
        self.find_problems();
        self.find_new_gpus();
    }

    /// Samples where the last sample is older than this.
    pub fn sample_if_older_than(&mut self, age: Duration) {
        if self.sampler.last_at().is_none_or(|last| now().since(&last) >= age) {
            self.sample();
        }
    }

    /// What is shown to a job's owner may be new, where the owner was not shown too much lately: the
    /// instant of which energy may be told, of a sample made now or the last one that was shown.
    pub(crate) fn show_anew(&mut self, job_id: u32) -> Moment {
        let uid = self.jobs.get(&job_id).map(|job| job.facts.uid);
        let last = self.sampler.last_at().unwrap_or_else(now);
        let shown = self.jobs.get(&job_id).map_or(last, Job::published_at);
        // One event after another: both are of the sample that the first one made.
        if shown == last && now().since(&last) < ONE_EVENT {
            return last;
        }
        if !self.is_local && !uid.is_some_and(|uid| self.shown.take(uid, Instant::now())) {
            return shown;
        }
        self.sample_if_older_than(ONE_EVENT);
        let Some(job) = self.jobs.get_mut(&job_id) else { return last };
        job.publish();
        job.published_at()
    }

    /// [`Self::show_anew`], where what the owner was shown is older than this.
    pub(crate) fn show_if_older_than(&mut self, job_id: u32, age: Duration) {
        let shown = self.jobs.get(&job_id).map(Job::published_at);
        if shown.is_some_and(|shown| now().since(&shown) >= age) {
            self.show_anew(job_id);
        }
    }

    /// Idle power learned so far, and from how many samples of this life.
    pub fn baselines(&self) -> (&Baselines, u64) {
        (&self.baselines, self.n_learned)
    }

    /// Takes up the idle power that an earlier life learned, but for that of a model whose watts were
    /// changed since.
    pub fn restore_baselines(&mut self, mut baselines: Baselines) {
        for (id, then) in baselines.forget_other_models(self.sampler.devices()) {
            log::info!("idle power of {id} was learned while its model had {then}: learned anew");
        }
        self.baselines = baselines;
        self.find_problems();
    }

    fn find_problems(&mut self) {
        self.problems = self.sampler.problems();
        self.problems.extend(standing_problems(&self.config, &self.sampler, &self.baselines));
        if self.factors.is_guessed {
            self.problems.remove(DEFAULT_INTENSITY);
        }
    }

    /// Whether the idle power of some device is neither configured nor known yet.
    fn is_learning(&self) -> bool {
        self.sampler.devices().iter().any(|device| {
            configured_w(&self.config.attribution.idle_w, device.component).is_none()
                && self.baselines.idle_power(&device.id).is_none()
        })
    }

    /// Time until the next sample is due: the shortest interval a job asks for, or the idle one; at
    /// the latest at the full hour, so that hours are booked apart.
    pub fn next_sample_in(&self) -> Duration {
        self.next_sample_after(&now())
    }

    fn next_sample_after(&self, at: &Moment) -> Duration {
        let Some(last) = self.looked_at() else { return Duration::ZERO };
        if hour_of(at) != hour_of(&last) {
            return Duration::ZERO;
        }
        self.interval().saturating_sub(at.since(&last)).min(until_full_hour(at))
    }

    /// Time from one sample to the next, where nothing happens.
    fn interval(&self) -> Duration {
        let mut idle = Duration::from_secs_f64(self.config.node.sample_idle_s);
        if self.jobs.is_empty() && self.is_learning() {
            idle = idle.min(LEARNING);
        }
        let asked = self.jobs.values().map(next_of_job).min().unwrap_or(idle);
        asked.min(idle.max(MOST_IDLE)).min(self.sampler.longest_interval())
    }
}

/// The same from its parts, for who changes a job meanwhile.
fn context<'a>(
    factors: &'a Factors,
    config: &'a Config,
    sampler: &'a Sampler,
    node: &'a str,
    problems: &'a BTreeSet<String>,
) -> Context<'a> {
    Context {
        factors,
        policy: config.attribution.policy,
        devices: sampler.devices(),
        cluster: config.ledger.cluster.as_deref(),
        node,
        n_cpus: sampler.n_cpus(),
        problems,
    }
}

/// A job over several nodes is sampled soon after its start, too, so that its first node learns the
/// power of the others; then ever more seldom, up to its own interval.
fn next_of_job(job: &Job) -> Duration {
    let mut interval = job.settings.update_interval;
    if job.settings.devices_by_pid {
        interval = interval.min(gpus::LOOK_AT_PROCESSES);
    }
    if job.facts.n_nodes.unwrap_or(1) > 1 {
        return interval.min(job.elapsed().max(Duration::from_millis(250)));
    }
    interval
}

fn hour_of(at: &Moment) -> i64 {
    at.wall.timestamp().div_euclid(3600)
}

fn until_full_hour(at: &Moment) -> Duration {
    let millis = at.wall.timestamp_millis().rem_euclid(3_600_000);
    Duration::from_millis(3_600_000 - millis.unsigned_abs())
}

/// The idle power that the site gave for one device of a component.
fn configured_w(idle: &IdleWatts, component: Component) -> Option<f64> {
    match component {
        Component::Cpu => idle.cpu,
        Component::Dram => idle.dram,
        Component::Gpu => idle.gpu,
        Component::Rest => idle.rest,
    }
}

/// What is degraded on this node as it is configured, said in every record.
fn standing_problems(config: &Config, sampler: &Sampler, baselines: &Baselines) -> Vec<String> {
    let mut out = Vec::new();
    let is_by_activity = config.attribution.policy == ct_core::config::Policy::Hybrid;
    for component in Component::ALL {
        let is_configured = configured_w(&config.attribution.idle_w, component).is_some();
        let mut of = sampler.devices().iter().filter(|d| d.component == component);
        if is_by_activity && !is_configured && of.any(|d| baselines.idle_power(&d.id).is_none()) {
            let name = component.as_str();
            out.push(format!("no idle baseline of {name}: its idle energy is split by activity"));
        }
    }
    if config.power.pue.is_none() {
        out.push("PUE is the default 1.58".to_owned());
    }
    if Factors::from_config(config).fallback.is_default() && config.carbon.series_file.is_none() {
        out.push(DEFAULT_INTENSITY.to_owned());
    }
    if !sampler.devices().iter().any(|d| d.component == Component::Dram) {
        out.push("no DRAM meter: memory energy is not included".to_owned());
    }
    out
}

#[cfg(test)]
mod tests;
