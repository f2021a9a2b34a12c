//! Reads all meters at one instant and differences them.
//!
//! Owns the sources. A device that does not answer contributes nothing to this interval and is
//! booked at its next answer, as its counter went on; what counts only while we run is lost then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::counter::difference;
use crate::sample::{DeviceEnergy, Interval, Moment};
use crate::source::cpu_model::{CpuModel, CpuModelSource};
use crate::source::procfs::{read_node_cpu, read_topology};
use crate::source::{Device, GpuProcess, Partition, Source, rapl};
use crate::units::Microjoules;

/// The instant now.
pub fn now() -> Moment {
    Moment { since_boot: since_boot(), wall: Utc::now() }
}

fn since_boot() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(t.tv_nsec).unwrap_or_default())
}

/// The last sample, as it is kept across a restart of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastSample {
    /// When it was taken.
    pub at: Moment,
    /// Raw counters that go on without us, by device id.
    pub counters: BTreeMap<String, u64>,
}

/// The meters of this node.
pub struct Sampler {
    sources: Vec<Box<dyn Source>>,
    devices: Vec<Device>,
    procfs: PathBuf,
    last: Option<Last>,
    n_cpus: u32,
    problems: BTreeSet<String>,
    failures: Vec<String>,
}

struct Last {
    at: Moment,
    counters: Vec<Reading>,
    busy: Option<Duration>,
}

/// The last reading of a device that succeeded, and when that was.
type Reading = Option<(u64, Moment)>;

/// More than a CPU package or its memory draws: bounds the time in which a counter wraps.
const MOST_WATTS: f64 = 1000.0;

impl Sampler {
    /// A sampler over these sources.
    pub fn new(sources: Vec<Box<dyn Source>>, procfs: &Path) -> Self {
        let devices = sources.iter().flat_map(|s| s.devices().iter().cloned()).collect();
        let n_cpus = read_node_cpu(procfs).map_or(1, |c| c.n_cpus.max(1));
        let procfs = procfs.to_owned();
        Self {
            sources,
            devices,
            procfs,
            last: None,
            n_cpus,
            problems: BTreeSet::new(),
            failures: Vec::new(),
        }
    }

    /// Discovers and opens every meter of this node; needs root for RAPL.
    pub fn open(config: &Config) -> Self {
        let mut problems = Vec::new();
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        let found = rapl::discover(&config.path.sysfs);
        problems.extend(found.problems.iter().map(ToString::to_string));
        let (rapl, unopened) = rapl::open(&found.domains);
        problems.extend(unopened.iter().map(ToString::to_string));
        let has_cpu = rapl.devices().iter().any(|d| d.component == crate::energy::Component::Cpu);
        if !rapl.devices().is_empty() {
            sources.push(Box::new(rapl));
        }
        if !has_cpu {
            sources.extend(cpu_model(config, &mut problems));
        }
        #[cfg(feature = "nvml")]
        sources.extend(nvml(config, &mut problems));
        let mut sampler = Self::new(sources, &config.path.procfs);
        sampler.problems.extend(problems);
        sampler
    }

    /// Every device, in the order of [`Interval::devices`].
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Number of CPUs of the node.
    pub fn n_cpus(&self) -> u32 {
        self.n_cpus
    }

    /// What is degraded on this node for good.
    pub fn problems(&self) -> &BTreeSet<String> {
        &self.problems
    }

    /// What failed at the last sample.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// When the last sample was taken.
    pub fn last_at(&self) -> Option<Moment> {
        self.last.as_ref().map(|l| l.at)
    }

    /// How the GPUs of this node are partitioned now.
    pub fn partitions(&mut self) -> Vec<Partition> {
        self.sources.iter_mut().flat_map(|s| s.partitions()).collect()
    }

    /// Which processes use the GPUs of this node now.
    pub fn gpu_processes(&mut self) -> Vec<GpuProcess> {
        self.sources.iter_mut().flat_map(|s| s.processes()).collect()
    }

