//! From an interval to what each job, the system and nobody is charged, and to the node's own book.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ct_core::attribution::{DeviceUse, Situation, split};
use ct_core::energy::Component;
use ct_core::job::Job;
use ct_core::node_book::{NodeBook, NodeContext, Span};
use ct_core::record::{Baseline, NodeRecord};
use ct_core::sample::{HourPart, Interval};
use ct_core::source::Device;
use ct_core::units::{Joules, Microjoules, Watts};
use serde::{Deserialize, Serialize};

use super::gpus::names_gpus;
use super::{Station, configured_w};

/// An idle interval shorter than this teaches nothing: counters have a resolution of their own.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// The cluster's name, once it is known.
pub type ClusterName = Arc<OnceLock<String>>;

/// The node's own books: what no line of the ledger holds yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Books {
    book: NodeBook,
    /// The cluster that jobs were last seen to be of.
    cluster: Option<String>,
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
        if let Some(span) = self.books.book.close() {
            let record = self.line(span);
            self.books.lines.push(record);
        }
    }

    pub(super) fn charge(&mut self, interval: &Interval) {
        let is_gap = std::mem::take(&mut self.is_resumed);
        let system_cpu_time = self.read_activity(interval.busy.as_ref());
        let mut situation = self.situation(interval, system_cpu_time);
        if !is_gap {
            self.learn_idle_power(interval, &situation);
        }
        let n_missing = interval.devices.iter().filter(|d| !d.answered).count();
        let known = self.of_those_who_were_there(interval);
        for part in interval.by_hour() {
            fill(&mut situation, &part, &known);
            self.book(&part, &situation, is_gap || n_missing > 0);
        }
        self.books.book.warn(self.sampler.failures());
        let devices = self.sampler.devices();
        for job in self.jobs.values_mut() {
            let is_covered = n_missing == 0 || is_covered(job, devices, interval);
            job.advance(interval.end, is_covered);
        }
    }

    /// Charges the part of an interval that lies in one hour, to the jobs and in the node's book.
    fn book(&mut self, part: &HourPart, situation: &Situation, is_gap: bool) {
        let split = split(situation, self.config.attribution.policy);
        for (job, charge) in self.jobs.values_mut().zip(&split.jobs) {
            job.charge(part.hour, charge);
        }
        let components = self.sampler.devices().iter().map(|d| d.component);
        let jobs = self.jobs.values().map(|job| (job.facts.job_id, job.restart));
        if let Some(span) = self.books.book.add(part, components, &split, jobs, is_gap) {
            let record = self.line(span);
            self.books.lines.push(record);
        }
    }

    fn situation(&self, interval: &Interval, system_cpu_time: Option<Duration>) -> Situation {
        let device_use = |device: &Device| DeviceUse {
            component: device.component,
            energy: Microjoules::ZERO,
            nobodys: Microjoules::ZERO,
            idle: self.idle_power(device),
            package: device.package,
            duration: interval.duration(),
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

    /// What part of each device's energy is to be split, and in which time it was drawn: all of it,
    /// unless the device was silent before the interval and a job came meanwhile; then the part of
    /// the interval, as nobody knows whose the rest was.
    fn of_those_who_were_there(&self, interval: &Interval) -> Vec<(f64, Duration)> {
        let duration = interval.duration();
        let part = |drawn: &ct_core::sample::DeviceEnergy| {
            let was_there = |job: &Job| interval.end.since(&job.start) >= drawn.span;
            if drawn.span <= duration || self.jobs.values().all(was_there) {
                return (1.0, drawn.span);
            }
            (duration.as_secs_f64() / drawn.span.as_secs_f64(), duration)
        };
        interval.devices.iter().map(part).collect()
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
        if duration < LEAST_IDLE {
            return;
        }
        // A job may use a GPU that it was given and we could not find, or that no look at its
        // processes has shown yet.
        let is_lost = |job: &Job| {
            job.settings.devices_by_pid || (job.gpus.is_empty() && names_gpus(&job.facts))
        };
        let has_lost_gpus = self.jobs.values().any(is_lost);
        let mut is_new = false;
        let devices = self.sampler.devices().iter().zip(&interval.devices);
        for (index, (device, drawn)) in devices.enumerate() {
            let is_sure = drawn.answered && drawn.span == duration;
            let is_lost = has_lost_gpus && device.component == Component::Gpu;
            if is_sure && !is_lost && situation.is_unheld(index) {
                let power = drawn.energy.to_joules().over(duration);
                is_new |= self.baselines.learn(&device.id, power, interval.end.wall);
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
fn fill(situation: &mut Situation, part: &HourPart, known: &[(f64, Duration)]) {
    let devices = situation.devices.iter_mut().zip(&part.devices).zip(known);
    for ((device, drawn), (share, duration)) in devices {
        device.energy = *drawn;
        if *share < 1.0 {
            let joules = drawn.to_joules().as_joules() * share;
            device.energy = Joules::new(joules).to_microjoules().min(*drawn);
        }
        device.nobodys = drawn.saturating_sub(device.energy);
        device.duration = if part.share < 1.0 { duration.mul_f64(part.share) } else { *duration };
    }
}

/// Whether every meter of a job answered: those that serve the node, and those of its GPUs.
fn is_covered(job: &Job, devices: &[Device], interval: &Interval) -> bool {
    devices.iter().zip(&interval.devices).all(|(device, drawn)| {
        let is_anothers =
            device.component == Component::Gpu && !job.gpus.iter().any(|gpu| gpu.uuid == device.id);
        is_anothers || drawn.answered
    })
}
