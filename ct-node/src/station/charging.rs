//! From an interval to what each job, the system and nobody is charged, and to the node's own book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ct_core::attribution::{Backlog, DeviceUse, Situation, split};
use ct_core::energy::Component;
use ct_core::job::Job;
use ct_core::node_book::{NodeBook, NodeContext, Span};
use ct_core::record::{Baseline, NodeRecord};
use ct_core::sample::{DeviceEnergy, HourPart, Interval};
use ct_core::source::Device;
use ct_core::units::{Microjoules, Watts};
use serde::{Deserialize, Serialize};

use super::activity::CpuTimes;
use super::gpus::names_gpus;
use super::{Station, configured_w};

/// An idle interval shorter than this teaches nothing: counters have a resolution of their own.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// Said in a node's line of energy whose owner's record was already written.
const OF_ENDED: &str = "drawn while a meter or ct-noded was silent is that of jobs that ended then: \
                        it is unallocated";

/// The cluster's name, once it is known.
pub type ClusterName = Arc<OnceLock<String>>;

/// The node's own books: what no line of the ledger holds yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Books {
    book: NodeBook,
    /// The cluster that jobs were last seen to be of.
    cluster: Option<String>,
    /// By identity of a device that does not answer: whose it has been since.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    backlogs: BTreeMap<String, Backlog>,
    /// Lines that are still to be written.
    #[serde(skip)]
    pub(super) lines: Vec<NodeRecord>,
}

impl Books {
    pub(super) fn note_cluster(&mut self, cluster: Option<&str>) {
        if cluster.is_some_and(|c| self.cluster.as_deref() != Some(c)) {
            self.cluster = cluster.map(str::to_owned);
        }
    }

    /// Notes something in the node's open line.
    pub(super) fn warn(&mut self, text: &str) {
        self.book.warn(&[text.to_owned()]);
    }

    /// A job ended: its part of what silent devices drew is nobody else's.
    pub(super) fn end_job(&mut self, job_id: u32) {
        self.backlogs.values_mut().for_each(|backlog| backlog.end(job_id));
    }

    /// Notes whose a device was in an interval; of one that answers after others, whose it was in
    /// all of them.
    fn follow(
        &mut self,
        id: &str,
        drawn: &DeviceEnergy,
        situation: &Situation,
        device: usize,
        duration: Duration,
    ) -> Option<Backlog> {
        let is_silent = !drawn.answered && drawn.energy == Microjoules::ZERO;
        if !is_silent && drawn.span <= duration {
            self.backlogs.remove(id);
            return None;
        }
        let mut backlog = self.backlogs.remove(id).unwrap_or_default();
        backlog.add(situation, device, duration);
        if is_silent {
            self.backlogs.insert(id.to_owned(), backlog);
            return None;
        }
        Some(backlog)
    }
}

impl Station {
    /// The node's own books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Lines of the node that are still to be written, to take them.
    pub fn lines_mut(&mut self) -> &mut Vec<NodeRecord> {
        &mut self.books.lines
    }

    /// Takes up the books of an earlier life, with all that they hold.
    pub fn restore_books(&mut self, books: Books) {
        self.books = books;
    }

    /// Says where the cluster's name will be found while no job has told it.
    pub fn name_cluster_by(&mut self, name: ClusterName) {
        self.cluster_name = name;
    }

    /// Ends the node's line: what comes next is on another.
    pub fn close_line(&mut self) {
        self.take_looks();
        if let Some(span) = self.books.book.close() {
            let record = self.line(span);
            self.books.lines.push(record);
        }
    }

    pub(super) fn charge(&mut self, interval: &Interval, times: CpuTimes) {
        let is_gap = std::mem::take(&mut self.is_resumed);
        let system_cpu_time = self.take_activity(interval.busy.as_ref(), times);
        let mut situation = self.situation(interval, system_cpu_time);
        if !is_gap {
            self.learn_idle_power(interval, &situation);
        }
        let n_missing = interval.devices.iter().filter(|d| !d.answered).count()
            + usize::from(self.sampler.is_searching());
        self.look_back(interval, &mut situation);
        for part in interval.by_hour() {
            fill(&mut situation, &part, interval);
            self.book(&part, &situation, is_gap || n_missing > 0);
        }
        self.books.book.warn(self.sampler.failures());
        // The line may have begun with this interval.
        self.note_unseen();
        let (devices, is_searching) = (self.sampler.devices(), self.sampler.is_searching());
        for job in self.jobs.values_mut() {
            let is_there = !self.gone.contains(&job.facts.job_id);
            let is_found = !is_searching || !names_gpus(&job.facts);
            let is_covered =
                is_there && is_found && (n_missing == 0 || is_covered(job, devices, interval));
            job.advance(interval.end, is_covered);
        }
    }

    /// Charges the part of an interval that lies in one hour, to the jobs and in the node's book.
    fn book(&mut self, part: &HourPart, situation: &Situation, is_gap: bool) {
        let mut split = split(situation, self.config.attribution.policy);
        for (index, job_id) in self.jobs.keys().enumerate() {
            if self.gone.contains(job_id) {
                split.disown(index);
            }
        }
        for (job, charge) in self.jobs.values_mut().zip(&split.jobs) {
            job.charge(part.hour, charge);
        }
        let components = self.sampler.devices().iter().map(|d| d.component);
        let jobs = self.jobs.values().map(|job| (job.facts.job_id, job.restart));
        if let Some(span) = self.books.book.add(part, components, &split, jobs, is_gap) {
            let record = self.line(span);
            self.books.lines.push(record);
        }
        if split.of_ended > Microjoules::ZERO {
            let joules = split.of_ended.to_joules().as_joules();
            self.books.warn(&format!("{joules:.3} J {OF_ENDED}"));
        }
    }

