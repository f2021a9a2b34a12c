//! AMD and Intel GPUs by sysfs alone: `class/drm/cardN/device/hwmon/hwmonM`.
//!
//! Intel's drivers (`i915`, `xe`) count microjoules; AMD's (`amdgpu`) only tells power, which is
//! integrated. A GPU inside a CPU draws its power within the package and is left out.

use std::path::{Path, PathBuf};

use super::file::{entries, read_line};
use super::hwmon::{STEP, microwatts, start};
use super::integrator::Integrator;
use super::{CounterFile, Counters, Device, ReadError};
use crate::energy::Component;

/// A GPU found on disk, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    device: Device,
    meter: Meter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meter {
    /// Microjoules.
    Energy(PathBuf),
    /// Microwatts.
    Power(PathBuf),
}

/// Looks for GPUs with a meter below `sysfs`; a tree without any gives none.
pub fn discover(sysfs: &Path) -> Vec<Gpu> {
    let is_card = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.strip_prefix("card").is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let cards = entries(&sysfs.join("class/drm")).into_iter().filter(is_card);
    let mut gpus: Vec<Gpu> = cards.filter_map(|card| find_gpu(&card.join("device"))).collect();
    for (index, gpu) in gpus.iter_mut().enumerate() {
        gpu.device.index = u32::try_from(index).ok();
    }
    gpus
}

fn find_gpu(dir: &Path) -> Option<Gpu> {
    for hwmon in entries(&dir.join("hwmon")) {
        let driver = read_line(&hwmon.join("name")).unwrap_or_default();
        let meter = match driver.as_str() {
            "i915" | "xe" => energy_file(&hwmon).map(Meter::Energy),
            "amdgpu" => amd_power_file(&hwmon).map(Meter::Power),
            _ => None,
        };
        if let Some(meter) = meter {
            return Some(Gpu { device: describe(dir, &driver), meter });
        }
    }
    None
}

/// The counter of the whole card, else of its package; `energy1_input` where nothing is labelled.
fn energy_file(hwmon: &Path) -> Option<PathBuf> {
    let labelled = |wanted: &str| {
        let is_it = |n: &u32| {
            let label = read_line(&hwmon.join(format!("energy{n}_label")));
            label.is_ok_and(|l| l == wanted)
        };
        (1..=4).find(is_it).map(|n| hwmon.join(format!("energy{n}_input")))
    };
    let files = [labelled("card"), labelled("pkg"), Some(hwmon.join("energy1_input"))];
    files.into_iter().flatten().find(|file| file.exists())
}

/// The mean power, which older GPUs tell, else the power at this instant.
fn amd_power_file(hwmon: &Path) -> Option<PathBuf> {
    // A GPU inside a CPU has no limit of its own; its "power" is that of the whole package.
    if !hwmon.join("power1_cap").exists() {
        return None;
    }
    let files = ["power1_average", "power1_input"].map(|name| hwmon.join(name));
    files.into_iter().find(|file| file.exists())
}

fn describe(dir: &Path, driver: &str) -> Device {
    let read = |name: &str| read_line(&dir.join(name)).ok().filter(|text| !text.is_empty());
    let vendor = if driver == "amdgpu" { "AMD" } else { "Intel" };
    let chip = read("device").unwrap_or_default();
    let name =
        read("product_name").unwrap_or_else(|| format!("{vendor} GPU {chip}").trim().to_owned());
    // As ROCm writes it; a replaced card has another one, its slot has not.
    let unique = read("unique_id").map(|id| format!("GPU-{id}"));
    let id = unique.unwrap_or_else(|| format!("pci:{}", pci_address(dir)));
    Device { minor: render_number(dir), ..Device::new(Component::Gpu, &name, &id, "hwmon") }
}

/// `0000:c1:00.0`, by uevent, else by what the link `device` points to.
fn pci_address(dir: &Path) -> String {
    let uevent = read_line(&dir.join("uevent")).unwrap_or_default();
    let slot = uevent.lines().find_map(|l| l.strip_prefix("PCI_SLOT_NAME="));
    let target = || dir.canonicalize().ok()?.file_name()?.to_str().map(str::to_owned);
    slot.map(str::to_owned).or_else(target).unwrap_or_default()
}

/// N of `/dev/dri/renderDN`, which gres.conf names.
fn render_number(dir: &Path) -> Option<u32> {
    let name = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("renderD")?.parse().ok();
    entries(&dir.join("drm")).iter().find_map(name)
}

/// GPUs that are open.
#[derive(Default)]
pub struct Opened {
    /// Those that count.
    pub counted: Counters,
    /// Those whose power is integrated.
    pub powered: Option<Integrator>,
    /// Those that could not be opened, and why.
    pub problems: Vec<ReadError>,
}

