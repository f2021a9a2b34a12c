//! The CPU model, for machines without a counter (most virtual machines).
//!
//! Power = idle + (TDP − idle) × utilisation of the node's CPUs. It counts in software, so it knows
//! nothing of the time before it started. Always labelled `modelled`. METHOD.md says where the
//! numbers are from and how far they may be off.

mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::procfs::{CpuTopology, NodeCpu, read_node_cpu};
use super::{Device, ReadError, Source};
use crate::energy::Component;
use crate::units::Watts;
pub use table::{CpuSpec, find, rows};

/// TDP per physical core of a CPU that is not in the table: 12 W, which Green Algorithms
/// (Lannelongue et al. 2021, doi:10.1002/advs.202100707) takes for a CPU it does not know (row "Any"
/// of its `TDP_cpu.csv`, in v1.1 and since).
pub const DEFAULT_TDP_W_PER_CORE: f64 = 12.0;
/// Idle power as a share of TDP where the site gave none: 12 %, the first point of the curve that
/// B. Davy (Teads, "Building an AWS EC2 Carbon Emissions Dataset", 2021) drew from RAPL readings of
/// Intel machines of EC2: 12, 32, 75 and 102 % of TDP at 0, 10, 50 and 100 % load.
pub const DEFAULT_IDLE_SHARE_OF_TDP: f64 = 0.12;

/// Power of all packages of a node as a function of utilisation.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuModel {
    /// Power with idle CPUs.
    pub idle: Watts,
    /// Power with busy CPUs.
    pub busy: Watts,
    /// `modelled:…`, naming where the watts come from.
    pub method: String,
}

impl CpuModel {
    /// The model from the site's watts per package, else from the table by the CPU's name, else from
    /// the documented default per core.
    pub fn new(topology: &CpuTopology, tdp_w: Option<f64>, idle_w: Option<f64>) -> Self {
        let packages = f64::from(topology.n_packages);
        let spec = || topology.model_name.as_deref().and_then(find);
        let (tdp, method) = match (tdp_w, spec()) {
            (Some(w), _) => (w * packages, "modelled:tdp-configured".to_owned()),
            (None, Some(spec)) => tabled(topology, &spec),
            (None, None) => {
                let tdp = DEFAULT_TDP_W_PER_CORE * f64::from(topology.n_cores);
                (tdp, format!("modelled:tdp-default-{DEFAULT_TDP_W_PER_CORE}W-per-core"))
            }
        };
        let idle = idle_w.map_or(tdp * DEFAULT_IDLE_SHARE_OF_TDP, |w| w * packages).min(tdp);
        Self { idle: Watts::new(idle), busy: Watts::new(tdp), method }
    }
}

/// TDP of the cores that are there: a virtual machine has but a part of its package.
fn tabled(topology: &CpuTopology, spec: &CpuSpec) -> (f64, String) {
    let all = topology.n_packages.saturating_mul(spec.cores);
    // A guest may be shown each thread as a core; more than the packages have they cannot be.
    let here = topology.n_cores.min(all);
    let tdp = spec.tdp_w * f64::from(here) / f64::from(spec.cores);
    let part = if here < all { format!(":{here}-of-{all}-cores") } else { String::new() };
    (tdp, format!("modelled:tdp-table:{}{part}", spec.name))
}

/// The model, running.
#[derive(Debug)]
pub struct CpuModelSource {
    model: CpuModel,
    devices: [Device; 1],
    procfs: PathBuf,
    last: NodeCpu,
    joules: f64,
    clock: fn() -> Duration,
    at: Duration,
}

impl CpuModelSource {
    /// Starts counting; `clock` is a monotonic clock.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where `/proc/stat` cannot be read.
    pub fn start(
        model: CpuModel,
        topology: &CpuTopology,
        procfs: &Path,
        clock: fn() -> Duration,
    ) -> Result<Self, ReadError> {
        let name = topology.model_name.as_deref().unwrap_or("cpu:0");
        let (idle, busy) = (model.idle.as_watts(), model.busy.as_watts());
        let device = Device {
            outlives_us: false,
            model: Some(format!("{idle:.1} to {busy:.1} W")),
            ..Device::new(Component::Cpu, name, "model:cpu", &model.method)
        };
        let last = read_node_cpu(procfs)?;
        let procfs = procfs.to_owned();
        Ok(Self { model, devices: [device], procfs, last, joules: 0.0, clock, at: clock() })
    }

