//! Which meters a node has, and which of them count.
//!
//! Each component has one meter, so that no joule is counted twice: for CPUs and memory the first of
//! powercap, perf, Cray's counters, hwmon and the model that can be opened; for GPUs their drivers,
//! else Cray's counters; for the node Cray's counter, the modules' hwmon, the BMC.

use std::time::Duration;

use crate::config::Config;
use crate::energy::Component;
use crate::source::cpu_model::{CpuModel, CpuModelSource};
use crate::source::procfs::{read_node_cpu, read_topology};
use crate::source::worker::{PATIENCE, Worker};
use crate::source::{ReadError, Source, drm, hwmon, ipmi, perf, pm_counters, rapl};

/// The meters to read.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) sources: Vec<Box<dyn Source>>,
    /// What is not measured, or worse than it could be, and why.
    pub(super) problems: Vec<String>,
}

/// Looks for meters and opens them; `clock` is a monotonic one.
pub(super) fn choose(config: &Config, clock: fn() -> Duration) -> Chosen {
    let mut chosen = Chosen::default();
    let unopened = chosen.add_rapl(config);
    chosen.add_perf(config, &unopened);
    #[cfg(feature = "nvml")]
    chosen.add_nvml(config);
    chosen.add_drm(config);
    chosen.add_pm_counters(config);
    chosen.add_hwmon(config);
    chosen.add_bmc(config);
    if !chosen.has(Component::Cpu) {
        chosen.add_cpu_model(config, clock);
    }
    chosen
}

impl Chosen {
    fn has(&self, component: Component) -> bool {
        self.sources.iter().any(|s| s.devices().iter().any(|d| d.component == component))
    }

    fn note(&mut self, problems: &[ReadError]) {
        self.problems.extend(problems.iter().map(ToString::to_string));
    }

    /// Takes a source that answers at once.
    fn add(&mut self, source: impl Source + 'static) {
        if !source.devices().is_empty() {
            self.sources.push(Box::new(source));
        }
    }

    /// Takes a source that may keep its reader waiting.
    fn add_threaded(&mut self, name: &str, source: impl Source + 'static) {
        match Worker::spawn(name, Box::new(source), PATIENCE) {
            Ok(worker) => self.sources.push(Box::new(worker)),
            Err(e) => self.problems.push(format!("{name} is not read: cannot start a thread: {e}")),
        }
    }

    /// Says which domains could not be opened; perf events may do for them.
    fn add_rapl(&mut self, config: &Config) -> Vec<ReadError> {
        let found = rapl::discover(&config.path.sysfs);
        let (source, unopened) = rapl::open(&found.domains);
        self.note(&found.problems);
        self.add(source);
        unopened
    }

    fn add_perf(&mut self, config: &Config, unopened_rapl: &[ReadError]) {
        let mut found = perf::discover(&config.path.sysfs);
        found.events.retain(|event| !self.has(event.component()));
        let (source, unopened) = perf::Perf::open(&found.events);
        // Who is no root reads neither: that is said of one of them.
        let is_instead = !source.devices().is_empty() || unopened_rapl.is_empty();
        self.note(if is_instead { &unopened } else { unopened_rapl });
        if !self.has(Component::Cpu) || !self.has(Component::Dram) {
            self.note(&found.problems);
        }
        self.add(source);
    }

    #[cfg(feature = "nvml")]
    fn add_nvml(&mut self, config: &Config) {
        let found = crate::source::nvml::discover(config.node.nvml_library.as_deref());
        self.problems.extend(found.problems.iter().map(|p| format!("not measured: {p}")));
        // Partitions and processes of all GPUs are asked here, of those by power, too.
        if let Some(gpus) = found.gpus.filter(|g| g.has_gpus()) {
            self.add_threaded("nvml", gpus);
        }
        // It has a thread of its own already, and reading it asks no driver.
        self.sources.extend(found.powered.map(|p| Box::new(p) as Box<dyn Source>));
    }

    fn add_drm(&mut self, config: &Config) {
        let opened = drm::open(&drm::discover(&config.path.sysfs));
        self.note(&opened.problems);
        // A GPU that is being reset keeps who reads its counter waiting.
        if !opened.counted.devices().is_empty() {
            self.add_threaded("drm", opened.counted);
        }
        self.sources.extend(opened.powered.map(|p| Box::new(p) as Box<dyn Source>));
    }

    fn add_pm_counters(&mut self, config: &Config) {
        let mut found = pm_counters::discover(&config.path.sysfs);
        found.retain(|counter| !self.has(counter.component()));
        let (source, unopened) = pm_counters::PmCounters::open(&config.path.sysfs, &found);
        self.note(&unopened);
        if !source.devices().is_empty() {
            self.add_threaded("pm_counters", source);
        }
    }

    fn add_hwmon(&mut self, config: &Config) {
        let found = hwmon::discover(&config.path.sysfs);
        self.note(&found.problems);
        let mut opened = Vec::new();
        if !self.has(Component::Cpu) {
            opened.push(hwmon::open_cpus(&found.cpus));
        }
        if !self.has(Component::Rest) {
            opened.push(hwmon::open_node(&found.modules));
        }
        for (source, unopened) in opened {
            self.note(&unopened);
            self.sources.extend(source.map(|s| Box::new(s) as Box<dyn Source>));
        }
    }

    fn add_bmc(&mut self, config: &Config) {
        if self.has(Component::Rest) {
            return;
        }
        let Some(path) = ipmi::discover(&config.path.sysfs) else { return };
        match ipmi::open(&path) {
            Ok(source) => self.sources.extend(source.map(|s| Box::new(s) as Box<dyn Source>)),
            Err(problem) => self.problems.push(format!("no meter of the node: {problem}")),
        }
    }

    fn add_cpu_model(&mut self, config: &Config, clock: fn() -> Duration) {
        let procfs = &config.path.procfs;
        let started = read_node_cpu(procfs).and_then(|cpu| {
            let topology = read_topology(&config.path.sysfs, procfs, cpu.n_cpus);
            let power = &config.power;
            let model = CpuModel::new(&topology, power.cpu_tdp_watts, power.cpu_idle_watts);
            CpuModelSource::start(model, &topology, procfs, clock)
        });
        match started {
            Ok(source) => self.sources.push(Box::new(source)),
            Err(e) => self.problems.push(format!("no CPU energy: {e}")),
        }
    }
}

#[cfg(test)]
mod tests;
