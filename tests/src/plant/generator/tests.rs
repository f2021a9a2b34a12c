//! Tests of the plant at work.

use super::*;
use crate::plant::{CpuTime, Domain, Gpu, Package};

fn read(root: &Path, path: &str) -> u64 {
    fs::read_to_string(root.join(path)).unwrap().trim().parse().unwrap()
}

#[test]
fn counters_show_the_truth_and_wrap_at_their_range() {
    let root = tempfile::tempdir().unwrap();
    let package = Domain::constant(2000.0).starting_at(999_000).wrapping_at(1_000_000);
    let spec = Spec {
        packages: vec![Package::new(package).dram(Domain::constant(7.0))],
        gpus: vec![Gpu::constant(3, 250.0)],
        ..Spec::default()
    };
    let mut plant = Generator::start(root.path(), spec).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    plant.write_truth().unwrap();
    let read = |path| read(root.path(), path);
    let truth = plant.truth();
    // At 2000 W the counter passes its range of 1 J after half a millisecond.
    let expected = (999_000 + (truth.energy_j["package-0"] * 1e6) as u64) % 1_000_000;
    let seen = read("sys/class/powercap/intel-rapl:0/energy_uj");
    assert!(seen.abs_diff(expected) <= 1, "{seen} is not {expected}");
    assert!(truth.energy_j["package-0"] > 39.9, "{truth:?}");
    let dram_uj = (truth.energy_j["package-0/dram"] * 1e6) as u64;
    assert_eq!(read("sys/class/powercap/intel-rapl:0:1/energy_uj"), dram_uj);
    assert_eq!(read("nvml/gpu0/energy_mj"), (truth.energy_j["gpu0"] * 1e3) as u64);
    assert_eq!((read("nvml/gpu0/power_mw"), read("nvml/gpu0/minor")), (250_000, 3));
}

/// A machine with two packages that draw 10 W per busy core, one CPU each.
fn plant_that_follows(root: &Path, group: &Path) -> Generator {
    let follow = Waveform::CpuFollow { idle_w: 0.0, watts_per_busy_core: 10.0 };
    let spec = Spec {
        packages: vec![Package::new(Domain::new(follow)); 2],
        cpu_time: CpuTime::Cpuacct(group.to_owned()),
        ..Spec::default()
    };
    Generator::start(root, spec).unwrap()
}

#[test]
fn load_counts_for_the_package_it_runs_on() {
    let (root, group) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plant = plant_that_follows(root.path(), group.path());
    fs::write(group.path().join("cpuacct.usage_percpu"), "3000000000 1000000000\n").unwrap();
    plant.tick().unwrap();
    // 10 W for 3 s on package 0, for 1 s on package 1.
    let energy_j = plant.truth().energy_j;
    assert_eq!((energy_j["package-0"], energy_j["package-1"]), (30.0, 10.0));
}

#[test]
fn truth_is_known_for_every_instant_since_the_start() {
    let (root, group) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut plant = plant_that_follows(root.path(), group.path());
    let (started, first_s) = (plant.started_unix_s(), plant.truth().elapsed_s);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(group.path().join("cpuacct.usage_percpu"), "2000000000 0\n").unwrap();
    plant.tick().unwrap();
    let tick_s = plant.truth().elapsed_s;
    let half = plant.truth_at(started + (first_s + tick_s) / 2.0).unwrap();
    // Two busy seconds, 20 J, since the tick at the start, which was a moment after it.
    let energy_j = half.of(Meter::Package(0)).unwrap();
    assert!((9.9..=10.1).contains(&energy_j), "{energy_j}");
    assert_eq!(plant.truth_at(started).unwrap().of(Meter::Package(0)).unwrap(), 0.0);
    assert!(plant.truth_at(started - 1.0).is_err());
    assert!(plant.truth_at(started + 3600.0).is_err());
    assert!(half.of(Meter::Psys).is_err());
}

#[test]
fn fault_of_a_meter_leaves_the_truth_and_the_other_meters() {
    let root = tempfile::tempdir().unwrap();
    let package = Package::new(Domain::constant(0.0).starting_at(5_000_000));
    let spec = Spec { packages: vec![package.dram(Domain::constant(0.0))], ..Spec::default() };
    let mut plant = Generator::start(root.path(), spec).unwrap();
    let package_uj = "sys/class/powercap/intel-rapl:0/energy_uj";
    plant.set_fault(Meter::Package(0), Some(Fault::Jump(3.0))).unwrap();
    assert_eq!(read(root.path(), package_uj), 8_000_000);
    plant.set_fault(Meter::Package(0), Some(Fault::Vanish)).unwrap();
    assert!(!root.path().join(package_uj).exists());
    assert_eq!(read(root.path(), "sys/class/powercap/intel-rapl:0:1/energy_uj"), 0);
    plant.set_fault(Meter::Package(0), None).unwrap();
    assert_eq!(read(root.path(), package_uj), 8_000_000);
    assert_eq!(plant.truth().energy_j["package-0"], 0.0);
    assert!(plant.set_fault(Meter::Psys, None).is_err());
}
