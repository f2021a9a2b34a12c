//! What a node's meters counted and whose it was, hour by hour.
//!
//! Comes from [`crate::attribution`], goes to [`crate::record`] as a [`NodeRecord`]. What the meters
//! counted is booked from the meters and what was charged from the charges, so that a line in which
//! the two agree says something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::attribution::Split;
use crate::config::Policy;
use crate::energy::{ByComponent, Component};
use crate::record::{Baseline, JobCharge, NodeRecord, VERSION};
use crate::sample::HourPart;
use crate::units::Microjoules;

/// Texts of one span beyond which further ones are left out.
const MOST_WARNINGS: usize = 32;

/// A stretch of time within one hour of UTC that no line of the ledger holds yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    #[serde(with = "crate::record::timestamp")]
    hour: DateTime<Utc>,
    #[serde(with = "crate::record::timestamp")]
    start: DateTime<Utc>,
    #[serde(with = "crate::record::timestamp")]
    end: DateTime<Utc>,
    elapsed: Duration,
    meter: ByComponent<Microjoules>,
    jobs: ByComponent<Microjoules>,
    system: ByComponent<Microjoules>,
    unallocated: ByComponent<Microjoules>,
    idle: ByComponent<Microjoules>,
    by_job: Vec<JobCharge>,
    gap: Duration,
    warnings: BTreeSet<String>,
}

/// What surrounds a node's line.
#[derive(Clone, Debug)]
pub struct NodeContext {
    /// `ClusterName` of slurm.conf.
    pub cluster: String,
    /// Slurm's node name.
    pub node: String,
    /// Idle baseline of each device, by its identity.
    pub baseline: BTreeMap<String, Baseline>,
    /// Where each component's joules come from.
    pub method: BTreeMap<String, String>,
    /// Attribution policy.
    pub policy: Policy,
    /// What is degraded on the node.
    pub problems: BTreeSet<String>,
}

/// The book of a node: the span that is still open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeBook {
    open: Option<Span>,
}

impl NodeBook {
    /// Books a part of an interval: what the meters counted, and how it was split among these jobs
    /// (id and restart count), in the split's order. Another hour than that of the open span closes
    /// it; it is returned.
    ///
    /// `components` names the devices of the part; `is_gap` says that some of them did not answer,
    /// or that nobody watched.
    pub fn add(
        &mut self,
        part: &HourPart,
        components: impl Iterator<Item = Component>,
        split: &Split,
        jobs: impl Iterator<Item = (u32, u32)>,
        is_gap: bool,
    ) -> Option<Span> {
        let is_other_hour = self.open.as_ref().is_some_and(|open| open.hour != part.hour);
        let closed = if is_other_hour { self.close() } else { None };
        let span = self.open.get_or_insert_with(|| Span::starting(part));
        span.end = span.end.max(part.end);
        span.elapsed += part.elapsed;
        if is_gap {
            span.gap += part.elapsed;
        }
        for (component, energy) in components.zip(&part.devices) {
            *span.meter.get_mut(component) += *energy;
        }
        for (key, charge) in jobs.zip(&split.jobs) {
            span.jobs += charge.energy;
            span.charge_job(key, charge.energy.total());
        }
        span.system += split.system.energy;
        span.unallocated += split.unallocated.energy;
        span.idle += split.total().idle;
        closed
    }

    /// Notes what was degraded meanwhile.
    pub fn warn(&mut self, texts: &[String]) {
        let Some(open) = &mut self.open else { return };
        let room = MOST_WARNINGS.saturating_sub(open.warnings.len());
        open.warnings.extend(texts.iter().take(room).cloned());
    }

    /// Closes the open span, if there is one.
    pub fn close(&mut self) -> Option<Span> {
        self.open.take()
    }
}

impl Span {
    fn starting(part: &HourPart) -> Self {
        Self {
            hour: part.hour,
            start: part.start,
            end: part.end,
            elapsed: Duration::ZERO,
            meter: ByComponent::default(),
            jobs: ByComponent::default(),
            system: ByComponent::default(),
            unallocated: ByComponent::default(),
            idle: ByComponent::default(),
            by_job: Vec::new(),
            gap: Duration::ZERO,
            warnings: BTreeSet::new(),
        }
    }

