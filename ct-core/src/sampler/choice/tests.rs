//! Trees, and the meters that are chosen on them.

use std::fs;
use std::path::Path;

use super::*;

/// A file below sysfs; directories come with it.
type File = (&'static str, &'static str);

const RAPL_PACKAGE: [File; 3] = [
    ("class/powercap/intel-rapl:0/name", "package-0"),
    ("class/powercap/intel-rapl:0/energy_uj", "1000"),
    ("class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850"),
];
const RAPL_DRAM: [File; 3] = [
    ("class/powercap/intel-rapl:0:0/name", "dram"),
    ("class/powercap/intel-rapl:0:0/energy_uj", "1000"),
    ("class/powercap/intel-rapl:0:0/max_energy_range_uj", "65712999613"),
];
/// What must never be added to the package.
const RAPL_INSIDE: [File; 6] = [
    ("class/powercap/intel-rapl:0:1/name", "core"),
    ("class/powercap/intel-rapl:0:1/energy_uj", "1000"),
    ("class/powercap/intel-rapl:0:1/max_energy_range_uj", "262143328850"),
    ("class/powercap/intel-rapl:1/name", "psys"),
    ("class/powercap/intel-rapl:1/energy_uj", "1000"),
    ("class/powercap/intel-rapl:1/max_energy_range_uj", "262143328850"),
];
/// The clock of CPU 0 stands in for the PMU that a virtual machine does not have.
const PERF: [File; 9] = [
    ("bus/event_source/devices/power/type", "1"),
    ("bus/event_source/devices/power/cpumask", "0"),
    ("bus/event_source/devices/power/events/energy-pkg", "event=0x00"),
    ("bus/event_source/devices/power/events/energy-pkg.scale", "1e-9"),
    ("bus/event_source/devices/power/events/energy-pkg.unit", "Joules"),
    ("bus/event_source/devices/power/events/energy-ram", "event=0x00"),
    ("bus/event_source/devices/power/events/energy-ram.scale", "1e-9"),
    ("bus/event_source/devices/power/events/energy-ram.unit", "Joules"),
    ("devices/system/cpu/cpu0/topology/physical_package_id", "0"),
];
const CRAY: [File; 5] = [
    ("cray/pm_counters/energy", "2000 J 1690000000000 us"),
    ("cray/pm_counters/cpu_energy", "700 J 1690000000000 us"),
    ("cray/pm_counters/memory_energy", "150 J 1690000000000 us"),
    ("cray/pm_counters/accel0_energy", "400 J 1690000000000 us"),
    ("cray/pm_counters/freshness", "12"),
];
const GRACE: [File; 6] = [
    ("class/hwmon/hwmon1/device/name", "power_meter"),
    ("class/hwmon/hwmon1/device/power1_oem_info", "Module Power Socket 0"),
    ("class/hwmon/hwmon1/device/power1_average", "600000000"),
    ("class/hwmon/hwmon2/device/name", "power_meter"),
    ("class/hwmon/hwmon2/device/power1_oem_info", "CPU Power Socket 0"),
    ("class/hwmon/hwmon2/device/power1_average", "100000000"),
];
const AMD_GPU: [File; 3] = [
    ("class/drm/card0/device/hwmon/hwmon3/name", "amdgpu"),
    ("class/drm/card0/device/hwmon/hwmon3/power1_cap", "300000000"),
    ("class/drm/card0/device/hwmon/hwmon3/power1_average", "200000000"),
];
const INTEL_GPU: [File; 2] = [
    ("class/drm/card1/device/hwmon/hwmon4/name", "xe"),
    ("class/drm/card1/device/hwmon/hwmon4/energy1_input", "1000"),
];
/// Of a BMC that Linux knows and whose device is not there.
const BMC: [File; 1] = [("class/ipmi/ipmi7/dev", "239:7")];

fn tree(parts: &[&[File]]) -> (tempfile::TempDir, Config) {
    let root = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.path.sysfs = root.path().join("sys");
    config.path.procfs = root.path().join("proc");
    fs::create_dir_all(&config.path.procfs).unwrap();
    fs::write(config.path.procfs.join("stat"), "cpu 0 0 0 0 0 0 0 0\ncpu0 0\n").unwrap();
    for (file, text) in parts.iter().flat_map(|part| part.iter()) {
        let path = config.path.sysfs.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }
    (root, config)
}

/// The chosen meters as `component method`, in the order of the components.
fn meters(config: &Config) -> (Vec<String>, Vec<String>) {
    let places = GpuPlaces {
        sysfs: config.path.sysfs.clone(),
        nvml_library: config.node.nvml_library.clone(),
    };
    let at = crate::sampler::now();
    let choice = choose(config, RootMeters::open(config), &places, at, || Duration::ZERO);
    assert!(choice.searches.is_empty(), "nothing hangs here");
    let mut chosen = choice.chosen;
    chosen.problems.extend(choice.said.into_iter().flat_map(|(_, problems)| problems));
    let mut devices: Vec<_> =
        chosen.sources.iter().flat_map(|s| s.devices()).map(|d| (d.component, d)).collect();
    devices.sort_by_key(|(component, _)| *component);
    let method = |method: &str| method.split(':').next().unwrap_or_default().to_owned();
    let of = |(c, d): &(Component, &crate::source::Device)| {
        format!("{} {}", c.as_str(), method(&d.method))
    };
    (devices.iter().map(of).collect(), chosen.problems)
}

