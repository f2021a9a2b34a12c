//! Sums by group as metrics, for node_exporter's textfile collector or any reader of OpenMetrics.
//!
//! All are gauges: what they count is the time asked for, and it begins anew each month. Names, units
//! and labels are those of LEDGER.md and do not change.

use std::fmt;

use anyhow::Result;
use chrono::{DateTime, Utc};
use ct_core::energy::Component;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::aggregate::{Key, Report, Sums};
use ct_core::text::printable;

/// Names and values of labels.
type Labels = Vec<(String, String)>;

/// One metric: its name without the unit, its unit, what it is, and its values.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    values: Vec<(Labels, f64)>,
}

/// What is exported, in the order in which it is written.
#[derive(Debug)]
struct Metrics(Vec<Metric>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in &self.0 {
            let unit = metric.unit.as_ref();
            let mut one =
                encoder.encode_descriptor(metric.name, metric.help, unit, MetricType::Gauge)?;
            for (labels, value) in &metric.values {
                one.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }
}

/// What the sums are of, besides their groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// When they were added up.
    pub(crate) at: DateTime<Utc>,
    /// From when on energy is counted, where that was asked for.
    pub(crate) start: Option<DateTime<Utc>>,
    /// Parts of files that could not be read.
    pub(crate) n_skipped: usize,
}

/// The sums as text.
///
/// # Errors
///
/// None in practice: it is written into memory.
pub(crate) fn text(keys: &[Key], report: &Report, scope: Scope) -> Result<String> {
    let mut registry = Registry::with_prefix("carbontracker");
    registry.register_collector(Box::new(metrics(keys, report, scope)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// A metric of a group: name, unit, help, value.
type OfGroup = (&'static str, Option<Unit>, &'static str, fn(&Sums) -> Option<f64>);

fn of_groups() -> Vec<OfGroup> {
    let joules = || Some(Unit::Joules);
    let grams = || Some(Unit::Grams);
    let seconds = || Some(Unit::Seconds);
    let ratio = || Some(Unit::Other("ratio".to_owned()));
    vec![
        ("jobs", None, "Jobs, each once however many nodes it had", |s| Some(s.n_jobs() as f64)),
        ("elapsed", seconds(), "Time of the jobs", |s| Some(s.elapsed_h() * 3600.0)),
        ("core", seconds(), "CPUs held times seconds", |s| Some(s.core_hours() * 3600.0)),
        ("gpu", seconds(), "GPUs held times seconds", |s| Some(s.gpu_hours() * 3600.0)),
        ("allocated_energy", joules(), "Idle part of the energy", |s| to_j(s.allocated_uj)),
        ("dynamic_energy", joules(), "Energy above the idle part", |s| to_j(s.dynamic_uj())),
        ("gpu_unused_energy", joules(), "Energy of GPUs held and not used", |s| {
            to_j(s.gpu_unused_uj)
        }),
        ("failed_energy", joules(), "Energy of jobs that failed", |s| to_j(s.failed_uj)),
        ("cancelled_energy", joules(), "Energy of cancelled jobs", |s| to_j(s.cancelled_uj)),
        ("co2e", grams(), "Operational footprint, with PUE", |s| Some(s.co2e_g())),
        ("embodied_co2e", grams(), "Embodied footprint, where known", |s| s.embodied_g()),
        ("water", Some(Unit::Other("liters".to_owned())), "Water, where known", |s| s.water_l()),
        ("measured", ratio(), "Share of the energy that was not modelled", Sums::measured_share),
        ("coverage", ratio(), "Share of the time for which meters answered", Sums::coverage),
    ]
}

fn to_j(uj: u128) -> Option<f64> {
    Some(uj as f64 / 1e6)
}

fn metrics(keys: &[Key], report: &Report, scope: Scope) -> Metrics {
    let groups: Vec<(Labels, &Sums)> =
        report.groups().map(|(group, sums)| (labels(keys, group), sums)).collect();
    let mut all = vec![energy(&groups)];
    all.extend(of_groups().into_iter().map(|(name, unit, help, value)| {
        let values = groups.iter().filter_map(|(labels, s)| Some((labels.clone(), value(s)?)));
        Metric { name, unit, help, values: values.collect() }
    }));
    let seconds = || Some(Unit::Seconds);
    let one = |name, unit, help, value: f64| Metric {
        name,
        unit,
        help,
        values: vec![(Vec::new(), value)],
    };
    let unix = |at: DateTime<Utc>| at.timestamp_millis() as f64 / 1000.0;
    all.push(one("export_timestamp", seconds(), "When this was added up", unix(scope.at)));
    if let Some(start) = scope.start {
        all.push(one(
            "period_start_timestamp",
            seconds(),
            "From when on energy is counted",
            unix(start),
        ));
    }
    all.push(one(
        "skipped_parts",
        None,
        "Parts of the ledger that could not be read",
        scope.n_skipped as f64,
    ));
    Metrics(all)
}

/// Energy by group and component.
fn energy(groups: &[(Labels, &Sums)]) -> Metric {
    let mut values = Vec::new();
    for (labels, sums) in groups {
        for component in Component::ALL {
            let mut labels = labels.clone();
            labels.push(("component".to_owned(), component.as_str().to_owned()));
            values.push((labels, sums.component_uj(component) as f64 / 1e6));
        }
    }
    let help = "Energy charged to jobs, without PUE";
    Metric { name: "energy", unit: Some(Unit::Joules), help, values }
}

/// The keys of a group; what a record does not know is empty, which readers take for absent.
fn labels(keys: &[Key], group: &[Option<String>]) -> Labels {
    let label = |(key, value): (&Key, &Option<String>)| {
        let value = printable(value.as_deref().unwrap_or_default());
        (key.as_str().to_owned(), value.into_owned())
    };
    keys.iter().zip(group).map(label).collect()
}
