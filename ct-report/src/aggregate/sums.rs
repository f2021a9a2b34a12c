//! The sums of one group.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use ct_core::energy::Component;
use ct_core::record::{EndReason, Record};

use super::slice::Slice;
use crate::intensity::reprice::Repriced;

/// A job over several nodes: its cluster by a hash, id, restart count; commands outside of Slurm are
/// told apart by their start.
type JobKey = (u64, u32, u32, i64);

/// What jobs used.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// Jobs of one node.
    n_single: usize,
    /// Their time.
    elapsed_s: f64,
    /// Jobs over several nodes, with the time on the node that took longest.
    longest_s: HashMap<JobKey, f64>,
    /// The record of which a slice was added last, by its number, and the time of its slices.
    last: Option<(u64, f64)>,
    /// By component, in the order of [`Component::ALL`]. 64 bits overflow at 5 GWh.
    energy_uj: [u128; 4],
    measured_uj: u128,
    /// Idle part of the energy: what holding the node's parts cost.
    pub(crate) allocated_uj: u128,
    /// Energy of GPUs that were held but not used.
    pub(crate) gpu_unused_uj: u128,
    /// Energy of jobs that failed, by themselves or with their node.
    pub(crate) failed_uj: u128,
    /// Energy of jobs that were cancelled.
    pub(crate) cancelled_uj: u128,
    /// Operational footprint in gCO2e.
    pub(crate) co2e_g: f64,
    /// Embodied footprint in gCO2e; `None` where no record knows it.
    pub(crate) embodied_g: Option<f64>,
    /// Water in litres; `None` where no record knows it.
    pub(crate) water_l: Option<f64>,
    core_s: f64,
    gpu_s: f64,
    covered_s: f64,
    node_s: f64,
    repriced: Option<Repriced>,
}

impl Sums {
    /// Adds a slice of the record with this number; those of one record come one after another.
    pub(super) fn add(&mut self, number: u64, record: &Record, slice: &Slice) {
        let elapsed_s = record.elapsed_s * slice.time_share;
        let before = self.last.filter(|(last, _)| *last == number).map(|(_, elapsed_s)| elapsed_s);
        let of_record = before.unwrap_or_default() + elapsed_s;
        self.last = Some((number, of_record));
        if record.n_nodes > 1 {
            let longest = self.longest_s.entry(job_key(record)).or_default();
            *longest = longest.max(of_record);
        } else {
            self.n_single += usize::from(before.is_none());
            self.elapsed_s += elapsed_s;
        }
        self.covered_s += elapsed_s * record.coverage;
        self.node_s += elapsed_s;
        self.add_time(record, elapsed_s);
        self.add_footprint(record, slice);
        self.add_energy(record, slice);
    }

    fn add_time(&mut self, record: &Record, elapsed_s: f64) {
        self.core_s += elapsed_s * f64::from(record.alloc_cpus);
        self.gpu_s += elapsed_s * record.gpus.iter().map(|gpu| gpu.share).sum::<f64>();
    }

    fn add_footprint(&mut self, record: &Record, slice: &Slice) {
        let share = energy_share(record, slice);
        self.co2e_g += record.co2e_g * share;
        add_known(&mut self.water_l, record.water_l.map(|l| l * share));
        // A node is made of the same stuff whatever it draws.
        add_known(&mut self.embodied_g, record.embodied_g.map(|g| g * slice.time_share));
    }

    fn add_energy(&mut self, record: &Record, slice: &Slice) {
        self.allocated_uj += slice.idle_uj;
        self.gpu_unused_uj += slice.gpu_unused_uj;
        let before = self.energy_uj();
        for (sum, component) in self.energy_uj.iter_mut().zip(Component::ALL) {
            let uj = u128::from(slice.energy.get(component).as_u64());
            *sum += uj;
            if is_measured(record, component) {
                self.measured_uj += uj;
            }
        }
        let uj = self.energy_uj() - before;
        match record.end_reason {
            EndReason::Cancelled => self.cancelled_uj += uj,
            reason if is_failure(reason) => self.failed_uj += uj,
            _ => {}
        }
    }

    /// Adds the sums of other records.
    pub(super) fn append(&mut self, other: Self) {
        self.n_single += other.n_single;
        self.elapsed_s += other.elapsed_s;
        for (job, elapsed_s) in other.longest_s {
            let longest = self.longest_s.entry(job).or_default();
            *longest = longest.max(elapsed_s);
        }
        self.last = None;
        self.energy_uj.iter_mut().zip(other.energy_uj).for_each(|(sum, uj)| *sum += uj);
        self.measured_uj += other.measured_uj;
        self.allocated_uj += other.allocated_uj;
        self.gpu_unused_uj += other.gpu_unused_uj;
        self.failed_uj += other.failed_uj;
        self.cancelled_uj += other.cancelled_uj;
        self.co2e_g += other.co2e_g;
        add_known(&mut self.embodied_g, other.embodied_g);
        add_known(&mut self.water_l, other.water_l);
        self.core_s += other.core_s;
        self.gpu_s += other.gpu_s;
        if let Some(part) = other.repriced {
            self.add_repriced(part);
        }
        self.covered_s += other.covered_s;
        self.node_s += other.node_s;
    }

