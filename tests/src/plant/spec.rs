//! What a simulated machine has.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::cray::Cray;
use super::hwmon::Hwmon;
use super::meter::Meter;
use super::waveform::Waveform;

/// `max_energy_range_uj` of many servers: 262 kJ, 22 minutes at 200 W.
const USUAL_MAX_ENERGY_RANGE_UJ: u64 = 262_143_328_850;

/// A simulated machine.
///
/// The default has two idle CPUs and no meter at all. As JSON, every field may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Number of CPUs as Linux counts them: hardware threads.
    pub cpus: usize,
    /// Hardware threads of one core. CPU n is a thread of core n mod cores, as on most servers;
    /// core n belongs to package n × packages / cores.
    pub threads_per_core: usize,
    /// Dies in one socket. Each die is a RAPL package of its own: with two of them the zones of
    /// four [`packages`](Self::packages) are named `package-0-die-0` to `package-1-die-1`.
    pub dies_per_socket: usize,
    /// The model name in /proc/cpuinfo.
    pub cpu_model: String,
    /// Where the CPU time comes from.
    pub cpu_time: CpuTime,
    /// The RAPL packages: `intel-rapl:0` and on.
    pub packages: Vec<Package>,
    /// The RAPL domain `psys`, in the zone behind the packages.
    pub psys: Option<Domain>,
    /// The GPUs in the order of their NVML indices.
    pub gpus: Vec<Gpu>,
    /// Other sensors: `hwmon0` and on.
    pub hwmon: Vec<Hwmon>,
    /// The counters of a Cray's node.
    pub cray: Option<Cray>,
    /// Whether everybody may read `energy_uj`; on real machines only root may.
    pub energy_uj_is_public: bool,
    /// Milliseconds between two updates.
    pub update_ms: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            cpus: 2,
            threads_per_core: 1,
            dies_per_socket: 1,
            cpu_model: "Simulated CPU @ 2.60GHz".to_owned(),
            cpu_time: CpuTime::Utilisation(0.0),
            packages: Vec::new(),
            psys: None,
            gpus: Vec::new(),
            hwmon: Vec::new(),
            cray: None,
            energy_uj_is_public: false,
            update_ms: 10,
        }
    }
}

/// Where the CPU time in /proc/stat comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuTime {
    /// Every CPU is busy for this part of the time, 0 to 1.
    Utilisation(f64),
    /// The CPUs are as busy as this cpuacct group (v1) is. It need not exist yet, and may vanish
    /// and start over; what it used is kept.
    Cpuacct(PathBuf),
    /// The same of a group of v2, which tells nothing of single CPUs: they share its time evenly.
    CpuStat(PathBuf),
}

/// A RAPL package with its subzones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package as a whole.
    pub package: Domain,
    /// The cores, a part of the package.
    #[serde(default)]
    pub core: Option<Domain>,
    /// The memory, beside the package.
    #[serde(default)]
    pub dram: Option<Domain>,
}

impl Package {
    /// A package without subzones.
    pub fn new(package: Domain) -> Self {
        Self { package, core: None, dram: None }
    }

    /// Adds the subzone `core`.
    pub fn core(mut self, core: Domain) -> Self {
        self.core = Some(core);
        self
    }

    /// Adds the subzone `dram`.
    pub fn dram(mut self, dram: Domain) -> Self {
        self.dram = Some(dram);
        self
    }
}

/// One RAPL energy counter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The power it counts.
    pub waveform: Waveform,
    /// The counter at the start, in microjoules.
    #[serde(default)]
    pub initial_uj: u64,
    /// Where the counter wraps, in microjoules.
    #[serde(default = "usual_max_energy_range_uj")]
    pub max_energy_range_uj: u64,
}

fn usual_max_energy_range_uj() -> u64 {
    USUAL_MAX_ENERGY_RANGE_UJ
}

impl Domain {
    /// A domain that draws constant power.
    pub fn constant(watts: f64) -> Self {
        Self::new(Waveform::Constant { watts })
    }

    /// A domain whose counter starts at 0 and wraps at the usual 262 kJ.
    pub fn new(waveform: Waveform) -> Self {
        Self { waveform, initial_uj: 0, max_energy_range_uj: USUAL_MAX_ENERGY_RANGE_UJ }
    }

    /// Sets the counter at the start, in microjoules.
    pub fn starting_at(mut self, uj: u64) -> Self {
        self.initial_uj = uj;
        self
    }

    /// Sets where the counter wraps, in microjoules.
    pub fn wrapping_at(mut self, uj: u64) -> Self {
        self.max_energy_range_uj = uj;
        self
    }
}

/// One NVIDIA GPU, as NVML shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The UUID, as in `GPU-…`.
    pub uuid: String,
    /// The product's name.
    pub name: String,
    /// The N of /dev/nvidiaN, which need not be the NVML index.
    pub minor: u32,
    /// The power it draws.
    pub waveform: Waveform,
    /// Whether it has an energy counter; GPUs before Volta have none.
    pub has_energy_counter: bool,
    /// Its MIG instances, by MIG index; empty where MIG is off.
    #[serde(default)]
    pub instances: Vec<MigInstance>,
}

