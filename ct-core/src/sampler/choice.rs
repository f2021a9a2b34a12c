//! Which meters a node has, and which of them count.
//!
//! Each component has one meter, so that no joule is counted twice: for CPUs and memory the first of
//! powercap, perf, Cray's counters, hwmon and the model that can be opened; for GPUs their drivers,
//! else Cray's counters; for the node Cray's counter, the modules' hwmon, the BMC.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::search::{Answer, GpuPlaces, Search, Searches, Tell, without_known};
use crate::config::Config;
use crate::energy::Component;
use crate::sample::Moment;
use crate::source::cpu_model::{CpuModel, CpuModelSource};
use crate::source::procfs::{read_node_cpu, read_topology};
use crate::source::worker::{PATIENCE, Worker};
use crate::source::{Device, ReadError, Source, drm, hwmon, ipmi, perf, pm_counters, rapl};

/// Meters to read.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) sources: Vec<Box<dyn Source>>,
    /// What is not measured, or worse than it could be, and why.
    pub(super) problems: Vec<String>,
}

/// What only root opens, and keeps when it is root no more. None of it hangs.
pub struct RootMeters {
    chosen: Chosen,
    bmc: Result<Option<ipmi::Bmc>, ReadError>,
}

impl RootMeters {
    /// Opens RAPL, perf events and the device of the BMC.
    pub fn open(config: &Config) -> Self {
        let mut chosen = Chosen::default();
        let unopened = chosen.add_rapl(config);
        chosen.add_perf(config, &unopened);
        let bmc = match ipmi::discover(&config.path.sysfs) {
            Some(path) => ipmi::open(&path),
            None => Ok(None),
        };
        Self { chosen, bmc }
    }
}

/// All meters, and searches that have not answered in time.
pub(super) struct Choice {
    pub(super) chosen: Chosen,
    pub(super) searches: Searches,
    /// What the searches had to say, by their names.
    pub(super) said: Vec<(&'static str, Vec<String>)>,
}

/// Looks for all other meters; `clock` is a monotonic one.
pub(super) fn choose(
    config: &Config,
    root: RootMeters,
    places: &GpuPlaces,
    since: Moment,
    clock: fn() -> Duration,
) -> Choice {
    let mut searches = Searches::default();
    places.search(&mut searches, since);
    let mut choice = Choice { chosen: root.chosen, searches, said: Vec::new() };
    choice.wait();
    // Cray's counters of accelerators stand in where no driver counts them, not where it is late.
    let mut taken = choice.chosen.components();
    taken.extend(choice.searches.late().next().map(|_| Component::Gpu));
    let (sysfs, bmc) = (config.path.sysfs.clone(), root.bmc);
    let node = Search::start("the node's meter", since, move |tell: Tell<'_>| {
        search_node(&sysfs, taken, bmc, tell);
    });
    choice.searches.push(node);
    choice.wait();
    if !choice.chosen.components().contains(&Component::Cpu) {
        choice.chosen.add_cpu_model(config, clock);
    }
    choice
}

impl Choice {
    fn wait(&mut self) {
        for Answer { name, found, .. } in self.searches.wait() {
            self.said.push((name, found.problems));
            self.chosen.sources.extend(found.sources);
        }
    }
}

/// Looks for Cray's counters, the modules' hwmon and the BMC, in this order, for the components that
/// nobody counts yet; what is found is told before the next may hang.
fn search_node(
    sysfs: &Path,
    mut taken: BTreeSet<Component>,
    bmc: Result<Option<ipmi::Bmc>, ReadError>,
    tell: Tell<'_>,
) {
    let mut tell = |found: Chosen| {
        let components = found.components();
        tell(found);
        components
    };
    taken.extend(tell(Chosen::pm_counters(sysfs, &taken)));
    taken.extend(tell(Chosen::hwmon(sysfs, &taken)));
    if !taken.contains(&Component::Rest) {
        tell(Chosen::bmc(bmc));
    }
}

impl Chosen {
    /// Takes what another has.
    pub(super) fn extend(&mut self, other: Self) {
        self.sources.extend(other.sources);
        self.problems.extend(other.problems);
    }

    /// Takes what counts nothing that is counted already.
    pub(super) fn new_beside(self, known: &[Device]) -> Vec<Box<dyn Source>> {
        let mut known = known.to_vec();
        let mut sources = Vec::new();
        for source in self.sources {
            if let Some(source) = without_known(source, &known) {
                known.extend(
                    source.devices().iter().filter(|d| d.component == Component::Gpu).cloned(),
                );
                sources.push(source);
            }
        }
        sources
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.problems.is_empty()
    }

    pub(super) fn components(&self) -> BTreeSet<Component> {
        self.sources.iter().flat_map(|s| s.devices()).map(|d| d.component).collect()
    }

    fn has(&self, component: Component) -> bool {
        self.components().contains(&component)
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
    pub(super) fn nvml(library: Option<&Path>) -> Self {
        let mut chosen = Self::default();
        let found = crate::source::nvml::discover(library);
        chosen.problems.extend(found.problems.iter().map(|p| format!("not measured: {p}")));
        // Partitions and processes of all GPUs are asked here, of those by power, too.
        if let Some(gpus) = found.gpus.filter(|g| g.has_gpus()) {
            chosen.add_threaded("nvml", gpus);
        }
        // It has a thread of its own already, and reading it asks no driver.
        chosen.sources.extend(found.powered.map(|p| Box::new(p) as Box<dyn Source>));
        chosen
    }

    pub(super) fn drm(sysfs: &Path) -> Self {
        let mut chosen = Self::default();
        let opened = drm::open(&drm::discover(sysfs));
        chosen.note(&opened.problems);
        // A GPU that is being reset keeps who reads its counter waiting.
        if !opened.counted.devices().is_empty() {
            chosen.add_threaded("drm", opened.counted);
        }
        chosen.sources.extend(opened.powered.map(|p| Box::new(p) as Box<dyn Source>));
        chosen
    }

    fn pm_counters(sysfs: &Path, taken: &BTreeSet<Component>) -> Self {
        let mut chosen = Self::default();
        let mut found = pm_counters::discover(sysfs);
        found.retain(|counter| !taken.contains(&counter.component()));
        let (source, unopened) = pm_counters::PmCounters::open(sysfs, &found);
        chosen.note(&unopened);
        if !source.devices().is_empty() {
            chosen.add_threaded("pm_counters", source);
        }
        chosen
    }

    fn hwmon(sysfs: &Path, taken: &BTreeSet<Component>) -> Self {
        let mut chosen = Self::default();
        let found = hwmon::discover(sysfs);
        chosen.note(&found.problems);
        let mut opened = Vec::new();
        if !taken.contains(&Component::Cpu) {
            opened.push(hwmon::open_cpus(&found.cpus));
        }
        if !taken.contains(&Component::Rest) {
            opened.push(hwmon::open_node(&found.modules));
        }
        for (source, unopened) in opened {
            chosen.note(&unopened);
            chosen.sources.extend(source.map(|s| Box::new(s) as Box<dyn Source>));
        }
        chosen
    }

    fn bmc(bmc: Result<Option<ipmi::Bmc>, ReadError>) -> Self {
        let mut chosen = Self::default();
        match bmc.and_then(|bmc| bmc.map_or(Ok(None), ipmi::Bmc::start)) {
            Ok(source) => chosen.sources.extend(source.map(|s| Box::new(s) as Box<dyn Source>)),
            Err(problem) => chosen.problems.push(format!("no meter of the node: {problem}")),
        }
        chosen
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
