//! Reads all meters at one instant and differences them.
//!
//! Owns the sources. `choice` says which there are, `search` finds those that may keep us waiting,
//! `health` says what a reading is worth, `rest` what a meter of the whole node adds. A device that does
//! not answer contributes nothing to this interval and is booked at its next answer, as its counter went
//! on; what counts only while we run is lost.

mod choice;
mod health;
mod rest;
mod search;

pub use choice::RootMeters;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Policy};
use crate::energy::Component;
use crate::sample::{CpuBusy, DeviceEnergy, Interval, Moment};
use crate::source::procfs::{StatFile, read_node_cpu};
use crate::source::{Device, GpuProcess, Partition, ReadError, Source};
use choice::{Choice, Chosen};
use health::{Reading, Step, Track, longest_gap, timestamp};
use rest::{KeptRest, Rest};
use search::{Answer, GpuPlaces, Searches};

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
    /// What a meter of the whole node counted and was not booked yet.
    #[serde(default)]
    pub rest: KeptRest,
    /// Instants of counters that were read before the last sample and not at it, by device id.
    #[serde(default)]
    pub read_at: BTreeMap<String, Moment>,
    /// How long the CPUs were busy since boot.
    #[serde(default)]
    pub busy: Option<CpuBusy>,
}

/// The meters of this node.
pub struct Sampler {
    sources: Vec<Box<dyn Source>>,
    devices: Vec<Device>,
    tracks: Vec<Track>,
    /// Of these devices; it is asked for at every sample.
    longest_interval: Duration,
    rest: Rest,
    /// Where the node's CPU time is, if a split needs it.
    stat: Option<StatFile>,
    last: Option<Last>,
    n_cpus: u32,
    problems: BTreeSet<String>,
    /// What searches for meters had to say, by their names.
    said: BTreeMap<&'static str, Vec<String>>,
    searches: Searches,
    /// Where GPUs are looked for, and when they were last.
    places: Option<(GpuPlaces, Moment)>,
    /// How often meters were found since the start.
    n_found: u64,
    failures: Vec<String>,
    /// Outages of searches that ended since the last sample.
    over: Vec<String>,
    /// Since when, and why, the CPU time of the node is not known.
    busy_outage: Option<(Moment, String)>,
}

/// What all meters said at one instant, before anything is made of it.
#[derive(Debug)]
pub struct Look {
    /// When it was.
    pub at: Moment,
    readings: Vec<Result<u64, ReadError>>,
    busy: Option<Result<CpuBusy, ReadError>>,
}

impl Look {
    /// Whether every meter answered.
    pub fn is_whole(&self) -> bool {
        self.readings.iter().all(Result::is_ok) && self.busy.as_ref().is_none_or(Result::is_ok)
    }
}

/// The last sample, but for the counters.
struct Last {
    at: Moment,
    busy: Option<CpuBusy>,
}

impl Sampler {
    /// A sampler over these sources.
    pub fn new(sources: Vec<Box<dyn Source>>, procfs: &Path) -> Self {
        let devices: Vec<Device> =
            sources.iter().flat_map(|s| s.devices().iter().cloned()).collect();
        Self {
            sources,
            tracks: devices.iter().map(|_| Track::default()).collect(),
            longest_interval: longest_interval(&devices),
            devices,
            rest: Rest::default(),
            stat: Some(StatFile::new(procfs)),
            last: None,
            n_cpus: read_node_cpu(procfs).map_or(1, |c| c.n_cpus.max(1)),
            problems: BTreeSet::new(),
            said: BTreeMap::new(),
            searches: Searches::default(),
            places: None,
            n_found: 0,
            failures: Vec::new(),
            over: Vec::new(),
            busy_outage: None,
        }
    }

    /// Discovers and opens every meter of this node; needs root for RAPL, perf events and the BMC.
    pub fn open(config: &Config) -> Self {
        Self::open_beside(RootMeters::open(config), config)
    }