    pub(super) fn add_repriced(&mut self, part: Repriced) {
        *self.repriced.get_or_insert_default() += part;
    }

    /// Footprint at the prices of the file that was named, in gCO2e.
    pub(crate) fn co2e_repriced_g(&self) -> Option<f64> {
        self.repriced.map(|sum| sum.co2e_g)
    }

    /// Share of the energy that the file had a price for.
    pub(crate) fn repriced_share(&self) -> Option<f64> {
        self.repriced.and_then(Repriced::share)
    }

    /// SCI with the job as functional unit, in gCO2e; `None` without jobs.
    pub(crate) fn sci_g_per_job(&self) -> Option<f64> {
        let n = self.n_jobs();
        (n > 0).then(|| (self.co2e_g + self.embodied_g.unwrap_or(0.0)) / n as f64)
    }

    /// Jobs, each once however many nodes it had.
    pub(crate) fn n_jobs(&self) -> usize {
        self.n_single + self.longest_s.len()
    }

    /// Time the jobs took, in hours.
    pub(crate) fn elapsed_h(&self) -> f64 {
        // Sorted, so that the sum does not depend on the order of a hash map.
        let mut several: Vec<f64> = self.longest_s.values().copied().collect();
        several.sort_by(f64::total_cmp);
        (self.elapsed_s + several.iter().sum::<f64>()) / 3600.0
    }

    /// Energy of a component in microjoules.
    pub(crate) fn component_uj(&self, component: Component) -> u128 {
        let at = Component::ALL.iter().position(|c| *c == component);
        at.and_then(|at| self.energy_uj.get(at)).copied().unwrap_or_default()
    }

    /// Energy of all components in microjoules.
    pub(crate) fn energy_uj(&self) -> u128 {
        self.energy_uj.iter().sum()
    }

    /// Energy above the idle part: what running caused, in microjoules.
    pub(crate) fn dynamic_uj(&self) -> u128 {
        self.energy_uj().saturating_sub(self.allocated_uj)
    }

    /// CPUs held, times hours.
    pub(crate) fn core_hours(&self) -> f64 {
        self.core_s / 3600.0
    }

    /// GPUs held, times hours.
    pub(crate) fn gpu_hours(&self) -> f64 {
        self.gpu_s / 3600.0
    }

    /// Share of the energy that was measured rather than modelled; `None` without energy.
    pub(crate) fn measured_share(&self) -> Option<f64> {
        let all = self.energy_uj();
        (all > 0).then(|| self.measured_uj as f64 / all as f64)
    }

    /// Share of the time for which meters answered; `None` without time.
    pub(crate) fn coverage(&self) -> Option<f64> {
        (self.node_s > 0.0).then(|| self.covered_s / self.node_s)
    }
}

fn job_key(record: &Record) -> JobKey {
    let mut cluster = DefaultHasher::new();
    record.cluster.hash(&mut cluster);
    let outside = if record.job_id == 0 { record.start.timestamp_millis() } else { 0 };
    (cluster.finish(), record.job_id, record.restart, outside)
}

/// Adds a value that not every record knows.
fn add_known(sum: &mut Option<f64>, value: Option<f64>) {
    *sum = value.map_or(*sum, |value| Some(sum.unwrap_or_default() + value));
}

/// The slice's share of the record's energy, or of its time where it used none.
fn energy_share(record: &Record, slice: &Slice) -> f64 {
    let sum = |energy: &ct_core::energy::ByComponent<ct_core::units::Microjoules>| {
        Component::ALL.iter().map(|c| u128::from(energy.get(*c).as_u64())).sum::<u128>()
    };
    match sum(&record.energy_j) {
        0 => slice.time_share,
        all => sum(&slice.energy) as f64 / all as f64,
    }
}

/// Whether a job's work is lost through a fault of its own or of its node.
fn is_failure(reason: EndReason) -> bool {
    matches!(
        reason,
        EndReason::Failed
            | EndReason::Timeout
            | EndReason::OutOfMemory
            | EndReason::Deadline
            | EndReason::NodeFail
            | EndReason::BootFail
    )
}

fn is_measured(record: &Record, component: Component) -> bool {
    let method = record.method.get(component.as_str());
    method.is_some_and(|m| !m.starts_with("modelled") && !m.starts_with("simulated"))
}
