//! The CPUs of the simulated machine and its GPUs: files that stay, and those that are kept
//! current.

use std::path::Path;

use anyhow::Result;

use super::live::{LiveFile, write};
use super::spec::{Gpu, MIG_SLICES, MigInstance, Spec};

/// Ticks per second in /proc/stat, `USER_HZ`.
const TICKS_PER_S: f64 = 100.0;

/// Makes the topology of the CPUs and /proc/cpuinfo.
pub(super) fn make_cpus(root: &Path, spec: &Spec) -> Result<()> {
    let dir = root.join("sys/devices/system/cpu");
    let last = spec.cpus.saturating_sub(1);
    let range = if last == 0 { "0\n".to_owned() } else { format!("0-{last}\n") };
    for file in ["online", "present", "possible"] {
        write(&dir.join(file), &range)?;
    }
    let is_threaded = spec.threads_per_core > 1;
    write(&dir.join("smt/active"), if is_threaded { "1\n" } else { "0\n" })?;
    let mut cpuinfo = String::new();
    for cpu in 0..spec.cpus {
        let (socket, die) = spec.place_of(spec.package_of(cpu));
        let core = spec.core_of(cpu);
        let siblings: Vec<_> =
            (core..spec.cpus).step_by(spec.cores()).map(|n| n.to_string()).collect();
        let topology = dir.join(format!("cpu{cpu}/topology"));
        let set = |name: &str, text: &str| write(&topology.join(name), &format!("{text}\n"));
        set("physical_package_id", &socket.to_string())?;
        set("die_id", &die.to_string())?;
        set("core_id", &core.to_string())?;
        set("thread_siblings_list", &siblings.join(","))?;
        cpuinfo.push_str(&format!(
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: {}\n\
             physical id\t: {socket}\ncore id\t\t: {core}\n\n",
            spec.cpu_model,
        ));
    }
    write(&root.join("proc/cpuinfo"), &cpuinfo)
}

/// The simulated /proc/stat.
#[derive(Debug)]
pub(super) struct StatFile(LiveFile);

impl StatFile {
    pub(super) fn create(root: &Path, n_cpus: usize, started_unix_s: f64) -> Result<Self> {
        let text = stat_text(&vec![0.0; n_cpus], 0.0, started_unix_s);
        LiveFile::create(&root.join("proc/stat"), &text).map(Self)
    }

    /// Sets the seconds each CPU was busy until `elapsed_s`.
    pub(super) fn set(&self, busy_s: &[f64], elapsed_s: f64, started_unix_s: f64) -> Result<()> {
        self.0.set(&stat_text(busy_s, elapsed_s, started_unix_s))
    }
}

/// The text of /proc/stat; all busy time is the users', and what is not busy is idle.
fn stat_text(busy_s: &[f64], elapsed_s: f64, started_unix_s: f64) -> String {
    let line = |name: &str, (busy, idle): (u64, u64)| {
        format!("{name} {busy:012} 0 0 {idle:012} 0 0 0 0 0 0\n")
    };
    let ticks: Vec<_> = busy_s.iter().map(|&busy_s| split_ticks(busy_s, elapsed_s)).collect();
    let total = ticks.iter().fold((0, 0), |sum, cpu| (sum.0 + cpu.0, sum.1 + cpu.1));
    let mut text = line("cpu ", total);
    for (n, &cpu) in ticks.iter().enumerate() {
        text.push_str(&line(&format!("cpu{n}"), cpu));
    }
    text + &format!("intr 0\nctxt 0\nbtime {started_unix_s:.0}\nprocesses 1\nprocs_running 1\n")
}

/// Busy and idle ticks of one CPU. A group's clock may run ahead of ours by a moment, so idle
/// time is cut at zero.
fn split_ticks(busy_s: f64, elapsed_s: f64) -> (u64, u64) {
    let busy = (busy_s * TICKS_PER_S) as u64;
    (busy, ((elapsed_s * TICKS_PER_S) as u64).saturating_sub(busy))
}

