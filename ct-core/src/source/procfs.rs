//! `/proc/stat`, `/proc/cpuinfo` and the packages of the CPUs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ReadError;
use super::cpus::MOST_CPUS;
use super::file::parse_decimal;
use crate::sample::CpuBusy;

/// Ticks per second of `/proc/stat`: USER_HZ, 100 on every Linux that Slurm runs on.
const USER_HZ: u64 = 100;

/// CPU time of the whole node since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCpu {
    /// Time that CPUs were not idle, summed over them.
    pub busy: Duration,
    /// Number of CPUs online.
    pub n_cpus: u32,
}

/// Reads `/proc/stat` below `procfs`.
///
/// # Errors
///
/// [`ReadError`] where the file is missing or has no line of all CPUs.
pub fn read_node_cpu(procfs: &Path) -> Result<NodeCpu, ReadError> {
    let path = procfs.join("stat");
    let text = fs::read_to_string(&path).map_err(|e| ReadError::from_io(&path, e))?;
    parse_stat(&text)
        .ok_or_else(|| ReadError::Parse { path, text: text.chars().take(60).collect() })
}

fn parse_stat(text: &str) -> Option<NodeCpu> {
    let mut lines = text.lines();
    let all = lines.next()?.strip_prefix("cpu ")?;
    let busy = busy_of_line(all.as_bytes())?;
    let is_cpu = |l: &&str| {
        l.strip_prefix("cpu").is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
    };
    let n_cpus = u32::try_from(lines.take_while(is_cpu).count()).ok()?;
    Some(NodeCpu { busy, n_cpus })
}

/// The time a CPU, or all of them, were busy, from the numbers of its line.
fn busy_of_line(line: &[u8]) -> Option<Duration> {
    // user nice system idle iowait irq softirq steal; guest times are inside user and nice.
    // Idle, waiting and stolen time (which ran on another guest) drew nothing here.
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut next = || parse_decimal(words.next()?);
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait) = (next()?, next()?);
    let (irq, softirq) = (next()?, next()?);
    Some(from_ticks(user + nice + system + irq + softirq))
}

/// An open `/proc/stat`, for who asks at every sample.
///
/// The kernel makes the whole text for every read of it, and opening it and reading it to its end
/// took half of the time of a sample: it is read once a sample, as far as the CPUs go.
#[derive(Debug)]
pub struct StatFile {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

/// Bytes of `/proc/stat` that are read at first; twice as many where its CPUs need more.
const STAT_BYTES: usize = 2048;

impl StatFile {
    /// The one below `procfs`; it is opened when it is read.
    pub fn new(procfs: &Path) -> Self {
        Self { path: procfs.join("stat"), file: None, buffer: vec![0; STAT_BYTES] }
    }

    /// Reads how long the CPUs were busy.
    ///
    /// # Errors
    ///
    /// As [`read_node_cpu`]; the file is opened again next time.
    pub fn read(&mut self) -> Result<CpuBusy, ReadError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(|e| ReadError::from_io(&self.path, e))?,
        };
        let n = loop {
            let n =
                file.read_at(&mut self.buffer, 0).map_err(|e| ReadError::from_io(&self.path, e))?;
            if n < self.buffer.len() || has_all_cpus(&self.buffer) {
                break n;
            }
            self.buffer.resize(2 * n, 0);
        };
        let text = &self.buffer[..n];
        let busy = parse_cpu_busy(text).ok_or_else(|| ReadError::Parse {
            path: self.path.clone(),
            text: String::from_utf8_lossy(text).chars().take(60).collect(),
        })?;
        self.file = Some(file);
        Ok(busy)
    }
}

/// Whether a line of something else has begun, so that the CPUs' lines are whole.
fn has_all_cpus(text: &[u8]) -> bool {
    let lines = text.split(|b| *b == b'\n').skip(1);
    lines.into_iter().any(|line| line.len() >= 3 && !line.starts_with(b"cpu"))
}

