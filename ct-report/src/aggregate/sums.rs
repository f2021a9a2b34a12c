//! The sums of one group.

use std::ops::AddAssign;

use ct_core::energy::Component;

use super::exact::ExactSum;
use super::jobs::Jobs;
use super::part::{End, JobRef, Part};
use crate::intensity::reprice::Repriced;

/// What jobs used.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) jobs: Jobs,
    /// Of all components. 64 bits overflow at 5 GWh.
    pub(crate) energy_uj: u128,
    /// By component, in the order of [`Component::ALL`].
    pub(crate) by_component_uj: [u128; 4],
    pub(crate) measured_uj: u128,
    /// Idle part of the energy: what holding the node's parts cost.
    pub(crate) allocated_uj: u128,
    /// Energy of GPUs that were held but not used.
    pub(crate) gpu_unused_uj: u128,
    /// Energy of jobs that failed, by themselves or with their node.
    pub(crate) failed_uj: u128,
    /// Energy of jobs that were cancelled.
    pub(crate) cancelled_uj: u128,
    pub(crate) co2e_g: ExactSum,
    pub(crate) embodied_g: Option<ExactSum>,
    pub(crate) water_l: Option<ExactSum>,
    pub(crate) core_s: ExactSum,
    pub(crate) gpu_s: ExactSum,
    pub(crate) covered_s: ExactSum,
    /// Time on nodes.
    pub(crate) node_s: ExactSum,
    pub(crate) repriced: Option<Repriced>,
}

impl Sums {
    /// Adds a part of the record with this number; those of one record come one after another.
    pub(crate) fn add(&mut self, number: u64, job: &JobRef, part: &Part) {
        self.jobs.add(number, job, part.elapsed_s);
        self.covered_s += part.covered_s;
        self.node_s += part.elapsed_s;
        self.core_s += part.core_s;
        self.gpu_s += part.gpu_s;
        self.co2e_g += part.co2e_g;
        add_known(&mut self.water_l, part.water_l);
        add_known(&mut self.embodied_g, part.embodied_g);
        self.add_energy(job, part);
    }

    fn add_energy(&mut self, job: &JobRef, part: &Part) {
        self.allocated_uj += part.idle_uj;
        self.gpu_unused_uj += part.gpu_unused_uj;
        self.measured_uj += part.measured_uj;
        self.by_component_uj.iter_mut().zip(part.energy_uj).for_each(|(sum, uj)| *sum += uj);
        let uj: u128 = part.energy_uj.iter().sum();
        self.energy_uj += uj;
        match job.end {
            End::Cancelled => self.cancelled_uj += uj,
            End::Failed => self.failed_uj += uj,
            End::Other => {}
        }
    }

    /// Adds the sums of other records.
    pub(super) fn append(&mut self, other: Self) {
        self.jobs.append(other.jobs);
        self.energy_uj += other.energy_uj;
        let components = self.by_component_uj.iter_mut().zip(other.by_component_uj);
        components.for_each(|(sum, uj)| *sum += uj);
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

    /// Operational footprint in gCO2e.
    pub(crate) fn co2e_g(&self) -> f64 {
        self.co2e_g.value()
    }

    /// Embodied footprint in gCO2e; `None` where no record knows it.
    pub(crate) fn embodied_g(&self) -> Option<f64> {
        self.embodied_g.map(ExactSum::value)
    }

    /// Water in litres; `None` where no record knows it.
    pub(crate) fn water_l(&self) -> Option<f64> {
        self.water_l.map(ExactSum::value)
    }

    /// Footprint at the prices of the file that was named, in gCO2e.
    pub(crate) fn co2e_repriced_g(&self) -> Option<f64> {
        self.repriced.map(|sum| sum.co2e_g.value())
    }

    /// Share of the energy that the file had a price for.
    pub(crate) fn repriced_share(&self) -> Option<f64> {
        self.repriced.and_then(Repriced::share)
    }

    /// SCI with the job as functional unit, in gCO2e; `None` without jobs.
    pub(crate) fn sci_g_per_job(&self) -> Option<f64> {
        let n = self.n_jobs();
        (n > 0).then(|| (self.co2e_g() + self.embodied_g().unwrap_or(0.0)) / n as f64)
    }

    /// Jobs, each once however many nodes it had.
    pub(crate) fn n_jobs(&self) -> usize {
        self.jobs.n()
    }

    /// Time the jobs took, in hours.
    pub(crate) fn elapsed_h(&self) -> f64 {
        self.jobs.elapsed_s() / 3600.0
    }

    /// Energy of a component in microjoules.
    pub(crate) fn component_uj(&self, component: Component) -> u128 {
        let at = Component::ALL.iter().position(|c| *c == component);
        at.and_then(|at| self.by_component_uj.get(at)).copied().unwrap_or_default()
    }

    /// Energy of all components in microjoules.
    pub(crate) fn energy_uj(&self) -> u128 {
        self.energy_uj
    }

    /// Energy above the idle part: what running caused, in microjoules.
    pub(crate) fn dynamic_uj(&self) -> u128 {
        self.energy_uj().saturating_sub(self.allocated_uj)
    }

    /// CPUs held, times hours.
    pub(crate) fn core_hours(&self) -> f64 {
        self.core_s.value() / 3600.0
    }

    /// GPUs held, times hours.
    pub(crate) fn gpu_hours(&self) -> f64 {
        self.gpu_s.value() / 3600.0
    }

    /// Share of the energy that was measured rather than modelled; `None` without energy.
    pub(crate) fn measured_share(&self) -> Option<f64> {
        let all = self.energy_uj();
        (all > 0).then(|| self.measured_uj as f64 / all as f64)
    }

    /// Share of the time for which meters answered; `None` without time.
    pub(crate) fn coverage(&self) -> Option<f64> {
        let node_s = self.node_s.value();
        (node_s > 0.0).then(|| self.covered_s.value() / node_s)
    }
}

/// Adds a value that not every record knows.
pub(crate) fn add_known<T>(sum: &mut Option<ExactSum>, value: Option<T>)
where
    ExactSum: AddAssign<T>,
{
    if let Some(value) = value {
        *sum.get_or_insert_default() += value;
    }
}
