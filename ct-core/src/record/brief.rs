//! A record as far as sums need it: what a job used, how that was found, where and whose it was.
//!
//! Comes from a line of the ledger, whose texts it borrows, or from a whole [`Record`], and goes to
//! what adds up millions of them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::{EndReason, Record, RecordKey};
use crate::energy::{ByComponent, Component, HourEnergy};
use crate::units::Microjoules;

/// One job on one node; each field as in [`Record`].
#[derive(Clone, Debug, PartialEq)]
pub struct Brief<'a> {
    /// `ClusterName` of slurm.conf.
    pub cluster: Cow<'a, str>,
    /// Raw Slurm job id.
    pub job_id: u32,
    /// Id of the array the job belongs to.
    pub array_job_id: Option<u32>,
    /// Index within the array.
    pub array_task_id: Option<u32>,
    /// Id of the heterogeneous job the job belongs to.
    pub het_job_id: Option<u32>,
    /// Restart count (requeues).
    pub restart: u32,
    /// Slurm's node name.
    pub node: Cow<'a, str>,
    /// Nodes of the job.
    pub n_nodes: u32,
    /// User name.
    pub user: Cow<'a, str>,
    /// Account charged, where known.
    pub account: Option<Cow<'a, str>>,
    /// Partition.
    pub partition: Option<Cow<'a, str>>,
    /// Quality of service.
    pub qos: Option<Cow<'a, str>>,
    /// Job name.
    pub job_name: Option<Cow<'a, str>>,
    /// First instant covered, UTC.
    pub start: DateTime<Utc>,
    /// Last instant covered, UTC.
    pub end: DateTime<Utc>,
    /// Seconds between the two.
    pub elapsed_s: f64,
    /// How the job ended.
    pub end_reason: EndReason,
    /// CPUs allocated on this node.
    pub alloc_cpus: u32,
    /// GPUs held, each with the share of it that was.
    pub gpus: f64,
    /// Energy charged to the job.
    pub energy_j: ByComponent<Microjoules>,
    /// Of it, the idle part.
    pub idle_j: ByComponent<Microjoules>,
    /// Energy of GPUs that were held but not used.
    pub gpu_unused_j: Microjoules,
    /// Energy by hour.
    pub energy_by_hour: Cow<'a, [HourEnergy]>,
    /// Power usage effectiveness the grams include.
    pub pue: f64,
    /// Carbon intensity the grams were reckoned with.
    pub intensity: BriefIntensity<'a>,
    /// Operational footprint in gCO2e.
    pub co2e_g: f64,
    /// Embodied footprint in gCO2e, where it is known.
    pub embodied_g: Option<f64>,
    /// Water in litres, where it is known.
    pub water_l: Option<f64>,
    /// Where each component's joules came from.
    pub method: ByComponent<Option<Cow<'a, str>>>,
    /// Share of the job's time for which its meters answered, 0 to 1.
    pub coverage: f64,
    /// Attribution policy.
    pub attribution: Cow<'a, str>,
    /// What is degraded or left out.
    pub warnings: Vec<Cow<'a, str>>,
}

/// The intensity that was used, and where it came from; each field as in
/// [`super::IntensityUsed`].
#[derive(Clone, Debug, PartialEq)]
pub struct BriefIntensity<'a> {
    /// gCO2e per kWh.
    pub g_per_kwh: f64,
    /// Zone it holds for.
    pub zone: Cow<'a, str>,
    /// Who says so.
    pub source: Cow<'a, str>,
}

impl Brief<'_> {
    /// The record's identity.
    pub fn key(&self) -> RecordKey {
        RecordKey {
            cluster: self.cluster.as_ref().to_owned(),
            job_id: self.job_id,
            restart: self.restart,
            node: self.node.as_ref().to_owned(),
        }
    }
}

impl<'a> From<&'a Record> for Brief<'a> {
    // Each field is named, so that a new one is thought of.
    #[rustfmt::skip]
    fn from(record: &'a Record) -> Self {
        let Record {
            v: _, kind: _, cluster, job_id, array_job_id, array_task_id, het_job_id, restart, node,
            n_nodes, user, uid: _, account, partition, qos, job_name, start, end, elapsed_s,
            end_reason, alloc_cpus, alloc_mem_mb: _, gpus, energy_j, idle_j, gpu_unused_j,
            energy_by_hour, pue, intensity, co2e_g, embodied_g, water_l, budget: _,
            account_budget: _, epochs: _, prediction: _, method, coverage, attribution, warnings,
            tracked: _, job_total: _, simulated: _, sci: _,
        } = record;
        let known = |name: &'a Option<String>| name.as_deref().map(text);
        let of = |c: Component| method.get(c.as_str()).map(|method| text(method));
        let [cpu, dram, gpu, rest] = Component::ALL.map(of);
        Brief {
            cluster: text(cluster), job_id: *job_id, array_job_id: *array_job_id,
            array_task_id: *array_task_id, het_job_id: *het_job_id, restart: *restart,
            node: text(node), n_nodes: *n_nodes, user: text(user),
            account: known(account), partition: known(partition),
            qos: known(qos), job_name: known(job_name), start: *start,
            end: *end, elapsed_s: *elapsed_s, end_reason: *end_reason, alloc_cpus: *alloc_cpus,
            gpus: gpus.iter().map(|gpu| gpu.share).sum(), energy_j: *energy_j, idle_j: *idle_j,
            gpu_unused_j: *gpu_unused_j, energy_by_hour: Cow::Borrowed(energy_by_hour), pue: *pue,
            intensity: BriefIntensity {
                g_per_kwh: intensity.g_per_kwh,
                zone: text(&intensity.zone),
                source: text(&intensity.source),
            },
            co2e_g: *co2e_g, embodied_g: *embodied_g, water_l: *water_l,
            method: ByComponent { cpu, dram, gpu, rest }, coverage: *coverage,
            attribution: text(attribution), warnings: warnings.iter().map(|warning| text(warning)).collect(),
        }
    }
}

fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