    fn charge_job(&mut self, (id, restart): (u32, u32), energy: Microjoules) {
        match self.by_job.binary_search_by_key(&(id, restart), |c| (c.0, c.1)) {
            Ok(at) => self.by_job[at].2 += energy,
            Err(at) => self.by_job.insert(at, JobCharge(id, restart, energy)),
        }
    }

    /// The line for the ledger.
    pub fn into_record(mut self, context: NodeContext) -> NodeRecord {
        self.warnings.extend(context.problems);
        let seconds = |d: Duration| (d.as_secs_f64() * 1000.0).round() / 1000.0;
        NodeRecord {
            v: VERSION,
            kind: "node".to_owned(),
            cluster: context.cluster,
            node: context.node,
            start: self.start,
            end: self.end,
            elapsed_s: seconds(self.elapsed),
            meter_j: self.meter,
            jobs_j: self.jobs,
            system_j: self.system,
            unallocated_j: self.unallocated,
            idle_j: self.idle,
            jobs: self.by_job,
            baseline: context.baseline,
            gap_s: seconds(self.gap),
            method: context.method,
            attribution: context.policy.as_str().to_owned(),
            warnings: self.warnings.into_iter().collect(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Charge;

    fn uj(uj: u64) -> Microjoules {
        Microjoules::new(uj)
    }

    fn cpu(energy: u64, idle: u64) -> Charge {
        let by = |uj| ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() };
        Charge { energy: by(energy), idle: by(idle), ..Charge::default() }
    }

    fn part(from: &str, to: &str, energy: u64) -> HourPart {
        let at = |time: &str| format!("2026-01-01T{time}Z").parse().unwrap();
        HourPart {
            hour: at(&format!("{}:00:00", &from[..2])),
            start: at(from),
            end: at(to),
            share: 1.0,
            elapsed: Duration::from_secs(60),
            devices: vec![uj(energy)],
        }
    }

    fn context() -> NodeContext {
        NodeContext {
            cluster: "lab".to_owned(),
            node: "n1".to_owned(),
            baseline: BTreeMap::new(),
            method: BTreeMap::new(),
            policy: Policy::Hybrid,
            problems: BTreeSet::from(["no DRAM meter".to_owned()]),
        }
    }

    #[test]
    fn lines_are_within_an_hour_and_name_what_each_job_was_charged() {
        let mut book = NodeBook::default();
        let split = Split {
            jobs: vec![cpu(6, 2), cpu(1, 1)],
            system: cpu(1, 0),
            unallocated: cpu(2, 1),
            ..Split::default()
        };
        let cpus = || [Component::Cpu].into_iter();
        let jobs = || [(7, 0), (3, 1)].into_iter();
        assert_eq!(book.add(&part("10:58:00", "10:59:00", 10), cpus(), &split, jobs(), true), None);
        book.warn(&["gpu 0: silent".to_owned()]);
        assert_eq!(
            book.add(&part("10:59:00", "11:00:00", 10), cpus(), &split, jobs(), false),
            None
        );
        let json = serde_json::to_string(&book).unwrap();
        let mut book: NodeBook = serde_json::from_str(&json).unwrap();
        let line = book.add(&part("11:00:00", "11:01:00", 10), cpus(), &split, jobs(), false);
        let line = line.unwrap().into_record(context());
        assert_eq!((line.elapsed_s, line.gap_s), (120.0, 60.0));
        assert_eq!(line.end.to_rfc3339(), "2026-01-01T11:00:00+00:00");
        assert_eq!(line.jobs, [JobCharge(3, 1, uj(2)), JobCharge(7, 0, uj(12))]);
        assert_eq!((line.meter_j.cpu, line.idle_j.cpu), (uj(20), uj(8)));
        let parts = line.jobs_j + line.system_j + line.unallocated_j;
        assert_eq!(parts, line.meter_j);
        assert_eq!(line.warnings, ["gpu 0: silent", "no DRAM meter"]);
        let next = book.close().unwrap().into_record(context());
        assert_eq!((next.start, next.meter_j.cpu), (line.end, uj(10)));
        assert!(book.close().is_none());
    }
}
