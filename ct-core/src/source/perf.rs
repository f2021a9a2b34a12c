//! RAPL by perf: the `power` PMU, where powercap is missing.
//!
//! Reads `energy-pkg` and `energy-ram`, one event for each CPU in the PMU's `cpumask`, that is one
//! for each package (or die). The counts begin when the event is opened, which needs root or
//! `perf_event_paranoid` of at most 0; they never start over.

mod scale;

use std::io;
use std::path::{Path, PathBuf};

use perf_event::events::Software;
use perf_event::{Builder, Counter, ReadFormat};

use super::file::{read_integer, read_line};
use super::{Device, ReadError, Source};
use crate::energy::Component;
use scale::Scale;

/// An event found on disk, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    file: PathBuf,
    component: Component,
    raw: Raw,
    cpu: usize,
    package: u32,
    /// Number of the event among those of its package, where it has several dies.
    die: Option<usize>,
    scale: Scale,
}

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raw {
    pmu: u32,
    config: u64,
}

/// What discovery found: events to open, and what was left out.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Events of packages and of memory, by package.
    pub events: Vec<Event>,
    /// Events that look broken, and why.
    pub problems: Vec<ReadError>,
}

/// Looks for the `power` PMU below `sysfs`; a tree without it gives nothing.
pub fn discover(sysfs: &Path) -> Discovery {
    let mut found = Discovery::default();
    let pmu = sysfs.join("bus/event_source/devices/power");
    if !pmu.is_dir() {
        return found;
    }
    for (name, component) in [("energy-pkg", Component::Cpu), ("energy-ram", Component::Dram)] {
        if !pmu.join("events").join(name).exists() {
            continue;
        }
        match read_events(sysfs, &pmu, name, component) {
            Ok(events) => found.events.extend(events),
            Err(problem) => found.problems.push(problem),
        }
    }
    found
}

fn read_events(
    sysfs: &Path,
    pmu: &Path,
    name: &str,
    component: Component,
) -> Result<Vec<Event>, ReadError> {
    let file = pmu.join("events").join(name);
    let beside = |suffix: &str| pmu.join("events").join(format!("{name}.{suffix}"));
    expect(&beside("unit"), "\"Joules\"", |t| (t == "Joules").then_some(()))?;
    let scale = expect(&beside("scale"), "joules per count as a decimal", Scale::parse)?;
    let config = expect(&file, "\"event=0x..\"", parse_config)?;
    let pmu_type = expect(&pmu.join("type"), "the PMU's number", |t| t.parse().ok())?;
    let cpus = expect(&pmu.join("cpumask"), "a list of CPUs", parse_cpus)?;
    let mut events: Vec<Event> = Vec::new();
    for cpu in cpus {
        let topology = format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id");
        let package = u32::try_from(read_integer(&sysfs.join(topology))?).unwrap_or_default();
        let raw = Raw { pmu: pmu_type, config };
        let file = file.clone();
        events.push(Event { file, component, raw, cpu, package, die: None, scale });
    }
    number_dies(&mut events);
    Ok(events)
}

/// Several events of one package are its dies.
fn number_dies(events: &mut [Event]) {
    let packages: Vec<u32> = events.iter().map(|e| e.package).collect();
    for (index, event) in events.iter_mut().enumerate() {
        let same = |of: &[u32]| of.iter().filter(|p| **p == event.package).count();
        if same(&packages) > 1 {
            event.die = Some(same(&packages[..index]));
        }
    }
}