/// The live files of one GPU.
#[derive(Debug)]
pub(super) struct GpuFiles {
    /// Millijoules since the start; none where the GPU has no such counter.
    pub(super) energy_mj: Option<LiveFile>,
    /// Milliwatts now.
    pub(super) power_mw: LiveFile,
}

/// Makes the directory of a GPU.
pub(super) fn make_gpu(root: &Path, index: usize, gpu: &Gpu) -> Result<GpuFiles> {
    let dir = root.join(format!("nvml/gpu{index}"));
    write(&dir.join("uuid"), &format!("{}\n", gpu.uuid))?;
    write(&dir.join("name"), &format!("{}\n", gpu.name))?;
    write(&dir.join("minor"), &format!("{}\n", gpu.minor))?;
    if !gpu.instances.is_empty() {
        make_instances(root, &dir, gpu)?;
    }
    let counter = || LiveFile::number(&dir.join("energy_mj"));
    Ok(GpuFiles {
        energy_mj: gpu.has_energy_counter.then(counter).transpose()?,
        power_mw: LiveFile::number(&dir.join("power_mw"))?,
    })
}

/// Makes what NVML and the driver show of MIG instances.
fn make_instances(root: &Path, dir: &Path, gpu: &Gpu) -> Result<()> {
    write(&dir.join("mig"), "1\n")?;
    write(&dir.join("mig_slices"), &format!("{MIG_SLICES}\n"))?;
    let line = |i: &MigInstance| format!("{} {}\n", i.uuid, i.slices);
    write(&dir.join("instances"), &gpu.instances.iter().map(line).collect::<String>())?;
    let mig = root.join(format!("proc/driver/nvidia/capabilities/gpu{}/mig", gpu.minor));
    for instance in &gpu.instances {
        let own = mig.join(format!("gi{}", instance.id));
        for (dir, number) in [&own, &own.join("ci0")].into_iter().zip(instance.capabilities) {
            let text =
                format!("DeviceFileMinor: {number}\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
            write(&dir.join("access"), &text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn stat_holds_ticks_of_busy_and_idle_time() {
        let text = stat_text(&[1.5, 0.0], 4.0, 1e9);
        let lines: Vec<_> = text.lines().collect();
        // 1.5 s of 8 s: 150 ticks busy, 650 idle.
        assert_eq!(lines[0], "cpu  000000000150 0 0 000000000650 0 0 0 0 0 0");
        assert_eq!(lines[1], "cpu0 000000000150 0 0 000000000250 0 0 0 0 0 0");
        assert_eq!(lines[2], "cpu1 000000000000 0 0 000000000400 0 0 0 0 0 0");
    }

    #[test]
    fn topology_tells_sockets_dies_and_threads() {
        use crate::plant::{Domain, Package};
        let root = tempfile::tempdir().unwrap();
        // Two sockets of two dies, one core each with two threads.
        let packages = vec![Package::new(Domain::constant(1.0)); 4];
        let spec =
            Spec { cpus: 8, threads_per_core: 2, dies_per_socket: 2, packages, ..Spec::default() };
        make_cpus(root.path(), &spec).unwrap();
        let cpus = root.path().join("sys/devices/system/cpu");
        let read = |cpu: usize, name: &str| {
            let path = cpus.join(format!("cpu{cpu}/topology")).join(name);
            fs::read_to_string(path).unwrap().trim().to_owned()
        };
        assert_eq!(
            [0, 1, 2, 3, 4].map(|cpu| read(cpu, "physical_package_id")),
            ["0", "0", "1", "1", "0"]
        );
        assert_eq!([0, 1, 2, 3, 5].map(|cpu| read(cpu, "die_id")), ["0", "1", "0", "1", "1"]);
        assert_eq!(
            (read(6, "core_id"), read(6, "thread_siblings_list")),
            ("2".into(), "2,6".into())
        );
        assert_eq!(fs::read_to_string(cpus.join("smt/active")).unwrap(), "1\n");
    }
}
