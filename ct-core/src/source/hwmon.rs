//! ACPI power meters that say which part of a module they measure: Grace and its like.
//!
//! `power1_oem_info` of a `power_meter` holds `CPU Power Socket N` (`cpu`), `Grace Power Socket N`
//! (taken for `cpu` where the former is missing) or `Module Power Socket N` (the node: all modules
//! together). They only tell power, so it is integrated. A power meter without such a label is not
//! read: firmware puts anything behind it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{entries, read_line};
use super::integrator::{Integrator, Sensor};
use super::{CounterFile, Device, ReadError};
use crate::energy::Component;
use crate::units::Watts;

/// Time between two readings of the power; firmware averages over 50 ms to 1 s.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// What a sensor's label says that it measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The CPU's rail.
    Cpu,
    /// The CPU with its memory and regulators.
    Grace,
    /// CPU, GPU and memory.
    Module,
}

/// A power sensor found on disk, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSensor {
    file: PathBuf,
    part: Part,
    socket: u32,
}

/// What discovery found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// CPUs, by socket.
    pub cpus: Vec<PowerSensor>,
    /// Modules, which make up the node.
    pub modules: Vec<PowerSensor>,
    /// Sensors that look broken, and why.
    pub problems: Vec<ReadError>,
}

/// Looks for labelled power meters below `sysfs`; a tree without any gives none.
pub fn discover(sysfs: &Path) -> Discovery {
    let mut found = Discovery::default();
    let mut sensors = Vec::new();
    for dir in entries(&sysfs.join("class/hwmon")) {
        match read_sensor(&dir) {
            Ok(sensor) => sensors.extend(sensor),
            Err(problem) => found.problems.push(problem),
        }
    }
    sensors.sort_by_key(|s| (s.part, s.socket));
    let of = |part| sensors.iter().filter(move |s: &&PowerSensor| s.part == part).cloned();
    found.cpus = of(Part::Cpu).collect();
    if found.cpus.is_empty() {
        found.cpus = of(Part::Grace).collect();
    }
    found.modules = of(Part::Module).collect();
    found
}

fn read_sensor(dir: &Path) -> Result<Option<PowerSensor>, ReadError> {
    // Until Linux 6.14 the driver kept its files with the ACPI device, not in hwmon's own directory.
    let at = [dir.join("device"), dir.to_owned()];
    let is_power_meter =
        |d: &&PathBuf| read_line(&d.join("name")).is_ok_and(|n| n == "power_meter");
    let is_labelled = |d: &&PathBuf| d.join("power1_oem_info").exists();
    let (Some(_), Some(dir)) = (at.iter().find(is_power_meter), at.iter().find(is_labelled)) else {
        return Ok(None);
    };
    let label = read_line(&dir.join("power1_oem_info"))?;
    let Some((part, socket)) = parse_label(&label) else { return Ok(None) };
    Ok(Some(PowerSensor { file: dir.join("power1_average"), part, socket }))
}

/// `CPU Power Socket 0`
fn parse_label(label: &str) -> Option<(Part, u32)> {
    let (part, socket) = label.split_once(" Power Socket ")?;
    let part = match part {
        "CPU" => Part::Cpu,
        "Grace" => Part::Grace,
        "Module" => Part::Module,
        _ => return None,
    };
    Some((part, socket.parse().ok()?))
}

/// A sensor that reads microwatts from an open file.
pub(super) fn microwatts(path: &Path) -> Result<Sensor, ReadError> {
    let mut file = CounterFile::open(path)?;
    Ok(Box::new(move || file.read().map(|uw| Watts::new(uw as f64 * 1e-6))))
}

/// Opens the CPUs' sensors and integrates them; and says which could not be opened.
pub fn open_cpus(cpus: &[PowerSensor]) -> (Option<Integrator>, Vec<ReadError>) {
    let (mut meters, mut problems) = (Vec::new(), Vec::new());
    for cpu in cpus {
        let socket = cpu.socket;
        let (name, id) = (format!("cpu:{socket}"), format!("hwmon:cpu-{socket}"));
        let device = Device::new(Component::Cpu, &name, &id, "hwmon");
        match microwatts(&cpu.file) {
            Ok(sensor) => meters.push((Device { package: Some(socket), ..device }, sensor)),
            Err(problem) => problems.push(problem),
        }
    }
    start("hwmon-cpu", STEP, meters, problems)
}

/// Opens the modules' sensors and integrates their sum: the node. One that cannot be opened leaves
/// the node without a meter.
pub fn open_node(modules: &[PowerSensor]) -> (Option<Integrator>, Vec<ReadError>) {
    let sensors: Result<Vec<Sensor>, ReadError> =
        modules.iter().map(|module| microwatts(&module.file)).collect();
    let mut sensors = match sensors {
        Ok(sensors) if sensors.is_empty() => return (None, Vec::new()),
        Ok(sensors) => sensors,
        Err(problem) => return (None, vec![problem]),
    };
    let sum: Sensor = Box::new(move || {
        let watts = sensors.iter_mut().map(|s| s().map(Watts::as_watts));
        watts.sum::<Result<f64, ReadError>>().map(Watts::new)
    });
    let device = Device::new(Component::Rest, "rest", "hwmon:node", "hwmon");
    start("hwmon-node", STEP, vec![(device, sum)], Vec::new())
}