    /// Discovers and opens every meter beside those that root has opened. Drivers that do not answer
    /// in time are left to themselves, and taken when they do.
    pub fn open_beside(root: RootMeters, config: &Config) -> Self {
        let places = GpuPlaces {
            sysfs: config.path.sysfs.clone(),
            nvml_library: config.node.nvml_library.clone(),
        };
        let at = now();
        let Choice { chosen, searches, said } =
            choice::choose(config, root, &places, at, since_boot);
        let mut sampler = Self::new(chosen.sources, &config.path.procfs);
        sampler.problems.extend(chosen.problems);
        sampler.searches = searches;
        sampler.places = Some((places, at));
        for (name, problems) in said {
            sampler.said.entry(name).or_default().extend(problems);
        }
        // On a node with many CPUs the kernel takes a millisecond to tell their time.
        if matches!(config.attribution.policy, Policy::Allocated | Policy::Node) {
            sampler.stat = None;
        }
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

    /// What is degraded on this node, until more meters are found.
    pub fn problems(&self) -> BTreeSet<String> {
        self.problems.iter().chain(self.said.values().flatten()).cloned().collect()
    }

    /// How often meters were found since the start: then [`Sampler::devices`] are more than before.
    pub fn n_found(&self) -> u64 {
        self.n_found
    }

    /// Whether meters of GPUs, or of the node, are still looked for and did not answer in time.
    pub fn is_searching(&self) -> bool {
        self.searches.late().next().is_some()
    }

    /// Whether GPUs were not looked for in this time.
    pub fn may_look_for_gpus(&self, pause: Duration) -> bool {
        self.places.as_ref().is_some_and(|(_, last)| now().since(last) >= pause)
    }

    /// Looks for GPUs again, on threads: one is missing. What is found is there with a later sample.
    pub fn look_for_gpus(&mut self) {
        let Some((places, last)) = &mut self.places else { return };
        *last = now();
        places.search(&mut self.searches, *last);
    }

    /// Takes meters that answered late, or whose driver came after the start. A look from before it has
    /// no reading of them.
    pub fn take_found(&mut self) {
        if self.searches.is_empty() {
            return;
        }
        let answers = self.searches.take_found(&now());
        for Answer { name, mut found, outage } in answers {
            self.over.extend(outage);
            self.said.insert(name, std::mem::take(&mut found.problems));
            self.add(found);
        }
    }

    fn add(&mut self, found: Chosen) {
        let sources = found.new_beside(&self.devices);
        for source in sources {
            for device in source.devices() {
                log::info!("{} ({}): found", device.name, device.id);
                self.devices.push(device.clone());
                self.tracks.push(Track::default());
            }
            self.sources.push(source);
            self.n_found += 1;
        }
        self.longest_interval = longest_interval(&self.devices);
    }

    /// Outages that ended with the last sample: of what device, from when to when, what is lost.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Outages that go on.
    pub fn outages(&self) -> impl Iterator<Item = String> {
        let busy = self.busy_outage.as_ref().map(|(since, reason)| {
            format!("{reason}; the system's CPU time is not known since {}", timestamp(since))
        });
        let of = |(track, device): (&Track, &Device)| track.outage(device);
        let searches = self.searches.late().filter_map(search::Search::outage);
        self.tracks.iter().zip(&self.devices).filter_map(of).chain(busy).chain(searches)
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
        self.longest_interval
    }

    /// Samples now; the interval since the last sample, if there was one.
    pub fn sample(&mut self) -> Option<Interval> {
        self.take_found();
        let look = self.look();
        self.take(look)
    }

    /// Reads everything now, and makes nothing of it yet.
    pub fn look(&mut self) -> Look {
        let readings = self.read();
        // Time is taken after the counters: a slow meter's wait belongs to the interval it ends.
        let at = now();
        Look { at, readings, busy: self.stat.as_mut().map(StatFile::read) }
    }

    /// Takes a look for a sample, the earliest first; the interval since the one before, if there was
    /// one.
    pub fn take(&mut self, look: Look) -> Option<Interval> {
        self.failures = std::mem::take(&mut self.over);
        let Look { at, readings, busy } = look;
        let last = self.last.take();
        let busy = busy.and_then(|read| self.take_busy(read, at));
        let steps = self.step(readings, last.as_ref().map(|l| l.at), at);
        let Some(last) = last else {
            self.last = Some(Last { at, busy });
            return None;
        };
        let since_last = last.busy.as_ref().zip(busy.as_ref()).map(|(a, b)| b.since(a));
        self.last = Some(Last { at, busy: busy.or(last.busy) });
        let devices = self.energies(&steps, last.at, at);
        Some(Interval { start: last.at, end: at, devices, busy: since_last })
    }

    /// Reads every source, in their order. Those that take their time are asked first, all of them,
    /// and read before the others: what is read without waiting is of the sample's very instant.
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let begun: Vec<bool> = self.sources.iter_mut().map(|s| s.begin()).collect();
        let mut readings: Vec<Vec<Result<u64, ReadError>>> = Vec::new();
        readings.resize_with(self.sources.len(), Vec::new);
        for is_now in [true, false] {
            for (index, source) in self.sources.iter_mut().enumerate() {
                if begun[index] == is_now {
                    readings[index] = source.read();
                }
            }
        }
        readings.into_iter().flatten().collect()
    }

