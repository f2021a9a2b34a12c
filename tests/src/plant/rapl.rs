//! The powercap tree of the simulated machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::live::{LiveFile, write};
use super::meter::Meter;
use super::readout::{Quantity, Readout};
use super::spec::{Domain, Spec};

/// RAPL counts microjoules.
const MICRO: f64 = 1e6;

/// Makes the zones of all domains, and the files that show them.
pub(super) fn make(root: &Path, spec: &Spec) -> Result<Vec<Readout>> {
    let mut zones = Vec::new();
    let mut add = |meter, zone: String, name: String, domain: Option<&Domain>| {
        let Some(domain) = domain else { return anyhow::Ok(()) };
        let file = make_zone(root, &zone, &name, domain, spec.energy_uj_is_public)?;
        let readout = Readout::new(meter, Quantity::Energy, MICRO, file);
        zones.push(readout.counting(domain.initial_uj, domain.max_energy_range_uj));
        Ok(())
    };
    for (n, p) in spec.packages.iter().enumerate() {
        let zone = format!("intel-rapl:{n}");
        add(Meter::Core(n), format!("{zone}:0"), "core".to_owned(), p.core.as_ref())?;
        add(Meter::Dram(n), format!("{zone}:1"), "dram".to_owned(), p.dram.as_ref())?;
        add(Meter::Package(n), zone, spec.package_name(n), Some(&p.package))?;
    }
    let behind = format!("intel-rapl:{}", spec.packages.len());
    add(Meter::Psys, behind, "psys".to_owned(), spec.psys.as_ref())?;
    if !zones.is_empty() {
        make_control_type(root)?;
    }
    Ok(zones)
}

/// Makes a zone and returns its counter. `zone` is `intel-rapl:0`; a subzone, `intel-rapl:0:1`, lies
/// in its parent's directory.
fn make_zone(
    root: &Path,
    zone: &str,
    name: &str,
    domain: &Domain,
    is_public: bool,
) -> Result<LiveFile> {
    let mut place = PathBuf::from("devices/virtual/powercap/intel-rapl");
    // A colon in front of the second number makes a subzone.
    if zone.matches(':').count() == 2
        && let Some((parent, _)) = zone.rsplit_once(':')
    {
        place.push(parent);
    }
    place.push(zone);
    let dir = root.join("sys").join(&place);
    write(&dir.join("name"), &format!("{name}\n"))?;
    write(&dir.join("enabled"), "1\n")?;
    write(&dir.join("max_energy_range_uj"), &format!("{}\n", domain.max_energy_range_uj))?;
    let mode = if is_public { 0o444 } else { 0o400 };
    let counter = LiveFile::number(&dir.join("energy_uj"))?.with_mode(mode)?;
    link(root, zone, &place)?;
    Ok(counter)
}

/// Makes the control type's own entry, which is no zone: readers have to tell it from one.
fn make_control_type(root: &Path) -> Result<()> {
    let place = Path::new("devices/virtual/powercap/intel-rapl");
    let dir = root.join("sys").join(place);
    write(&dir.join("enabled"), "1\n")?;
    // Some readers look for zones by way of this link.
    symlink("../../../../class/powercap", dir.join("subsystem"))
        .with_context(|| format!("cannot link subsystem in {}", dir.display()))?;
    link(root, "intel-rapl", place)
}

/// Links an entry of class/powercap, as sysfs does.
fn link(root: &Path, entry: &str, place: &Path) -> Result<()> {
    let class = root.join("sys/class/powercap");
    fs::create_dir_all(&class)?;
    symlink(Path::new("../..").join(place), class.join(entry))
        .with_context(|| format!("cannot link {entry} in {}", class.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::plant::Package;

    #[test]
    fn zones_are_nested_and_linked_as_in_sysfs() {
        let root = tempfile::tempdir().unwrap();
        let package = Package::new(Domain::constant(1.0)).dram(Domain::constant(1.0));
        let spec = Spec { packages: vec![package], ..Spec::default() };
        assert_eq!(make(root.path(), &spec).unwrap().len(), 2);
        let class = root.path().join("sys/class/powercap");
        let energy_uj = class.join("intel-rapl:0:1/energy_uj");
        assert_eq!(fs::read_to_string(&energy_uj).unwrap(), "000000000000000\n");
        assert_eq!(fs::read_to_string(class.join("intel-rapl:0:1/name")).unwrap(), "dram\n");
        assert!(class.join("intel-rapl:0/intel-rapl:0:1/name").exists());
        assert!(class.join("intel-rapl/intel-rapl:0").exists());
        assert!(class.join("intel-rapl/subsystem/intel-rapl:0/energy_uj").exists());
        assert_eq!(fs::metadata(&energy_uj).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn dies_are_packages_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let packages = vec![Package::new(Domain::constant(1.0)); 4];
        make(root.path(), &Spec { packages, dies_per_socket: 2, ..Spec::default() }).unwrap();
        let name = |n| {
            let path = format!("sys/class/powercap/intel-rapl:{n}/name");
            fs::read_to_string(root.path().join(path)).unwrap()
        };
        let names =
            ["package-0-die-0\n", "package-0-die-1\n", "package-1-die-0\n", "package-1-die-1\n"];
        assert_eq!([0, 1, 2, 3].map(name), names);
    }
}
