//! RAPL by powercap: `/sys/class/powercap/intel-rapl:*` (AMD's zones are named so, too).
//!
//! Reads `package` and `dram`. `core` and `uncore` lie inside `package`, `psys` contains it: they
//! are never read, so they cannot be added up. A counter holds microjoules and starts over at
//! `max_energy_range_uj`.

use std::path::{Path, PathBuf};

use super::file::{entries, read_integer, read_line};
use super::{CounterFile, Counters, Device, ReadError};
use crate::energy::Component;

/// A domain found on disk, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    dir: PathBuf,
    component: Component,
    package: u32,
    die: Option<u32>,
    range_uj: Option<u64>,
}

/// What discovery found: domains to open, and what was left out.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Package and dram domains, by package.
    pub domains: Vec<Domain>,
    /// Domains that look broken, and why.
    pub problems: Vec<ReadError>,
}

/// Looks for RAPL domains below `sysfs`; a tree without any gives none.
pub fn discover(sysfs: &Path) -> Discovery {
    let mut found = Discovery::default();
    for dir in entries(&sysfs.join("class/powercap")) {
        let zone = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // intel-rapl-mmio counts the same package a second time.
        if zone.strip_prefix("intel-rapl:").is_none() {
            continue;
        }
        match read_domain(&dir) {
            Ok(Some(domain)) => {
                found.problems.extend(domain.range_uj.is_none().then(|| no_range(&dir)));
                found.domains.push(domain);
            }
            Ok(None) => {}
            Err(problem) => found.problems.push(problem),
        }
    }
    found.domains.sort_by_key(|d| (d.component, d.package, d.die));
    found
}

fn read_domain(dir: &Path) -> Result<Option<Domain>, ReadError> {
    let name = read_line(&dir.join("name"))?;
    let (component, owner) = match name.as_str() {
        "dram" => (Component::Dram, parent_name(dir)),
        package if package.starts_with("package-") => (Component::Cpu, package.to_owned()),
        _ => return Ok(None),
    };
    let Some((package, die)) = parse_package(&owner) else { return Ok(None) };
    let range_uj = read_integer(&dir.join("max_energy_range_uj")).ok().filter(|r| *r > 0);
    Ok(Some(Domain { dir: dir.to_owned(), component, package, die, range_uj }))
}

/// Without its range a counter that starts over looks like one that was reset.
fn no_range(dir: &Path) -> ReadError {
    let path = dir.join("max_energy_range_uj");
    let text = read_line(&path).unwrap_or_default();
    ReadError::Unexpected { path, text, expected: "the value at which energy_uj starts over" }
}

/// Name of the package a dram domain belongs to: its zone is `intel-rapl:P:S`, below `intel-rapl:P`.
fn parent_name(dir: &Path) -> String {
    let zone = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let parent = zone.rsplit_once(':').map_or(zone, |(parent, _)| parent);
    read_line(&dir.with_file_name(parent).join("name")).unwrap_or_default()
}

/// `package-1` or `package-1-die-0`.
fn parse_package(name: &str) -> Option<(u32, Option<u32>)> {
    let rest = name.strip_prefix("package-")?;
    match rest.split_once("-die-") {
        Some((package, die)) => Some((package.parse().ok()?, Some(die.parse().ok()?))),
        None => Some((rest.parse().ok()?, None)),
    }
}

impl Domain {
    /// What it counts.
    pub fn component(&self) -> Component {
        self.component
    }

    fn device(&self) -> Device {
        let kind = self.component.as_str();
        let package = self.package;
        let number = self.die.map_or_else(|| package.to_string(), |d| format!("{package}.{d}"));
        let (name, id) = (format!("{kind}:{number}"), format!("rapl:{kind}-{number}"));
        Device {
            modulus: self.range_uj,
            package: Some(package),
            ..Device::new(self.component, &name, &id, "rapl")
        }
    }
}