    /// The longest time between two samples in which no counter can wrap twice.
    pub fn longest_interval(&self) -> Duration {
        let longest = self.devices.iter().filter_map(longest_gap).min();
        longest.map_or(Duration::from_secs(3600), |gap| gap / 2)
    }

    /// Samples now; the interval since the last sample, if there was one.
    pub fn sample(&mut self) -> Option<Interval> {
        self.failures.clear();
        let readings: Vec<_> = self.sources.iter_mut().flat_map(|s| s.read()).collect();
        // Time is taken after the counters: a slow meter's wait belongs to the interval it ends.
        let at = now();
        let busy = self.read_busy();
        let mut counters = Vec::with_capacity(readings.len());
        for (device, reading) in self.devices.iter().zip(readings) {
            if let Err(e) = &reading {
                self.failures.push(format!("{}: {e}", device.name));
            }
            counters.push(reading.ok().map(|count| (count, at)));
        }
        let interval = self.last.as_ref().map(|last| self.interval(last, at, &counters, busy));
        self.remember(at, counters, busy);
        interval
    }

    fn read_busy(&mut self) -> Option<Duration> {
        match read_node_cpu(&self.procfs) {
            Ok(cpu) => Some(cpu.busy),
            Err(e) => {
                self.failures.push(e.to_string());
                None
            }
        }
    }

    fn interval(
        &self,
        last: &Last,
        at: Moment,
        counters: &[Reading],
        busy: Option<Duration>,
    ) -> Interval {
        let device_energy = |((device, earlier), later): ((&Device, &Reading), &Reading)| {
            let (Some((a, since)), Some((b, _))) = (earlier, later) else {
                return DeviceEnergy { span: at.since(&last.at), ..DeviceEnergy::default() };
            };
            let counts = difference(*a, *b, device.modulus);
            let span = at.since(since);
            let is_sure = longest_gap(device).is_none_or(|gap| span <= gap);
            DeviceEnergy {
                energy: Microjoules::new(counts.unwrap_or(0).saturating_mul(device.unit_uj)),
                answered: counts.is_some() && is_sure,
                span,
            }
        };
        Interval {
            start: last.at,
            end: at,
            devices: self
                .devices
                .iter()
                .zip(&last.counters)
                .zip(counters)
                .map(device_energy)
                .collect(),
            busy: last.busy.zip(busy).map(|(a, b)| b.saturating_sub(a)),
        }
    }

    fn remember(&mut self, at: Moment, mut counters: Vec<Reading>, busy: Option<Duration>) {
        let old = self.last.take();
        if let Some(old) = &old {
            for (new, old) in counters.iter_mut().zip(&old.counters) {
                *new = new.or(*old);
            }
        }
        let busy = busy.or(old.and_then(|o| o.busy));
        self.last = Some(Last { at, counters, busy });
    }

    /// What to keep for the daemon's next life.
    pub fn last_sample(&self) -> Option<LastSample> {
        let last = self.last.as_ref()?;
        let kept = self.devices.iter().zip(&last.counters).filter(|(d, _)| d.outlives_us);
        let counters = kept.filter_map(|(d, c)| Some((d.id.clone(), (*c)?.0))).collect();
        Some(LastSample { at: last.at, counters })
    }

    /// Takes up the last sample of an earlier life, of the same boot: the next interval is the gap.
    pub fn resume(&mut self, earlier: &LastSample) {
        let counter = |d: &Device| {
            let count = earlier.counters.get(&d.id).filter(|_| d.outlives_us)?;
            Some((*count, earlier.at))
        };
        let counters = self.devices.iter().map(counter).collect();
        self.last = Some(Last { at: earlier.at, counters, busy: None });
    }
}

/// The time in which a device's counter cannot wrap twice.
fn longest_gap(device: &Device) -> Option<Duration> {
    let joules = device.modulus?.saturating_mul(device.unit_uj) as f64 * 1e-6;
    Duration::try_from_secs_f64(joules / MOST_WATTS).ok()
}