    fn situation(&self, interval: &Interval, system_cpu_time: Option<Duration>) -> Situation {
        let device_use = |device: &Device| DeviceUse {
            component: device.component,
            energy: Microjoules::ZERO,
            idle: self.idle_power(device),
            package: device.package,
            duration: interval.duration(),
            backlog: None,
        };
        let mut jobs = Vec::with_capacity(self.jobs.len());
        jobs.extend(self.jobs.values().map(|job| self.holding(job)));
        Situation {
            devices: self.sampler.devices().iter().map(device_use).collect(),
            jobs,
            system_cpu_time,
            system_by_package: self.activities.system_by_package(),
        }
    }

    /// Has what a device drew over several intervals split as it was held and used in each of them.
    fn look_back(&mut self, interval: &Interval, situation: &mut Situation) {
        let devices = self.sampler.devices().iter().zip(&interval.devices);
        for (index, (device, drawn)) in devices.enumerate() {
            let (books, duration) = (&mut self.books, interval.duration());
            let backlog = books.follow(&device.id, drawn, situation, index, duration);
            situation.devices[index].backlog = backlog;
        }
    }

    fn idle_power(&self, device: &Device) -> Option<Watts> {
        self.configured_w(device.component)
            .map(Watts::new)
            .or_else(|| self.baselines.idle_power(&device.id))
    }

    fn configured_w(&self, component: Component) -> Option<f64> {
        configured_w(&self.config.attribution.idle_w, component)
    }

    /// Learns the idle power of every device that nobody held, from the interval's mean power.
    fn learn_idle_power(&mut self, interval: &Interval, situation: &Situation) {
        let duration = interval.duration();
        if duration < LEAST_IDLE || !self.unseen.is_empty() {
            return;
        }
        // A job may use a GPU that it was given and we could not find, or that no look at its
        // processes has shown yet, or that nobody has told us of.
        let is_lost = |job: &Job| {
            job.settings.devices_by_pid
                || job.is_taken_up
                || (job.gpus.is_empty() && names_gpus(&job.facts))
        };
        let has_lost_gpus = self.jobs.values().any(is_lost);
        let mut is_new = false;
        let devices = self.sampler.devices().iter().zip(&interval.devices);
        for (index, (device, drawn)) in devices.enumerate() {
            let is_sure = drawn.answered && drawn.span == duration;
            let is_lost = has_lost_gpus && device.component == Component::Gpu;
            if is_sure && !is_lost && situation.is_unheld(index) {
                let power = drawn.energy.to_joules().over(duration);
                is_new |= self.baselines.learn(device, power, interval.end.wall);
                self.n_learned += 1;
            }
        }
        if is_new {
            self.find_problems();
        }
    }

    fn line(&self, span: Span) -> NodeRecord {
        let config = &self.config;
        let known = config.ledger.cluster.as_ref().or(self.books.cluster.as_ref());
        let cluster = known.or(self.cluster_name.get());
        span.into_record(NodeContext {
            cluster: cluster.cloned().unwrap_or_else(|| "cluster".to_owned()),
            node: self.node.clone(),
            baseline: self.baseline(),
            method: self.methods(),
            policy: config.attribution.policy,
            problems: self.problems.iter().cloned().chain(self.sampler.outages()).collect(),
        })
    }

    fn baseline(&self) -> BTreeMap<String, Baseline> {
        let of = |device: &Device| {
            let configured = self.configured_w(device.component).map(|watts| Baseline {
                watts,
                source: "configured".to_owned(),
                at: None,
                n_samples: 0,
            });
            let known = configured.or_else(|| self.baselines.describe(&device.id));
            Some((device.id.clone(), known?))
        };
        self.sampler.devices().iter().filter_map(of).collect()
    }

    fn methods(&self) -> BTreeMap<String, String> {
        let mut out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for device in self.sampler.devices() {
            out.entry(device.component.as_str()).or_default().insert(&device.method);
        }
        let join = |methods: BTreeSet<&str>| methods.into_iter().collect::<Vec<_>>().join("+");
        out.into_iter().map(|(name, methods)| (name.to_owned(), join(methods))).collect()
    }
}

/// Sets what each device drew in a part of the interval, and in which time.
fn fill(situation: &mut Situation, part: &HourPart, interval: &Interval) {
    let devices = situation.devices.iter_mut().zip(&part.devices).zip(&interval.devices);
    for ((device, energy), drawn) in devices {
        device.energy = *energy;
        let span = drawn.span.max(interval.duration());
        device.duration = if part.share < 1.0 { span.mul_f64(part.share) } else { span };
    }
}

/// Whether every meter of a job answered: those that serve the node, and those of its GPUs.
fn is_covered(job: &Job, devices: &[Device], interval: &Interval) -> bool {
    devices.iter().zip(&interval.devices).all(|(device, drawn)| {
        let is_anothers =
            device.component == Component::Gpu && !job.all_gpus().any(|gpu| gpu.uuid == device.id);
        is_anothers || drawn.answered
    })
}