/// Opens their meters.
pub fn open(gpus: &[Gpu]) -> Opened {
    let mut opened = Opened::default();
    let (mut meters, mut problems) = (Vec::new(), Vec::new());
    for gpu in gpus {
        let device = gpu.device.clone();
        let failed = match &gpu.meter {
            Meter::Energy(path) => {
                CounterFile::open(path).map(|file| opened.counted.push(device, file))
            }
            Meter::Power(path) => microwatts(path).map(|sensor| meters.push((device, sensor))),
        };
        problems.extend(failed.err());
    }
    (opened.powered, opened.problems) = start("drm-power", STEP, meters, problems);
    opened
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::source::Source;

    /// A card as sysfs has it: `device` is a link to the PCI device.
    fn card(root: &Path, number: u32, driver: &str, files: &[(&str, &str)]) -> PathBuf {
        let pci = root.join(format!("devices/pci0000:00/0000:c{number}:00.0"));
        let hwmon = pci.join("hwmon").join(format!("hwmon{}", number + 3));
        fs::create_dir_all(&hwmon).unwrap();
        fs::create_dir_all(pci.join(format!("drm/renderD{}", 128 + number))).unwrap();
        fs::write(hwmon.join("name"), driver).unwrap();
        for (name, text) in files {
            let dir = if name.contains("1_") || name.contains("2_") { &hwmon } else { &pci };
            fs::write(dir.join(name), text).unwrap();
        }
        let class = root.join("class/drm").join(format!("card{number}"));
        fs::create_dir_all(&class).unwrap();
        fs::create_dir_all(root.join(format!("class/drm/card{number}-DP-1"))).unwrap();
        symlink(&pci, class.join("device")).unwrap();
        hwmon
    }

    const CAP: (&str, &str) = ("power1_cap", "300000000\n");

    #[test]
    fn amd_gpus_are_integrated_and_known_by_their_unique_id() {
        let root = tempfile::tempdir().unwrap();
        let power = ("power1_average", "200000000\n");
        let unique = ("unique_id", "5c88b13bd8b4d3a1\n");
        card(root.path(), 0, "amdgpu", &[CAP, power, unique, ("product_name", "Instinct MI210\n")]);
        let input = ("power1_input", "100000000\n");
        card(root.path(), 1, "amdgpu", &[CAP, input, ("device", "0x74a1\n"), ("product_name", "")]);
        let opened = open(&discover(root.path()));
        assert!(opened.problems.is_empty() && opened.counted.devices().is_empty());
        let mut gpus = opened.powered.unwrap();
        let [first, second] = gpus.devices() else { panic!("two GPUs") };
        assert_eq!(
            (first.id.as_str(), first.name.as_str()),
            ("GPU-5c88b13bd8b4d3a1", "Instinct MI210")
        );
        assert_eq!(
            (second.id.as_str(), second.name.as_str()),
            ("pci:0000:c1:00.0", "AMD GPU 0x74a1")
        );
        assert_eq!((first.minor, second.minor), (Some(128), Some(129)));
        let from: Vec<u64> = gpus.read().into_iter().map(Result::unwrap).collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let to: Vec<u64> = gpus.read().into_iter().map(Result::unwrap).collect();
        // 200 W and 100 W for 50 ms.
        assert!(to[0] - from[0] >= 10_000_000 && to[1] - from[1] >= 5_000_000, "{from:?} {to:?}");
    }

    #[test]
    fn intel_gpus_count_for_the_card_else_for_its_package() {
        let root = tempfile::tempdir().unwrap();
        let xe = [
            ("energy1_label", "card\n"),
            ("energy1_input", "700\n"),
            ("energy2_label", "pkg\n"),
            ("energy2_input", "500\n"),
        ];
        card(root.path(), 0, "xe\n", &xe);
        card(root.path(), 1, "xe\n", &xe[2..]);
        let slot = ("uevent", "DRIVER=i915\nPCI_SLOT_NAME=0000:3a:00.0\n");
        card(root.path(), 2, "i915\n", &[("energy1_input", "42\n"), slot]);
        let mut opened = open(&discover(root.path()));
        let values: Vec<u64> = opened.counted.read().into_iter().map(Result::unwrap).collect();
        assert_eq!(values, [700, 500, 42]);
        assert_eq!(opened.counted.devices()[2].id, "pci:0000:3a:00.0");
        assert_eq!(opened.counted.devices()[2].method, "hwmon");
    }

    #[test]
    fn gpus_inside_a_cpu_and_those_of_other_drivers_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        assert!(discover(root.path()).is_empty());
        card(root.path(), 0, "amdgpu", &[("power1_average", "1\n")]);
        card(root.path(), 1, "nouveau", &[CAP, ("power1_average", "1\n")]);
        card(root.path(), 2, "i915", &[]);
        assert!(discover(root.path()).is_empty());
    }

    #[test]
    fn missing_empty_garbled_and_vanishing_are_named() {
        let root = tempfile::tempdir().unwrap();
        let hwmon = card(root.path(), 0, "xe", &[("energy1_input", "")]);
        let gpus = discover(root.path());
        let mut counted = open(&gpus).counted;
        assert!(matches!(counted.read()[0], Err(ReadError::Parse { .. })));
        fs::write(hwmon.join("energy1_input"), "-5\n").unwrap();
        assert!(matches!(counted.read()[0], Err(ReadError::Parse { .. })));
        fs::write(hwmon.join("energy1_input"), "5\n").unwrap();
        assert_eq!(*counted.read()[0].as_ref().unwrap(), 5);
        fs::remove_file(hwmon.join("energy1_input")).unwrap();
        assert!(matches!(counted.read()[0], Err(ReadError::Gone { .. })));
        let opened = open(&gpus);
        assert!(opened.counted.devices().is_empty());
        let said = opened.problems[0].to_string();
        assert!(said.contains("hwmon3/energy1_input"), "{said}");
    }
}
