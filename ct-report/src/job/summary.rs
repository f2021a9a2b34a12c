//! A run as one value, for JSON.

use std::collections::BTreeMap;

use ct_core::energy::{ByComponent, Component};
use ct_core::record::Record;
use ct_core::units::Microjoules;
use serde::Serialize;

use super::beside::Beside;
use super::share::NodeShare;
use super::{Run, hours, notes, shown_id};

/// A run: sums over its nodes, what can be said of it, and the records themselves.
///
/// Energies are joules with six places, without PUE; the grams include it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    job: String,
    cluster: &'a str,
    job_id: u32,
    restart: u32,
    user: &'a str,
    start: String,
    end: String,
    elapsed_s: f64,
    end_reason: &'static str,
    nodes: Vec<&'a str>,
    n_nodes: u32,
    energy_j: ByComponent<Microjoules>,
    allocated_j: ByComponent<Microjoules>,
    mean_power_w: BTreeMap<&'static str, f64>,
    co2e_g: f64,
    embodied_g: Option<f64>,
    water_l: Option<f64>,
    measured_share: Option<f64>,
    coverage: Option<f64>,
    gpu_unused_j: Microjoules,
    gpu_unused_share: Option<f64>,
    power_by_hour_w: Vec<(String, f64)>,
    node_share: Option<ShareOut>,
    notes: Vec<String>,
    warnings: Vec<String>,
    logs: Vec<String>,
    records: &'a [Record],
}

/// What the meters of the job's nodes counted, in the lines that name it.
#[derive(Debug, Serialize)]
struct ShareOut {
    meter_j: Microjoules,
    job_j: Microjoules,
    other_jobs_j: Microjoules,
    system_j: Microjoules,
    unallocated_j: Microjoules,
    n_other_jobs: usize,
}

impl<'a> Summary<'a> {
    /// Sums up a run.
    pub(crate) fn new(run: &'a Run, beside: &Beside) -> Self {
        let (head, sums) = (run.head(), &run.sums);
        let rfc = |at: chrono::DateTime<chrono::Utc>| {
            at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
        };
        Self {
            job: shown_id(head),
            cluster: &head.cluster,
            job_id: head.job_id,
            restart: head.restart,
            user: &head.user,
            start: rfc(run.start()),
            end: rfc(run.end()),
            elapsed_s: run.elapsed_s(),
            end_reason: head.end_reason.as_str(),
            nodes: run.records().iter().map(|r| &*r.node).collect(),
            n_nodes: head.n_nodes,
            energy_j: energy(run),
            allocated_j: allocated(run),
            mean_power_w: Component::ALL.iter().map(|c| (c.as_str(), power_w(run, *c))).collect(),
            co2e_g: sums.co2e_g(),
            embodied_g: sums.embodied_g(),
            water_l: sums.water_l(),
            measured_share: sums.measured_share(),
            coverage: sums.coverage(),
            gpu_unused_j: microjoules(sums.gpu_unused_uj),
            gpu_unused_share: notes::gpu_unused_share(run),
            power_by_hour_w: hours::hours(run)
                .iter()
                .map(|h| (rfc(h.start), h.total_w()))
                .collect(),
            node_share: beside.known_share().map(ShareOut::new),
            notes: notes::notes(run),
            warnings: warnings(run),
            logs: beside.log_names(),
            records: run.records(),
        }
    }
}

impl ShareOut {
    fn new(share: &NodeShare) -> Self {
        Self {
            meter_j: microjoules(share.meter_uj),
            job_j: microjoules(share.job_uj),
            other_jobs_j: microjoules(share.other_jobs_uj),
            system_j: microjoules(share.system_uj),
            unallocated_j: microjoules(share.unallocated_uj),
            n_other_jobs: share.n_other_jobs,
        }
    }
}

/// Energy by component over all nodes.
pub(crate) fn energy(run: &Run) -> ByComponent<Microjoules> {
    by_component(run, |record, component| *record.energy_j.get(component))
}

/// The idle part of the energy by component over all nodes: what holding cost.
pub(crate) fn allocated(run: &Run) -> ByComponent<Microjoules> {
    let idle = |r: &Record, c: Component| (*r.idle_j.get(c)).min(*r.energy_j.get(c));
    by_component(run, idle)
}

fn by_component(
    run: &Run,
    part: impl Fn(&Record, Component) -> Microjoules,
) -> ByComponent<Microjoules> {
    let mut out = ByComponent::default();
    for component in Component::ALL {
        let parts = run.records().iter().map(|record| u128::from(part(record, component).as_u64()));
        *out.get_mut(component) = microjoules(parts.sum());
    }
    out
}

/// Mean power of a component in watts; zero over no time.
pub(crate) fn power_w(run: &Run, component: Component) -> f64 {
    let (joules, seconds) = (run.sums.component_uj(component) as f64 / 1e6, run.elapsed_s());
    if seconds > 0.0 { joules / seconds } else { 0.0 }
}

/// Warnings of all records, each with the nodes it is of where it is not of all.
pub(crate) fn warnings(run: &Run) -> Vec<String> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in run.records() {
        for warning in &record.warnings {
            nodes.entry(warning).or_default().push(&record.node);
        }
    }
    let all = run.records().len();
    let text = |(warning, nodes): (&str, Vec<&str>)| match nodes.len() {
        n if n == all => warning.to_owned(),
        _ => format!("{}: {warning}", nodes.join(", ")),
    };
    nodes.into_iter().map(text).collect()
}

/// How each component was measured, over all nodes.
pub(crate) fn methods(run: &Run) -> BTreeMap<&str, String> {
    let mut methods: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (component, method) in run.records().iter().flat_map(|record| &record.method) {
        let known = methods.entry(component).or_default();
        if !known.contains(&&**method) {
            known.push(method);
        }
    }
    methods.into_iter().map(|(component, all)| (component, all.join(", "))).collect()
}

/// A sum that is carried on as microjoules; 64 bits are 5 GWh.
fn microjoules(uj: u128) -> Microjoules {
    Microjoules::new(u64::try_from(uj).unwrap_or(u64::MAX))
}