fn cpu_model(config: &Config, problems: &mut Vec<String>) -> Option<Box<dyn Source>> {
    let procfs = &config.path.procfs;
    let started = read_node_cpu(procfs).and_then(|cpu| {
        let topology = read_topology(&config.path.sysfs, procfs, cpu.n_cpus);
        let power = &config.power;
        let model = CpuModel::new(&topology, power.cpu_tdp_watts, power.cpu_idle_watts);
        CpuModelSource::start(model, &topology, procfs, since_boot)
    });
    match started {
        Ok(source) => Some(Box::new(source)),
        Err(e) => {
            problems.push(format!("no CPU energy: {e}"));
            None
        }
    }
}

#[cfg(feature = "nvml")]
fn nvml(config: &Config, problems: &mut Vec<String>) -> Vec<Box<dyn Source>> {
    use crate::source::{nvml, worker};
    let found = nvml::discover(config.node.nvml_library.as_deref());
    problems.extend(found.problems.iter().map(|p| format!("not measured: {p}")));
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    // Partitions and processes of all GPUs are asked here, of those by power, too.
    if let Some(gpus) = found.gpus.filter(|g| g.has_gpus()) {
        match worker::Worker::spawn("nvml", Box::new(gpus), worker::PATIENCE) {
            Ok(worker) => sources.push(Box::new(worker)),
            Err(e) => problems.push(format!("no GPU energy: cannot start a thread: {e}")),
        }
    }
    // It has a thread of its own already, and reading it asks no driver.
    sources.extend(found.powered.map(|p| Box::new(p) as Box<dyn Source>));
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Component;
    use crate::source::ReadError;

    struct Scripted(Vec<Device>, Vec<Vec<Option<u64>>>);

    impl Source for Scripted {
        fn devices(&self) -> &[Device] {
            &self.0
        }
        fn read(&mut self) -> Vec<Result<u64, ReadError>> {
            let gone = || ReadError::Gone { path: "x".into() };
            self.1.remove(0).into_iter().map(|v| v.ok_or_else(gone)).collect()
        }
    }

    fn device(id: &str, unit_uj: u64, outlives_us: bool) -> Device {
        Device {
            unit_uj,
            modulus: Some(1_000_000_000),
            outlives_us,
            ..Device::new(Component::Cpu, id, id, "m")
        }
    }

    fn sampler(devices: Vec<Device>, script: &[&[Option<u64>]]) -> Sampler {
        let script = script.iter().map(|r| r.to_vec()).collect();
        Sampler::new(vec![Box::new(Scripted(devices, script))], Path::new("/nonexistent"))
    }

    fn energies(interval: &Interval) -> Vec<(u64, bool)> {
        interval.devices.iter().map(|d| (d.energy.as_u64(), d.answered)).collect()
    }

    #[test]
    fn units_wraps_and_the_first_sample() {
        let devices = vec![device("a", 1, true), device("b", 1000, true)];
        let mut s = sampler(devices, &[&[Some(999_999_990), Some(5)], &[Some(10), Some(7)]]);
        assert!(s.sample().is_none());
        assert_eq!(energies(&s.sample().unwrap()), [(20, true), (2000, true)]);
    }

    #[test]
    fn a_device_that_misses_a_sample_is_booked_at_the_next() {
        let mut s = sampler(vec![device("a", 1, true)], &[&[Some(1)], &[None], &[Some(9)]]);
        s.sample();
        assert_eq!(energies(&s.sample().unwrap()), [(0, false)]);
        assert!(s.failures().iter().any(|p| p.starts_with("a: ")));
        assert_eq!(energies(&s.sample().unwrap()), [(8, true)]);
        assert!(!s.failures().iter().any(|p| p.starts_with("a: ")));
    }

    #[test]
    fn a_restart_books_the_gap_from_counters_that_went_on() {
        let devices = || vec![device("a", 1, true), device("soft", 1, false)];
        let mut first = sampler(devices(), &[&[Some(10), Some(50)]]);
        first.sample();
        let kept = first.last_sample().unwrap();
        assert_eq!(kept.counters.len(), 1);
        let mut second = sampler(devices(), &[&[Some(40), Some(3)]]);
        second.resume(&kept);
        assert_eq!(energies(&second.sample().unwrap()), [(30, true), (0, false)]);
    }
}