#[test]
fn each_component_has_one_meter_by_table() {
    for (row, (parts, expected)) in [
        (vec![], vec!["cpu modelled"]),
        (vec![&RAPL_PACKAGE[..]], vec!["cpu rapl"]),
        (vec![&RAPL_PACKAGE, &RAPL_DRAM, &RAPL_INSIDE], vec!["cpu rapl", "dram rapl"]),
        (vec![&RAPL_PACKAGE, &RAPL_DRAM, &PERF], vec!["cpu rapl", "dram rapl"]),
        (
            vec![&CRAY],
            vec!["cpu pm_counters", "dram pm_counters", "gpu pm_counters", "rest pm_counters"],
        ),
        (
            vec![&RAPL_PACKAGE, &CRAY],
            vec!["cpu rapl", "dram pm_counters", "gpu pm_counters", "rest pm_counters"],
        ),
        (
            vec![&RAPL_PACKAGE, &RAPL_DRAM, &CRAY, &AMD_GPU, &GRACE],
            vec!["cpu rapl", "dram rapl", "gpu hwmon", "rest pm_counters"],
        ),
        (vec![&GRACE], vec!["cpu hwmon", "rest hwmon"]),
        (vec![&GRACE, &BMC], vec!["cpu hwmon", "rest hwmon"]),
        (vec![&GRACE, &CRAY[..1]], vec!["cpu hwmon", "rest pm_counters"]),
        (vec![&AMD_GPU, &INTEL_GPU], vec!["cpu modelled", "gpu hwmon", "gpu hwmon"]),
        (vec![&RAPL_PACKAGE, &BMC], vec!["cpu rapl"]),
    ]
    .into_iter()
    .enumerate()
    {
        let (_root, config) = tree(&parts);
        let (meters, problems) = meters(&config);
        assert_eq!(meters, expected, "row {row}");
        assert!(problems.is_empty(), "row {row}: {problems:?}");
    }
}

#[test]
fn perf_events_are_taken_where_powercap_is_missing() {
    for (parts, by_perf, otherwise) in [
        (vec![&PERF[..]], vec!["cpu perf", "dram perf"], vec!["cpu modelled"]),
        (vec![&RAPL_PACKAGE, &PERF], vec!["cpu rapl", "dram perf"], vec!["cpu rapl"]),
        (vec![&RAPL_PACKAGE[..1], &PERF], vec!["cpu perf", "dram perf"], vec!["cpu modelled"]),
    ] {
        let (_root, config) = tree(&parts);
        let range = "class/powercap/intel-rapl:0/max_energy_range_uj";
        if parts[0].len() == 1 {
            fs::write(config.path.sysfs.join(range), "262143328850\n").unwrap();
        }
        let (meters, problems) = meters(&config);
        // Without root, or where a sandbox forbids perf_event_open(2), it says so.
        let expected = if problems.is_empty() { by_perf } else { otherwise };
        assert_eq!(meters, expected, "{problems:?}");
        assert!(problems.iter().all(|p| p.contains("/energy")), "{problems:?}");
    }
}

#[test]
fn a_meter_that_cannot_be_opened_leaves_its_place_to_the_next_and_is_named() {
    let (_root, config) = tree(&[&RAPL_PACKAGE, &CRAY]);
    let energy = config.path.sysfs.join("class/powercap/intel-rapl:0/energy_uj");
    fs::remove_file(&energy).unwrap();
    let (meters, problems) = meters(&config);
    assert_eq!(meters[0], "cpu pm_counters");
    assert!(problems[0].contains("intel-rapl:0/energy_uj"), "{problems:?}");
}

#[test]
fn a_node_without_any_file_has_no_meter_and_says_so() {
    let mut config = Config::default();
    config.path.sysfs = Path::new("/nonexistent").to_owned();
    config.path.procfs = Path::new("/nonexistent").to_owned();
    let (meters, problems) = meters(&config);
    assert!(meters.is_empty());
    assert!(problems[0].starts_with("no CPU energy: "), "{problems:?}");
}

#[test]
fn a_cray_with_rapl_is_split_to_the_microjoule() {
    let (_root, config) = tree(&[&RAPL_PACKAGE, &CRAY]);
    let write = |file: &str, text: &str| fs::write(config.path.sysfs.join(file), text).unwrap();
    let mut sampler = crate::sampler::Sampler::open(&config);
    let mut energies = || {
        let interval = sampler.sample()?;
        let devices = sampler.devices().iter().zip(interval.devices);
        let of = |(device, drawn): (&crate::source::Device, crate::sample::DeviceEnergy)| {
            (device.component.as_str(), drawn.energy.as_u64(), drawn.answered)
        };
        Some(devices.map(of).collect::<Vec<_>>())
    };
    assert_eq!(energies(), None);
    write("class/powercap/intel-rapl:0/energy_uj", "300001007");
    write("cray/pm_counters/energy", "2900 J 1690000001000 us");
    write("cray/pm_counters/memory_energy", "180 J 1690000001000 us");
    write("cray/pm_counters/accel0_energy", "800 J 1690000001000 us");
    // 900 J of the node without 300.000007 J, 30 J and 400 J.
    let expected = [
        ("cpu", 300_000_007, true),
        ("dram", 30_000_000, true),
        ("gpu", 400_000_000, true),
        ("rest", 169_999_993, true),
    ];
    assert_eq!(energies().unwrap(), expected);
    // The node's counter is behind its parts: what is owed is taken off the next.
    write("class/powercap/intel-rapl:0/energy_uj", "301001007");
    assert_eq!(energies().unwrap()[3], ("rest", 0, true));
    write("cray/pm_counters/energy", "2902 J 1690000001100 us");
    assert_eq!(energies().unwrap()[3], ("rest", 1_000_000, true));
}