/// Reads a line that `parse` understands.
fn expect<T>(
    path: &Path,
    expected: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ReadError> {
    let text = read_line(path)?;
    parse(&text).ok_or_else(|| ReadError::Unexpected { path: path.to_owned(), text, expected })
}

/// `event=0x02`
fn parse_config(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("event=0x")?;
    u64::from_str_radix(hex, 16).ok()
}

/// `0,24` or `0-3,8`
fn parse_cpus(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // As many CPUs as Linux can have.
        if first > last || last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

impl Event {
    /// What it counts.
    pub fn component(&self) -> Component {
        self.component
    }

    fn device(&self) -> Device {
        let kind = self.component.as_str();
        let package = self.package;
        let number = self.die.map_or_else(|| package.to_string(), |d| format!("{package}.{d}"));
        let (name, id) = (format!("{kind}:{number}"), format!("perf:{kind}-{number}"));
        Device {
            outlives_us: false,
            package: Some(package),
            ..Device::new(self.component, &name, &id, "perf")
        }
    }

    fn open(&self) -> io::Result<Counter> {
        let mut builder = Builder::new(Software::DUMMY);
        let attributes = builder.attrs_mut();
        (attributes.type_, attributes.config) = (self.raw.pmu, self.raw.config);
        let mut counter = builder
            .any_pid()
            .one_cpu(self.cpu)
            // The PMU knows no levels of privilege and refuses to leave one out.
            .include_kernel()
            .include_hv()
            .read_format(ReadFormat::empty())
            .build()?;
        counter.enable()?;
        Ok(counter)
    }
}

/// Open events.
#[derive(Default)]
pub struct Perf {
    devices: Vec<Device>,
    counters: Vec<(Counter, Scale)>,
}

impl Perf {
    /// Opens the events; returns what could be opened, and why the others could not.
    pub fn open(events: &[Event]) -> (Self, Vec<ReadError>) {
        let (mut perf, mut problems) = (Self::default(), Vec::new());
        for event in events {
            match event.open() {
                Ok(counter) => {
                    perf.devices.push(event.device());
                    perf.counters.push((counter, event.scale));
                }
                Err(source) => {
                    problems.push(ReadError::Open { path: event.file.clone(), source });
                }
            }
        }
        (perf, problems)
    }
}

impl Source for Perf {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let read = |(device, (counter, scale)): (&Device, &mut (Counter, Scale))| {
            let failed = |message: String| ReadError::Driver { device: device.id.clone(), message };
            let count = counter.read().map_err(|e| failed(e.to_string()))?;
            scale.to_microjoules(count).ok_or_else(|| failed(format!("count {count} is too large")))
        };
        self.devices.iter().zip(&mut self.counters).map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A node with two packages; `pmu` is the PMU's number.
    fn tree(pmu: &str, cpumask: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let power = root.path().join("bus/event_source/devices/power");
        fs::create_dir_all(power.join("events")).unwrap();
        fs::write(power.join("type"), pmu).unwrap();
        fs::write(power.join("cpumask"), cpumask).unwrap();
        for (name, event) in [("energy-pkg", "event=0x02"), ("energy-ram", "event=0x03")] {
            let scale = "2.3283064365386962890625e-10\n";
            for (suffix, text) in [("", event), (".scale", scale), (".unit", "Joules\n")] {
                fs::write(power.join("events").join(format!("{name}{suffix}")), text).unwrap();
            }
        }
        fs::write(power.join("events/energy-cores"), "event=0x01\n").unwrap();
        for (cpu, package) in [(0, "0\n"), (1, "0\n"), (24, "1\n")] {
            let topology = root.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("physical_package_id"), package).unwrap();
        }
        root
    }

    #[test]
    fn there_is_one_event_for_each_package_and_none_for_its_cores() {
        let root = tree("28\n", "0,24\n");
        let found = discover(root.path());
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let ids: Vec<String> = found.events.iter().map(|e| e.device().id).collect();
        assert_eq!(ids, ["perf:cpu-0", "perf:cpu-1", "perf:dram-0", "perf:dram-1"]);
        let event = &found.events[3];
        assert_eq!((event.raw, event.cpu), (Raw { pmu: 28, config: 3 }, 24));
        assert_eq!(event.device().package, Some(1));
    }

    #[test]
    fn events_of_one_package_are_its_dies() {
        let found = discover(tree("28\n", "0-1,24").path());
        let ids: Vec<String> = found.events.iter().map(|e| e.device().name).collect();
        assert_eq!(ids[..3], ["cpu:0.0", "cpu:0.1", "cpu:1"]);
    }

    #[test]
    fn missing_empty_and_garbled_are_named() {
        assert!(discover(tempfile::tempdir().unwrap().path()).events.is_empty());
        for (file, text, seen) in [
            ("events/energy-pkg.unit", "Watts", "energy-pkg.unit is \"Watts\""),
            ("events/energy-pkg.scale", "", "energy-pkg.scale is \"\""),
            ("events/energy-pkg", "umask=0x1", "energy-pkg is \"umask=0x1\""),
            ("type", "power", "type is \"power\""),
            ("cpumask", "3-1", "cpumask is \"3-1\""),
            ("cpumask", "7", "cpu7/topology/physical_package_id"),
        ] {
            let root = tree("28\n", "0\n");
            fs::write(root.path().join("bus/event_source/devices/power").join(file), text).unwrap();
            let found = discover(root.path());
            let said = found.problems[0].to_string();
            assert!(said.contains(seen), "{said}");
        }
        let root = tree("28\n", "0\n");
        let unit = "bus/event_source/devices/power/events/energy-ram.unit";
        fs::remove_file(root.path().join(unit)).unwrap();
        let found = discover(root.path());
        assert!(matches!(found.problems[..], [ReadError::Gone { .. }]), "{:?}", found.problems);
        assert_eq!(found.events.len(), 1, "energy-pkg goes on without energy-ram");
    }

    #[test]
    fn a_pmu_the_kernel_does_not_have_is_named() {
        let root = tree("4000000\n", "0\n");
        let (perf, problems) = Perf::open(&discover(root.path()).events);
        assert!(perf.devices().is_empty());
        assert!(problems[0].to_string().contains("events/energy-pkg: "), "{}", problems[0]);
    }

    #[test]
    fn a_count_of_the_kernel_is_scaled() {
        // PMU 1 counts in software; its event 0 is the CPU's clock, in ns. At 1 J a ns that is fast.
        let root = tree("1\n", "0\n");
        let events = root.path().join("bus/event_source/devices/power/events");
        fs::write(events.join("energy-pkg"), "event=0x00\n").unwrap();
        fs::write(events.join("energy-pkg.scale"), "1e0\n").unwrap();
        let events = discover(root.path()).events;
        let (mut perf, problems) = Perf::open(&events[..1]);
        if let [problem] = &problems[..] {
            // Without root, or where a sandbox forbids the call.
            let said = problem.to_string();
            assert!(said.contains("energy-pkg: ") && said.contains("os error"), "{said}");
            return;
        }
        let first = *perf.read()[0].as_ref().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let second = *perf.read()[0].as_ref().unwrap();
        assert!(second > first, "{first} {second}");
        assert_eq!(second % 1_000_000, 0);
    }
}