    fn advance(&mut self) -> Result<u64, ReadError> {
        let now = read_node_cpu(&self.procfs)?;
        let at = (self.clock)();
        let busy = now.busy.saturating_sub(self.last.busy).as_secs_f64();
        let elapsed = at.saturating_sub(self.at);
        let capacity = elapsed.as_secs_f64() * f64::from(now.n_cpus.max(1));
        let utilisation = if capacity > 0.0 { (busy / capacity).min(1.0) } else { 0.0 };
        let span = self.model.busy.as_watts() - self.model.idle.as_watts();
        let power = Watts::new(self.model.idle.as_watts() + span * utilisation);
        self.joules += (power * elapsed).as_joules();
        (self.last, self.at) = (now, at);
        Ok(crate::units::Joules::new(self.joules).to_microjoules().as_u64())
    }
}

impl Source for CpuModelSource {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        vec![self.advance()]
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;

    thread_local!(static SECONDS: Cell<u64> = const { Cell::new(0) });

    fn clock() -> Duration {
        Duration::from_secs(SECONDS.get())
    }

    fn topology(name: &str, n_packages: u32, n_cores: u32) -> CpuTopology {
        let model_name = Some(name.to_owned()).filter(|n| !n.is_empty());
        CpuTopology { model_name, n_packages, n_cores }
    }

    /// Energy in joules of 10 s in which `n_cpus` CPUs ran for `busy_s` CPU seconds.
    fn energy(model: CpuModel, topology: &CpuTopology, n_cpus: u32, busy_s: u64) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let stat = |busy: u64| {
            let cpus: String = (0..n_cpus).map(|n| format!("cpu{n} 0\n")).collect();
            let text = format!("cpu {} 0 0 0 0 0 0 0\n{cpus}", busy * 100);
            fs::write(dir.path().join("stat"), text).unwrap();
        };
        stat(0);
        SECONDS.set(0);
        let mut source = CpuModelSource::start(model, topology, dir.path(), clock).unwrap();
        SECONDS.set(10);
        stat(busy_s);
        *source.read()[0].as_ref().unwrap() / 1_000_000
    }

    #[test]
    fn power_follows_utilisation_between_idle_and_tdp() {
        let topology = topology("", 2, 2);
        let model = CpuModel::new(&topology, Some(100.0), Some(10.0));
        assert_eq!(model.method, "modelled:tdp-configured");
        // Two CPUs for 10 s, of which 10 CPU seconds busy: half of 20 W … 200 W, that is 110 W.
        assert_eq!(energy(model, &topology, 2, 10), 1100);
    }

    #[test]
    fn with_two_threads_a_core_full_load_is_both_threads() {
        let topology = topology("Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz", 2, 40);
        let model = CpuModel::new(&topology, None, Some(25.0));
        assert_eq!(model.method, "modelled:tdp-table:Intel Xeon Gold 6248");
        // 40 cores, 80 CPUs: idle 50 W; 800 CPU seconds in 10 s are all of them, 300 W; one thread
        // of each core, 400 CPU seconds, is half way between, 175 W.
        for (busy_s, joules) in [(0, 500), (400, 1750), (800, 3000), (900, 3000)] {
            assert_eq!(energy(model.clone(), &topology, 80, busy_s), joules, "{busy_s} s");
        }
    }

    #[test]
    fn a_virtual_machine_has_its_cores_share_of_the_tdp() {
        let name = "AMD EPYC 7763 64-Core Processor";
        for (n_packages, n_cores, watts, part) in [
            // 280 W over 64 cores are 4.375 W a core.
            (1, 4, 17.5, ":4-of-64-cores"),
            (4, 4, 17.5, ":4-of-256-cores"),
            (1, 64, 280.0, ""),
            (2, 128, 560.0, ""),
            // Threads shown as cores: no more than the packages have.
            (1, 128, 280.0, ""),
        ] {
            let model = CpuModel::new(&topology(name, n_packages, n_cores), None, None);
            assert!((model.busy.as_watts() - watts).abs() < 1e-9, "{n_packages} {n_cores}");
            assert_eq!(model.method, format!("modelled:tdp-table:AMD EPYC 7763{part}"));
        }
    }

    #[test]
    fn what_the_site_says_comes_before_the_table() {
        let topology = topology("AMD EPYC 7763 64-Core Processor", 1, 64);
        let model = CpuModel::new(&topology, Some(240.0), Some(300.0));
        assert_eq!(model.method, "modelled:tdp-configured");
        // Idle is never above busy.
        assert_eq!((model.idle, model.busy), (Watts::new(240.0), Watts::new(240.0)));
    }

    #[test]
    fn the_defaults_are_labelled() {
        let model = CpuModel::new(&topology("AMD EPYC", 1, 4), None, None);
        // 4 cores at 12 W are 48 W, of which 12 % idle are 5.76 W.
        assert!((model.busy.as_watts() - 48.0).abs() < 1e-9);
        assert!((model.idle.as_watts() - 5.76).abs() < 1e-9);
        assert_eq!(model.method, "modelled:tdp-default-12W-per-core");
    }
}
