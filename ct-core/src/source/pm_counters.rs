//! Cray's counters of a node: `/sys/cray/pm_counters` (XC, EX).
//!
//! The blade's controller counts joules and refreshes the files about ten times a second; each holds
//! a number, its unit and a time stamp: `12345 J 1690000000000 us`. `freshness` grows with every
//! refresh, `startup` when the controller started anew and its counters with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::entries;
use super::worker::PATIENCE;
use super::{CounterFile, Device, ReadError, Source};
use crate::energy::Component;

/// Counters of a whole node hold all its packages.
const MAX_CPU_POWER_W: u32 = 4000;
const MAX_DRAM_POWER_W: u32 = 2000;

/// A counter found on disk, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    file: PathBuf,
    device: Device,
}

impl Counter {
    /// What it counts.
    pub fn component(&self) -> Component {
        self.device.component
    }
}

/// Looks for the counters below `sysfs`: node, CPUs, memory, accelerators; a tree without them gives
/// none.
pub fn discover(sysfs: &Path) -> Vec<Counter> {
    let files = entries(&sysfs.join("cray/pm_counters")).into_iter();
    let mut counters: Vec<Counter> = files.filter_map(describe).collect();
    counters.sort_by_key(Counter::component);
    counters
}

fn describe(file: PathBuf) -> Option<Counter> {
    let name = file.file_name()?.to_str()?;
    let of = |component, name: &str| {
        let id = format!("pm_counters:{}", name.replace("rest", "node"));
        Device::new(component, name, &id, "pm_counters")
    };
    let device = match name {
        "energy" => of(Component::Rest, "rest"),
        "cpu_energy" => Device { max_power_w: MAX_CPU_POWER_W, ..of(Component::Cpu, "cpu") },
        "memory_energy" => Device { max_power_w: MAX_DRAM_POWER_W, ..of(Component::Dram, "dram") },
        accelerator => {
            let number =
                accelerator.strip_prefix("accel")?.strip_suffix("_energy")?.parse().ok()?;
            Device {
                minor: Some(number),
                index: Some(number),
                ..of(Component::Gpu, &format!("accel{number}"))
            }
        }
    };
    Some(Counter { device: Device { unit_uj: 1_000_000, ..device }, file })
}

/// Open counters.
#[derive(Debug)]
pub struct PmCounters {
    devices: Vec<Device>,
    files: Vec<CounterFile>,
    freshness: Option<CounterFile>,
    startup: Option<CounterFile>,
    /// The last refresh: its number, and when it was first seen.
    refreshed: Option<(u64, Instant)>,
    started: Option<u64>,
}

impl PmCounters {
    /// Opens these counters of the tree; returns what could be opened, and why the others could not.
    pub fn open(sysfs: &Path, counters: &[Counter]) -> (Self, Vec<ReadError>) {
        let beside = |name: &str| {
            CounterFile::open_as(&sysfs.join("cray/pm_counters").join(name), first_number).ok()
        };
        let mut opened = Self {
            devices: Vec::new(),
            files: Vec::new(),
            freshness: beside("freshness"),
            startup: beside("startup"),
            refreshed: None,
            started: None,
        };
        let mut problems = Vec::new();
        for counter in counters {
            match CounterFile::open_as(&counter.file, parse_joules) {
                Ok(file) => {
                    opened.devices.push(counter.device.clone());
                    opened.files.push(file);
                }
                Err(problem) => problems.push(problem),
            }
        }
        opened.started = opened.read_started();
        (opened, problems)
    }

    fn read_started(&mut self) -> Option<u64> {
        self.startup.as_mut().and_then(|file| file.read().ok())
    }

    /// How long the controller has refreshed nothing; nothing where it does not say.
    fn stale(&mut self, now: Instant) -> Duration {
        let Some(count) = self.freshness.as_mut().and_then(|file| file.read().ok()) else {
            return Duration::ZERO;
        };
        match self.refreshed {
            Some((seen, since)) if seen == count => now.saturating_duration_since(since),
            _ => {
                self.refreshed = Some((count, now));
                Duration::ZERO
            }
        }
    }

    fn all(&self, error: impl Fn(&Device) -> ReadError) -> Vec<Result<u64, ReadError>> {
        self.devices.iter().map(|device| Err(error(device))).collect()
    }
}

