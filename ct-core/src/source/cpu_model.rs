//! The CPU model, for machines without a counter (most virtual machines).
//!
//! Power = idle + (TDP − idle) × utilisation of the node's CPUs. It counts in software, so it knows
//! nothing of the time before it started. Always labelled `modelled`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::procfs::{CpuTopology, NodeCpu, read_node_cpu};
use super::{Device, ReadError, Source};
use crate::energy::Component;
use crate::units::Watts;

/// TDP per physical core where the site gave none: the value Green Algorithms (Lannelongue et al.
/// 2021, doi:10.1002/advs.202100707) uses for a CPU it does not know.
pub const DEFAULT_TDP_W_PER_CORE: f64 = 12.0;
/// Idle power as a share of TDP where the site gave none: Teads' EC2 measurements, 12 %.
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
    /// The model from the site's watts per package, or the documented defaults per core.
    pub fn new(topology: &CpuTopology, tdp_w: Option<f64>, idle_w: Option<f64>) -> Self {
        let packages = f64::from(topology.n_packages);
        let (tdp, method) = match tdp_w {
            Some(w) => (w * packages, "modelled:tdp-configured"),
            None => {
                let tdp = DEFAULT_TDP_W_PER_CORE * f64::from(topology.n_cores);
                (tdp, "modelled:tdp-default-12W-per-core")
            }
        };
        let idle = idle_w.map_or(tdp * DEFAULT_IDLE_SHARE_OF_TDP, |w| w * packages).min(tdp);
        Self { idle: Watts::new(idle), busy: Watts::new(tdp), method: method.to_owned() }
    }
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
        let device = Device {
            outlives_us: false,
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
    use std::fs;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    static SECONDS: AtomicU64 = AtomicU64::new(0);

    fn clock() -> Duration {
        Duration::from_secs(SECONDS.load(Ordering::Relaxed))
    }

    #[test]
    fn power_follows_utilisation_between_idle_and_tdp() {
        let dir = tempfile::tempdir().unwrap();
        let stat = |busy: u64| {
            let text = format!("cpu {busy} 0 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n");
            fs::write(dir.path().join("stat"), text).unwrap();
        };
        stat(0);
        let topology = CpuTopology { model_name: None, n_packages: 2, n_cores: 2 };
        let model = CpuModel::new(&topology, Some(100.0), Some(10.0));
        let mut source = CpuModelSource::start(model, &topology, dir.path(), clock).unwrap();
        SECONDS.store(10, Ordering::Relaxed);
        stat(1000);
        // Two CPUs for 10 s, of which 10 CPU seconds busy: half of 20 W … 200 W, that is 110 W.
        assert_eq!(*source.read()[0].as_ref().unwrap(), 1_100_000_000);
        assert_eq!(source.devices()[0].method, "modelled:tdp-configured");
    }

    #[test]
    fn the_defaults_are_labelled() {
        let topology = CpuTopology { model_name: None, n_packages: 1, n_cores: 4 };
        let model = CpuModel::new(&topology, None, None);
        // 4 cores at 12 W are 48 W, of which 12 % idle are 5.76 W.
        assert!((model.busy.as_watts() - 48.0).abs() < 1e-9);
        assert!((model.idle.as_watts() - 5.76).abs() < 1e-9);
        assert!(model.method.starts_with("modelled:"));
    }
}