    fn step(
        &mut self,
        readings: Vec<Result<u64, ReadError>>,
        last: Option<Moment>,
        at: Moment,
    ) -> Vec<Step> {
        let devices = self.devices.iter().zip(&mut self.tracks);
        let mut steps = Vec::with_capacity(readings.len());
        for ((device, track), reading) in devices.zip(readings) {
            let (step, line) = track.take(device, reading, last, at);
            steps.push(step);
            self.failures.extend(line);
        }
        steps
    }

    /// What each device drew; a meter of the whole node without what its parts drew.
    fn energies(&mut self, steps: &[Step], last: Moment, at: Moment) -> Vec<DeviceEnergy> {
        let mut energies: Vec<DeviceEnergy> = steps.iter().map(|s| s.drawn).collect();
        let is_node = |d: &Device| d.component == Component::Rest;
        if let Some(node) = self.devices.iter().position(is_node) {
            let mut parts = steps.to_vec();
            let whole = parts.remove(node);
            energies[node] = self.rest.advance(&whole, &parts, last, at);
        }
        energies
    }

    fn take_busy(&mut self, read: Result<CpuBusy, ReadError>, at: Moment) -> Option<CpuBusy> {
        match read {
            Ok(busy) => {
                if let Some((since, reason)) = self.busy_outage.take() {
                    let (since, until) = (timestamp(&since), timestamp(&at));
                    let what = "the system's CPU time is not known";
                    self.failures.push(format!("{reason}; {what} from {since} to {until}"));
                }
                Some(busy)
            }
            Err(e) => {
                self.busy_outage.get_or_insert_with(|| (at, e.to_string()));
                None
            }
        }
    }

    /// What to keep for the daemon's next life.
    pub fn last_sample(&self) -> Option<LastSample> {
        let last = self.last.as_ref()?;
        let kept = self.devices.iter().zip(&self.tracks).filter(|(d, _)| d.outlives_us);
        let (mut counters, mut read_at) = (BTreeMap::new(), BTreeMap::new());
        for (device, reading) in kept.filter_map(|(d, t)| Some((d, t.last()?))) {
            counters.insert(device.id.clone(), reading.count);
            if reading.at != last.at {
                read_at.insert(device.id.clone(), reading.at);
            }
        }
        let (rest, busy) = (self.rest.kept(), last.busy.clone());
        Some(LastSample { at: last.at, counters, rest, read_at, busy })
    }

    /// Takes up the last sample of an earlier life, of the same boot: the next interval is the gap.
    pub fn resume(&mut self, earlier: &LastSample) {
        for (device, track) in self.devices.iter().zip(&mut self.tracks) {
            let count = earlier.counters.get(&device.id).filter(|_| device.outlives_us);
            let at = earlier.read_at.get(&device.id).copied().unwrap_or(earlier.at);
            track.resume(count.map(|count| Reading { count: *count, at }));
        }
        self.rest.resume(&earlier.rest);
        self.last = Some(Last { at: earlier.at, busy: earlier.busy.clone() });
    }
}

fn longest_interval(devices: &[Device]) -> Duration {
    let longest = devices.iter().filter_map(longest_gap).min();
    longest.map_or(Duration::from_secs(3600), |gap| gap / 2)
}

#[cfg(test)]
mod tests;