impl Source for PmCounters {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let started = self.read_started();
        if started.is_some() && started != self.started {
            self.started = started;
            return self.all(|device| ReadError::Restarted { meter: device.id.clone() });
        }
        let waited = self.stale(Instant::now());
        if waited > PATIENCE {
            return self.all(|device| ReadError::Silent { meter: device.id.clone(), waited });
        }
        self.files.iter_mut().map(CounterFile::read).collect()
    }
}

/// `12345 J 1690000000000 us`; elder systems have no time stamp.
fn parse_joules(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    (words.next()? == "J").then_some(number)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let dir = root.join("cray/pm_counters");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), text).unwrap();
    }

    /// As on a node of an EX.
    fn node() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("energy", "2000 J 1690000000000000 us\n"),
            ("cpu_energy", "700 J 1690000000000000 us\n"),
            ("memory_energy", "150 J 1690000000000000 us\n"),
            ("accel0_energy", "400 J 1690000000000000 us\n"),
            ("accel10_energy", "410 J 1690000000000000 us\n"),
            ("power", "512 W 1690000000000000 us\n"),
            ("power_cap", "0 W\n"),
            ("freshness", "1234\n"),
            ("startup", "1690000000000000\n"),
            ("generation", "5\n"),
            ("version", "3\n"),
        ] {
            write(root.path(), name, text);
        }
        root
    }

    #[test]
    fn the_node_and_its_parts_are_counted_in_joules() {
        let root = node();
        let found = discover(root.path());
        let (mut source, problems) = PmCounters::open(root.path(), &found);
        assert!(problems.is_empty());
        let of = |d: &Device| (d.component, d.name.clone(), d.minor);
        let devices: Vec<_> = source.devices().iter().map(of).collect();
        let expected = [
            (Component::Cpu, "cpu", None),
            (Component::Dram, "dram", None),
            (Component::Gpu, "accel0", Some(0)),
            (Component::Gpu, "accel10", Some(10)),
            (Component::Rest, "rest", None),
        ];
        assert_eq!(devices, expected.map(|(c, name, minor)| (c, name.to_owned(), minor)));
        assert!(source.devices().iter().all(|d| d.unit_uj == 1_000_000 && d.outlives_us));
        let values: Vec<u64> = source.read().into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [700, 150, 400, 410, 2000]);
    }

    #[test]
    fn a_controller_that_started_anew_is_said_once() {
        let root = node();
        let (mut source, _) = PmCounters::open(root.path(), &discover(root.path()));
        assert!(source.read().iter().all(Result::is_ok));
        // A new limit of power changes the generation, and no counter.
        write(root.path(), "generation", "6\n");
        assert!(source.read().iter().all(Result::is_ok));
        write(root.path(), "startup", "1690000009000000\n");
        assert!(source.read().iter().all(|r| matches!(r, Err(ReadError::Restarted { .. }))));
        assert!(source.read().iter().all(Result::is_ok));
    }

    #[test]
    fn counters_that_are_not_refreshed_are_silent() {
        let root = node();
        let (mut source, _) = PmCounters::open(root.path(), &discover(root.path()));
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(source.stale(at(0)), Duration::ZERO);
        assert_eq!(source.stale(at(5)), Duration::from_secs(5));
        source.refreshed = Some((1234, start.checked_sub(Duration::from_secs(3)).unwrap()));
        assert!(source.read().iter().all(|r| matches!(r, Err(ReadError::Silent { .. }))));
        write(root.path(), "freshness", "1235\n");
        assert!(source.read().iter().all(Result::is_ok));
        assert_eq!(source.stale(Instant::now()).as_secs(), 0);
    }

    #[test]
    fn missing_empty_garbled_and_vanishing_are_named() {
        assert!(discover(tempfile::tempdir().unwrap().path()).is_empty());
        let root = node();
        let found = discover(root.path());
        let (mut source, _) = PmCounters::open(root.path(), &found);
        for text in ["", "12", "12 W 1 us", "x J"] {
            write(root.path(), "energy", text);
            assert!(matches!(source.read()[4], Err(ReadError::Parse { .. })), "{text:?}");
        }
        write(root.path(), "energy", "2000 J 1 us");
        assert_eq!(*source.read()[4].as_ref().unwrap(), 2000);
        fs::remove_file(root.path().join("cray/pm_counters/energy")).unwrap();
        assert!(matches!(source.read()[4], Err(ReadError::Gone { .. })));
        assert!(source.read()[0].is_ok());
        let (_, problems) = PmCounters::open(root.path(), &found);
        assert!(problems[0].to_string().contains("pm_counters/energy"), "{}", problems[0]);
    }
}