/// Starts to integrate what could be opened.
pub(super) fn start(
    name: &str,
    step: Duration,
    meters: Vec<(Device, Sensor)>,
    mut problems: Vec<ReadError>,
) -> (Option<Integrator>, Vec<ReadError>) {
    if meters.is_empty() {
        return (None, problems);
    }
    match Integrator::start(name, step, meters) {
        Ok(source) => (Some(source), problems),
        Err(e) => {
            let message = format!("cannot start a thread: {e}");
            problems.push(ReadError::Driver { device: name.to_owned(), message });
            (None, problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::Source;

    fn sensor(root: &Path, number: u32, label: &str, microwatts: &str) -> PathBuf {
        let hwmon = root.join(format!("class/hwmon/hwmon{number}"));
        fs::create_dir_all(hwmon.join("device")).unwrap();
        fs::write(hwmon.join("name"), "power_meter\n").unwrap();
        fs::write(hwmon.join("device/power1_oem_info"), format!("{label}\n")).unwrap();
        fs::write(hwmon.join("device/power1_average"), microwatts).unwrap();
        hwmon.join("device/power1_average")
    }

    /// A node with two Grace Hopper modules.
    fn node() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for socket in 0..2 {
            let hwmon = |part: u32| 1 + 4 * (1 - socket) + part;
            sensor(root.path(), hwmon(0), &format!("Module Power Socket {socket}"), "600000000\n");
            sensor(root.path(), hwmon(1), &format!("Grace Power Socket {socket}"), "150000000\n");
            sensor(root.path(), hwmon(2), &format!("CPU Power Socket {socket}"), "100000000\n");
            sensor(root.path(), hwmon(3), &format!("SysIO Power Socket {socket}"), "30000000\n");
        }
        let nvme = root.path().join("class/hwmon/hwmon0");
        fs::create_dir_all(&nvme).unwrap();
        fs::write(nvme.join("name"), "nvme\n").unwrap();
        root
    }

    fn drawn(source: &mut Integrator) -> f64 {
        let from = *source.read()[0].as_ref().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        (*source.read()[0].as_ref().unwrap() - from) as f64 * 1e-6
    }

    #[test]
    fn cpus_are_components_and_modules_are_the_node() {
        let root = node();
        let found = discover(root.path());
        assert!(found.problems.is_empty());
        let (cpus, _) = open_cpus(&found.cpus);
        let mut cpus = cpus.unwrap();
        let ids: Vec<&str> = cpus.devices().iter().map(|d| d.id.as_str()).collect();
        assert_eq!(ids, ["hwmon:cpu-0", "hwmon:cpu-1"]);
        assert_eq!(cpus.devices()[1].package, Some(1));
        let (node, _) = open_node(&found.modules);
        let mut node = node.unwrap();
        assert_eq!(node.devices()[0].component, Component::Rest);
        // 100 W and 1200 W for 50 ms or a little more.
        let (cpu, node) = (drawn(&mut cpus), drawn(&mut node));
        assert!((5.0..50.0).contains(&cpu), "{cpu}");
        assert!((60.0..600.0).contains(&node), "{node}");
    }

    #[test]
    fn the_whole_cpu_is_taken_where_its_rail_is_not_measured() {
        let root = tempfile::tempdir().unwrap();
        sensor(root.path(), 1, "Grace Power Socket 0", "1\n");
        sensor(root.path(), 2, "Total Power", "1\n");
        let found = discover(root.path());
        assert_eq!(found.cpus.len(), 1);
        assert!(found.modules.is_empty());
        assert!(discover(Path::new("/nonexistent")).cpus.is_empty());
    }

    #[test]
    fn missing_empty_garbled_and_vanishing_are_named() {
        let root = tempfile::tempdir().unwrap();
        let file = sensor(root.path(), 1, "CPU Power Socket 0", "");
        let found = discover(root.path());
        let mut read = microwatts(&file).unwrap();
        assert!(matches!(read(), Err(ReadError::Parse { .. })));
        fs::write(&file, "1.5 W\n").unwrap();
        assert!(matches!(read(), Err(ReadError::Parse { .. })));
        fs::write(&file, "1500000\n").unwrap();
        assert!((read().unwrap().as_watts() - 1.5).abs() < 1e-9);
        fs::remove_file(&file).unwrap();
        assert!(matches!(read(), Err(ReadError::Gone { .. })));
        let (none, problems) = open_cpus(&found.cpus);
        assert!(none.is_none());
        assert!(
            problems[0].to_string().contains("hwmon1/device/power1_average"),
            "{}",
            problems[0]
        );
        let (none, problems) = open_node(&[found.cpus[0].clone()]);
        assert!(none.is_none() && problems.len() == 1);
    }
}