/// Of all CPUs, and by number, from the lines that come first; the rest is not looked at.
fn parse_cpu_busy(text: &[u8]) -> Option<CpuBusy> {
    let mut lines = text.split(|b| *b == b'\n');
    let all = busy_of_line(lines.next()?.strip_prefix(b"cpu ")?)?;
    let mut by_cpu = Vec::new();
    for line in lines.map_while(|line| line.strip_prefix(b"cpu")) {
        let Some(end) = line.iter().position(|b| *b == b' ') else { break };
        let (cpu, times) = line.split_at(end);
        let cpu = usize::try_from(parse_decimal(cpu)?).ok().filter(|c| *c < MOST_CPUS as usize)?;
        if by_cpu.len() <= cpu {
            by_cpu.resize(cpu + 1, Duration::ZERO);
        }
        by_cpu[cpu] = busy_of_line(times)?;
    }
    Some(CpuBusy { all, by_cpu })
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / USER_HZ)
}

/// What the CPUs are, as far as the model needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuTopology {
    /// `model name` of the first CPU; on Arm, where there is none, the name of its core's design.
    pub model_name: Option<String>,
    /// Number of packages; at least 1.
    pub n_packages: u32,
    /// Number of physical cores; at least 1.
    pub n_cores: u32,
}

/// Reads the CPU topology; what the trees do not say is taken as one core a CPU, one package.
pub fn read_topology(sysfs: &Path, procfs: &Path, n_cpus: u32) -> CpuTopology {
    let cpuinfo = fs::read_to_string(procfs.join("cpuinfo")).unwrap_or_default();
    let model_name = parse_model_name(&cpuinfo);
    let mut cores: Vec<(String, String)> =
        cpu_dirs(sysfs).iter().filter_map(|dir| package_and_core(&dir.join("topology"))).collect();
    cores.sort();
    cores.dedup();
    let n_cores = u32::try_from(cores.len()).unwrap_or(u32::MAX);
    cores.dedup_by(|a, b| a.0 == b.0);
    let n_packages = u32::try_from(cores.len()).unwrap_or(u32::MAX);
    let n_cores = if n_cores == 0 { n_cpus } else { n_cores };
    CpuTopology { model_name, n_packages: n_packages.max(1), n_cores: n_cores.max(1) }
}

/// What tells a core from others: its package and the CPUs that are its threads. `core_id` is taken
/// only where those are missing: the dies of one package may number their cores alike.
fn package_and_core(topology: &Path) -> Option<(String, String)> {
    let read = |name| fs::read_to_string(topology.join(name)).ok();
    let threads = read("core_cpus_list").or_else(|| read("thread_siblings_list"));
    Some((read("physical_package_id")?, threads.or_else(|| read("core_id"))?))
}

fn parse_model_name(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let value = cpuinfo.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_prefix(':'))?;
        Some(value.trim()).filter(|v| !v.is_empty())
    };
    if let Some(name) = field("model name") {
        return Some(name.to_owned());
    }
    // Arm's part numbers name the design of a core, which many vendors' chips share.
    let design = match (field("CPU implementer")?, field("CPU part")?) {
        ("0x41", "0xd08") => "Arm Cortex-A72",
        ("0x41", "0xd0c") => "Arm Neoverse-N1",
        ("0x41", "0xd40") => "Arm Neoverse-V1",
        ("0x41", "0xd49") => "Arm Neoverse-N2",
        ("0x41", "0xd4f") => "Arm Neoverse-V2",
        (implementer, part) => return Some(format!("Arm {implementer}/{part}")),
    };
    Some(design.to_owned())
}

