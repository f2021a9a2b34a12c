//! Simulated components in what a job shows: logs, blocks, epochs, prediction.
//!
//! What it is charged never changes: an owner could write itself 0 W otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Job, local};
use crate::energy::ByComponent;
use crate::log::writer;
use crate::option::Simulated;
use crate::record::{self, SimulatedComponent};
use crate::sample::Moment;
use crate::units::Microjoules;

impl Job {
    /// Energy as the job's owner asked to see it: of the chosen components, a simulated CPU in place
    /// of all that is no GPU, a simulated GPU in place of the GPUs.
    pub(super) fn shown(
        &self,
        metered: ByComponent<Microjoules>,
        duration: Duration,
    ) -> ByComponent<Microjoules> {
        let zero = ByComponent::default();
        let chosen = self.settings.components;
        let mut out = match self.simulated_cpu() {
            Some(cpu) => ByComponent { cpu: cpu.energy(duration), ..zero },
            None if chosen.cpu => metered,
            None => zero,
        };
        out.gpu = match self.simulated_gpu() {
            Some(gpu) => gpu.energy(duration),
            None if chosen.gpu => metered.gpu,
            None => Microjoules::ZERO,
        };
        out
    }

    /// The simulated CPU, where this node shows the job's CPUs at all.
    pub(super) fn simulated_cpu(&self) -> Option<&Simulated> {
        let is_shown = self.is_seen() && self.settings.components.cpu;
        self.settings.sim_cpu.as_ref().filter(|_| is_shown)
    }

    /// The simulated GPU, where this node shows the job's GPUs at all.
    pub(super) fn simulated_gpu(&self) -> Option<&Simulated> {
        let is_shown = self.is_seen() && self.settings.components.gpu;
        self.settings.sim_gpu.as_ref().filter(|_| is_shown)
    }

    /// Whether its owner sees anything of it from this node.
    pub(super) fn is_seen(&self) -> bool {
        self.tracked && self.is_first_node
    }

    /// Says in the logs what is simulated, in upstream's words; the text for the job's output.
    pub(super) fn log_simulated(&mut self, at: Moment) -> String {
        let cpu = self.simulated_cpu().map(writer::simulated_cpu);
        let gpu = self.simulated_gpu().map(writer::simulated_gpu);
        let mut text = String::new();
        for sentence in [gpu, cpu].into_iter().flatten() {
            self.log.standard(local(at), &sentence);
            text.push_str(&self.log.output(local(at), &sentence));
        }
        text
    }

    /// What the record says of simulated components.
    pub(super) fn record_simulated(&self) -> Option<record::Simulated> {
        let component = |simulated: &Simulated| SimulatedComponent {
            name: simulated.name.clone(),
            method: simulated.method(),
            power_w: simulated.power().as_watts(),
            energy_j: simulated.energy(self.elapsed()),
        };
        let (cpu, gpu) = (self.simulated_cpu(), self.simulated_gpu());
        (cpu.is_some() || gpu.is_some())
            .then(|| record::Simulated { cpu: cpu.map(component), gpu: gpu.map(component) })
    }

    /// Where the joules that the owner is shown come from: [`Job::methods`], with what is simulated.
    pub fn shown_methods(&self, context: Context<'_>) -> BTreeMap<String, String> {
        let mut methods = self.methods(context);
        if let Some(cpu) = self.simulated_cpu() {
            methods.retain(|component, _| component != "dram" && component != "rest");
            methods.insert("cpu".to_owned(), cpu.method());
        }
        if let Some(gpu) = self.simulated_gpu() {
            methods.insert("gpu".to_owned(), gpu.method());
        }
        methods
    }
}