/// Opens the domains; `energy_uj` is readable by root only since Linux 5.10.
///
/// Returns what could be opened, and why the others could not.
pub fn open(domains: &[Domain]) -> (Counters, Vec<ReadError>) {
    let (mut counters, mut problems) = (Counters::default(), Vec::new());
    for domain in domains {
        match CounterFile::open(&domain.dir.join("energy_uj")) {
            Ok(file) => counters.push(domain.device(), file),
            Err(problem) => problems.push(problem),
        }
    }
    (counters, problems)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::Source;

    fn zone(root: &Path, zone: &str, name: &str, energy: &str) {
        let dir = root.join("class/powercap").join(zone);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("name"), format!("{name}\n")).unwrap();
        fs::write(dir.join("energy_uj"), energy).unwrap();
        fs::write(dir.join("max_energy_range_uj"), "262143328850\n").unwrap();
    }

    #[test]
    fn packages_and_dram_are_read_and_what_lies_inside_them_is_not() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "10\n");
        zone(root.path(), "intel-rapl:0:0", "core", "1\n");
        zone(root.path(), "intel-rapl:0:1", "dram", "20\n");
        zone(root.path(), "intel-rapl:1", "psys", "99\n");
        zone(root.path(), "intel-rapl:10", "package-10", "30\n");
        zone(root.path(), "intel-rapl:10:0", "uncore", "1\n");
        zone(root.path(), "intel-rapl:2", "package-2-die-1", "40\n");
        zone(root.path(), "intel-rapl-mmio:0", "package-0", "10\n");
        let found = discover(root.path());
        let (mut rapl, problems) = open(&found.domains);
        assert!(found.problems.is_empty() && problems.is_empty());
        let names: Vec<&str> = rapl.devices().iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["cpu:0", "cpu:2.1", "cpu:10", "dram:0"]);
        let values: Vec<u64> = rapl.read().into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [10, 40, 30, 20]);
    }

    #[test]
    fn a_tree_without_powercap_has_no_domains() {
        let root = tempfile::tempdir().unwrap();
        assert!(discover(root.path()).domains.is_empty());
    }

    #[test]
    fn a_garbled_counter_is_an_error_of_its_own_device_only() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "ten\n");
        zone(root.path(), "intel-rapl:1", "package-1", "7\n");
        let (mut rapl, _) = open(&discover(root.path()).domains);
        let values = rapl.read();
        assert!(matches!(values[0], Err(ReadError::Parse { .. })));
        assert_eq!(*values[1].as_ref().unwrap(), 7);
    }

    #[test]
    fn a_range_that_is_missing_or_zero_is_said_and_is_no_modulus() {
        let root = tempfile::tempdir().unwrap();
        for (package, range) in [(0, Some("0\n")), (1, None), (2, Some("262143328850\n"))] {
            let name = format!("intel-rapl:{package}");
            zone(root.path(), &name, &format!("package-{package}"), "1\n");
            let file = root.path().join("class/powercap").join(name).join("max_energy_range_uj");
            match range {
                Some(text) => fs::write(file, text).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
        }
        let found = discover(root.path());
        let (rapl, _) = open(&found.domains);
        let moduli: Vec<Option<u64>> = rapl.devices().iter().map(|d| d.modulus).collect();
        assert_eq!(moduli, [None, None, Some(262_143_328_850)]);
        let said: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("intel-rapl:0/max_energy_range_uj is \"0\""), "{}", said[0]);
        assert!(said[1].contains("intel-rapl:1/max_energy_range_uj is \"\""), "{}", said[1]);
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_counter_that_cannot_be_opened_is_named() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "1\n");
        fs::remove_file(root.path().join("class/powercap/intel-rapl:0/energy_uj")).unwrap();
        let (rapl, problems) = open(&discover(root.path()).domains);
        assert!(rapl.devices().is_empty());
        assert!(problems[0].to_string().contains("intel-rapl:0/energy_uj"), "{}", problems[0]);
    }
}