/// Slices of a GPU that can be partitioned: 7 on an A100 or H100.
pub(super) const MIG_SLICES: u32 = 7;

/// One MIG instance of a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigInstance {
    /// The UUID, as in `MIG-…`.
    pub uuid: String,
    /// How many of the GPU's seven slices it has.
    pub slices: u32,
    /// The id of its GPU instance, by which the driver's files name it.
    pub id: u32,
    /// The numbers of `/dev/nvidia-caps/nvidia-capN` of its GPU instance and compute instance.
    pub capabilities: [u32; 2],
}

impl Gpu {
    /// A GPU with an energy counter and a UUID made from its minor number.
    pub fn new(minor: u32, waveform: Waveform) -> Self {
        Self {
            uuid: format!("GPU-00000000-0000-0000-0000-{minor:012}"),
            name: "Simulated GPU 80GB".to_owned(),
            minor,
            waveform,
            has_energy_counter: true,
            instances: Vec::new(),
        }
    }

    /// Adds a MIG instance.
    pub fn with_instance(mut self, instance: MigInstance) -> Self {
        self.instances.push(instance);
        self
    }

    /// A GPU that draws constant power.
    pub fn constant(minor: u32, watts: f64) -> Self {
        Self::new(minor, Waveform::Constant { watts })
    }
}

impl Spec {
    /// The meters there are, with their waveforms.
    pub fn meters(&self) -> Vec<(Meter, &Waveform)> {
        let mut meters = Vec::new();
        for (n, p) in self.packages.iter().enumerate() {
            meters.push((Meter::Package(n), &p.package.waveform));
            meters.extend(p.core.as_ref().map(|d| (Meter::Core(n), &d.waveform)));
            meters.extend(p.dram.as_ref().map(|d| (Meter::Dram(n), &d.waveform)));
        }
        meters.extend(self.psys.as_ref().map(|d| (Meter::Psys, &d.waveform)));
        meters.extend(self.gpus.iter().enumerate().map(|(n, g)| (Meter::Gpu(n), &g.waveform)));
        meters.extend(self.hwmon.iter().enumerate().map(|(n, h)| (Meter::Hwmon(n), &h.waveform)));
        meters.extend(self.cray.iter().flat_map(Cray::meters));
        meters
    }

    /// The waveform of a meter, where there is such a meter.
    pub(super) fn waveform(&self, meter: Meter) -> Option<&Waveform> {
        self.meters().into_iter().find(|(m, _)| *m == meter).map(|(_, waveform)| waveform)
    }

    /// The number of cores.
    pub(super) fn cores(&self) -> usize {
        (self.cpus / self.threads_per_core.max(1)).max(1)
    }

    /// The core a CPU is a thread of.
    pub(super) fn core_of(&self, cpu: usize) -> usize {
        cpu % self.cores()
    }

    /// The RAPL package a CPU belongs to, by its zone.
    pub(super) fn package_of(&self, cpu: usize) -> usize {
        self.core_of(cpu) * self.packages.len().max(1) / self.cores()
    }

    /// The socket and the die of a RAPL package.
    pub(super) fn place_of(&self, package: usize) -> (usize, usize) {
        let n_dies = self.dies_per_socket.max(1);
        (package / n_dies, package % n_dies)
    }

    /// The name of a RAPL package, as in its zone's `name`.
    pub(super) fn package_name(&self, package: usize) -> String {
        let (socket, die) = self.place_of(package);
        if self.dies_per_socket > 1 {
            format!("package-{socket}-die-{die}")
        } else {
            format!("package-{socket}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_survives_json_and_defaults_fill_what_is_left_out() {
        let spec = Spec {
            packages: vec![Package::new(Domain::constant(50.0)).dram(Domain::constant(5.0))],
            gpus: vec![Gpu::constant(1, 300.0), Gpu::constant(0, 100.0)],
            cpu_time: CpuTime::Cpuacct("/sys/fs/cgroup/cpuacct/slurm_n1".into()),
            ..Spec::default()
        };
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
        let text = r#"{"packages":[{"package":{"waveform":{"shape":"constant","watts":50}}}]}"#;
        let short = serde_json::from_str::<Spec>(text).unwrap();
        assert_eq!(short.packages, [Package::new(Domain::constant(50.0))]);
        assert_eq!(short.cpus, 2);
    }

    #[test]
    fn cpus_are_dealt_to_packages_in_blocks() {
        let packages = vec![Package::new(Domain::constant(1.0)); 2];
        let spec = Spec { cpus: 4, packages, ..Spec::default() };
        assert_eq!([0, 1, 2, 3].map(|cpu| spec.package_of(cpu)), [0, 0, 1, 1]);
        // With two threads a core CPUs 0 and 2 are core 0, CPUs 1 and 3 core 1.
        let threaded = Spec { threads_per_core: 2, ..spec };
        assert_eq!([0, 1, 2, 3].map(|cpu| threaded.package_of(cpu)), [0, 1, 0, 1]);
    }
}
