//! The files of the simulated machine: those that stay, and those that are kept current.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::spec::{Domain, Gpu, MIG_SLICES, MigInstance, Spec};

/// Ticks per second in /proc/stat, `USER_HZ`.
const TICKS_PER_S: f64 = 100.0;

/// A file that is overwritten in place, always with as many bytes.
///
/// The file is never truncated, so a reader that keeps it open finds a whole text whenever it
/// reads, the former one or the new one.
#[derive(Debug)]
pub(super) struct LiveFile {
    file: File,
    path: PathBuf,
}

impl LiveFile {
    fn create(path: &Path, text: &str) -> Result<Self> {
        write(path, text)?;
        let file = OpenOptions::new().write(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// A file that holds one number.
    pub(super) fn number(path: &Path) -> Result<Self> {
        Self::create(path, &fixed_width(0))
    }

    pub(super) fn set_number(&self, number: u64) -> Result<()> {
        anyhow::ensure!(number < MOST, "{}: {number} is too large", self.path.display());
        self.set(&fixed_width(number))
    }

    fn set(&self, text: &str) -> Result<()> {
        self.file
            .write_all_at(text.as_bytes(), 0)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Numbers are below this: a gigajoule in microjoules.
const MOST: u64 = 1_000_000_000_000_000;

/// Sixteen bytes with the line feed: the processor copies so many at once, and what is longer was
/// seen half written.
fn fixed_width(number: u64) -> String {
    format!("{number:015}\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a powercap zone and returns its counter. `zone` is `intel-rapl:0`; a subzone,
/// `intel-rapl:0:1`, lies in its parent's directory.
pub(super) fn make_zone(
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
    let counter = LiveFile::number(&dir.join("energy_uj"))?;
    let mode = if is_public { 0o444 } else { 0o400 };
    fs::set_permissions(dir.join("energy_uj"), Permissions::from_mode(mode))?;
    link(root, zone, &place)?;
    Ok(counter)
}

/// Makes the control type's own entry, which is no zone: readers have to tell it from one.
pub(super) fn make_control_type(root: &Path) -> Result<()> {
    let place = Path::new("devices/virtual/powercap/intel-rapl");
    write(&root.join("sys").join(place).join("enabled"), "1\n")?;
    link(root, "intel-rapl", place)
}

/// Links an entry of class/powercap, as sysfs does.
fn link(root: &Path, entry: &str, place: &Path) -> Result<()> {
    let class = root.join("sys/class/powercap");
    fs::create_dir_all(&class)?;
    symlink(Path::new("../..").join(place), class.join(entry))
        .with_context(|| format!("cannot link {entry} in {}", class.display()))
}

/// Makes the topology of the CPUs and /proc/cpuinfo.
pub(super) fn make_cpus(root: &Path, spec: &Spec) -> Result<()> {
    let dir = root.join("sys/devices/system/cpu");
    let last = spec.cpus.saturating_sub(1);
    let range = if last == 0 { "0\n".to_owned() } else { format!("0-{last}\n") };
    for file in ["online", "present", "possible"] {
        write(&dir.join(file), &range)?;
    }
    let mut cpuinfo = String::new();
    for cpu in 0..spec.cpus {
        let package = spec.package_of(cpu);
        let topology = dir.join(format!("cpu{cpu}/topology"));
        write(&topology.join("physical_package_id"), &format!("{package}\n"))?;
        write(&topology.join("core_id"), &format!("{cpu}\n"))?;
        write(&topology.join("thread_siblings_list"), &format!("{cpu}\n"))?;
        cpuinfo.push_str(&format!(
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: {}\n\
             physical id\t: {package}\ncore id\t\t: {cpu}\n\n",
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
    fn zones_are_nested_and_linked_as_in_sysfs() {
        let root = tempfile::tempdir().unwrap();
        make_control_type(root.path()).unwrap();
        let domain = Domain::constant(1.0);
        let _package = make_zone(root.path(), "intel-rapl:0", "package-0", &domain, false).unwrap();
        let dram = make_zone(root.path(), "intel-rapl:0:1", "dram", &domain, false).unwrap();
        dram.set_number(42).unwrap();
        let class = root.path().join("sys/class/powercap");
        let energy_uj = class.join("intel-rapl:0:1/energy_uj");
        assert_eq!(fs::read_to_string(&energy_uj).unwrap(), "000000000000042\n");
        assert_eq!(fs::read_to_string(class.join("intel-rapl:0:1/name")).unwrap(), "dram\n");
        assert!(class.join("intel-rapl:0/intel-rapl:0:1/name").exists());
        assert!(class.join("intel-rapl/intel-rapl:0").exists());
        assert_eq!(fs::metadata(&energy_uj).unwrap().permissions().mode() & 0o777, 0o400);
    }
}