/// The directory of every CPU below `sysfs`.
pub(super) fn cpu_dirs(sysfs: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(sysfs.join("devices/system/cpu")) else { return Vec::new() };
    let is_cpu = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.strip_prefix("cpu").is_some_and(|n| n.parse::<u32>().is_ok())
    };
    entries.flatten().map(|e| e.path()).filter(is_cpu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_out_idle_iowait_and_stolen() {
        let text = "cpu  100 10 50 1000 200 5 5 30 7 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\n";
        let cpu = parse_stat(text).unwrap();
        assert_eq!(cpu.busy, Duration::from_millis(1700));
        assert_eq!(cpu.n_cpus, 2);
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        for text in ["", "intr 5\n", "cpu  1 2\n", "cpu  a b c d e f g h\n"] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_node_cpu(dir.path()), Err(ReadError::Gone { .. })));
    }

    #[test]
    fn open_stat_file_is_read_again_and_opened_again_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut stat = StatFile::new(dir.path());
        assert!(matches!(stat.read(), Err(ReadError::Gone { .. })));
        let path = dir.path().join("stat");
        fs::write(&path, "cpu  100 10 50 1000 200 5 5 30 7 0\ncpu0 1 1 1 1 1 1 1\n").unwrap();
        assert_eq!(stat.read().unwrap().all, Duration::from_millis(1700));
        fs::write(&path, "cpu  200 10 50 1000 200 5 5 30 7 0\ncpu0 1 1 1 1 1 1 1\n").unwrap();
        assert_eq!(stat.read().unwrap().all, Duration::from_millis(2700));
        fs::write(&path, "intr 5\n").unwrap();
        assert!(matches!(stat.read(), Err(ReadError::Parse { .. })));
        assert!(stat.file.is_none());
    }

    #[test]
    fn topology_counts_cores_and_packages_once() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, package, core) in [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 0, 0)] {
            let topology = dir.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("physical_package_id"), format!("{package}\n")).unwrap();
            fs::write(topology.join("core_id"), format!("{core}\n")).unwrap();
        }
        fs::write(dir.path().join("cpuinfo"), "processor\t: 0\nmodel name\t: A CPU\n").unwrap();
        let topology = read_topology(dir.path(), dir.path(), 5);
        assert_eq!(topology.model_name.as_deref(), Some("A CPU"));
        assert_eq!((topology.n_packages, topology.n_cores), (2, 4));
        // Two dies of package 1 whose cores are numbered alike: the threads tell them apart.
        for cpu in [2, 3] {
            let topology = dir.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::write(topology.join("core_id"), "0\n").unwrap();
        }
        assert_eq!(read_topology(dir.path(), dir.path(), 5).n_cores, 3);
        for (cpu, threads) in [(0, "0,4"), (1, "1"), (2, "2"), (3, "3"), (4, "0,4")] {
            let topology = dir.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::write(topology.join("thread_siblings_list"), format!("{threads}\n")).unwrap();
        }
        assert_eq!(read_topology(dir.path(), dir.path(), 5).n_cores, 4);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(read_topology(empty.path(), empty.path(), 8).n_cores, 8);
    }

    #[test]
    fn the_model_is_named_on_every_architecture() {
        let arm =
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n";
        for (cpuinfo, name) in [
            ("model\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU\n", Some("Intel(R) Xeon(R) CPU")),
            (arm, Some("Arm Neoverse-N1")),
            ("CPU implementer\t: 0xc0\nCPU part\t: 0xac3\n", Some("Arm 0xc0/0xac3")),
            ("model name\t:\n", None),
            ("processor : 0\n", None),
            ("", None),
        ] {
            assert_eq!(parse_model_name(cpuinfo).as_deref(), name, "{cpuinfo}");
        }
    }

    #[test]
    fn busy_time_by_cpu_number_however_many_there_are() {
        let text =
            "cpu  30 0 0 9 0 0 0 0\ncpu0 10 1 2 9 5 3 4 7 0 0\ncpu2 20 0 0 0 0 0 0\nintr 1\n";
        let ms = Duration::from_millis;
        let busy = parse_cpu_busy(text.as_bytes()).unwrap();
        assert_eq!((busy.all, busy.by_cpu), (ms(300), vec![ms(200), ms(0), ms(200)]));
        for (line, what) in [
            ("cpu-1 1 1 1 1 1 1 1", "no number"),
            ("cpu99999999 1 1 1 1 1 1 1", "too many"),
            ("cpu0 1 1 1 1 1 1", "cut"),
            ("cpu0 1 1 1 1 1 1 18446744073709551616", "beyond 64 bits"),
            ("cpu0 1 1 1 1 1 1 -1", "negative"),
        ] {
            let text = format!("cpu  1 1 1 1 1 1 1\n{line}\nintr 1\n");
            assert_eq!(parse_cpu_busy(text.as_bytes()), None, "{what}");
        }
        let dir = tempfile::tempdir().unwrap();
        let cpus = (0..500).map(|cpu| format!("cpu{cpu} {cpu} 0 0 0 0 0 0 0 0 0\n"));
        let interrupts = "7 ".repeat(9000);
        let text =
            format!("cpu  9 0 0 0 0 0 0 0 0 0\n{}intr {interrupts}\n", cpus.collect::<String>());
        fs::write(dir.path().join("stat"), text).unwrap();
        let mut file = StatFile::new(dir.path());
        for _ in 0..2 {
            let busy = file.read().unwrap();
            assert_eq!((busy.by_cpu.len(), busy.by_cpu[499]), (500, ms(4990)));
        }
        assert!(file.buffer.len() <= 32 * 1024, "interrupts are not read");
    }
}
