//! The plant at work: reads the clocks, writes the counters.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::cpu::CpuClock;
use super::spec::{Domain, Meter, Spec, Truth};
use super::tree::{self, GpuFiles, LiveFile, StatFile};
use super::waveform::Waveform;

/// Microjoules per joule, and millijoules per joule.
const UJ_PER_J: f64 = 1e6;
const MILLI: f64 = 1e3;

/// A simulated machine; `ct-plant` calls [`Generator::tick`] every few milliseconds.
#[derive(Debug)]
pub struct Generator {
    root: PathBuf,
    spec: Spec,
    clock: CpuClock,
    stat: StatFile,
    zones: Vec<(Meter, Domain, LiveFile)>,
    gpus: Vec<GpuFiles>,
    started: Instant,
    started_unix_s: f64,
    now: Moment,
}

/// The clocks at one update.
#[derive(Debug, Clone, Default)]
struct Moment {
    elapsed_s: f64,
    /// CPU time used so far, by CPU.
    busy_s: Vec<f64>,
    /// Cores busy since the update before, by CPU.
    busy_cores: Vec<f64>,
}

impl Generator {
    /// Makes the tree below `root` and starts the clocks.
    ///
    /// # Errors
    ///
    /// Where a file exists already or cannot be written, or where the spec has no CPU.
    pub fn start(root: &Path, spec: Spec) -> Result<Self> {
        ensure!(spec.cpus > 0, "the spec has no CPU, expected at least one");
        tree::make_cpus(root, &spec)?;
        let zones = make_zones(root, &spec)?;
        let gpus = spec.gpus.iter().enumerate().map(|(n, gpu)| tree::make_gpu(root, n, gpu));
        let gpus = gpus.collect::<Result<_>>()?;
        let clock = CpuClock::start(&spec);
        let (started, wall) = (Instant::now(), SystemTime::now());
        let started_unix_s = wall.duration_since(UNIX_EPOCH).context("before 1970")?.as_secs_f64();
        let stat = StatFile::create(root, spec.cpus, started_unix_s)?;
        let root = root.to_owned();
        let now = Moment { busy_s: vec![0.0; spec.cpus], ..Moment::default() };
        let mut generator =
            Self { root, spec, clock, stat, zones, gpus, started, started_unix_s, now };
        generator.tick()?;
        Ok(generator)
    }

    /// The pause between two ticks.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.spec.update_ms)
    }

    /// The start, in seconds since 1970.
    pub fn started_unix_s(&self) -> f64 {
        self.started_unix_s
    }

    /// Brings every file up to this moment.
    ///
    /// # Errors
    ///
    /// Where a file cannot be written.
    pub fn tick(&mut self) -> Result<()> {
        let elapsed_s = self.started.elapsed().as_secs_f64();
        let busy_s = self.clock.update(elapsed_s).to_vec();
        let tau_s = (elapsed_s - self.now.elapsed_s).max(f64::EPSILON);
        let used = busy_s.iter().zip(&self.now.busy_s);
        let busy_cores = used.map(|(now, before)| (now - before) / tau_s).collect();
        self.now = Moment { elapsed_s, busy_s, busy_cores };
        self.stat.set(&self.now.busy_s, elapsed_s, self.started_unix_s)?;
        for (meter, domain, counter) in &self.zones {
            let energy_uj = (self.energy_j(*meter, &domain.waveform) * UJ_PER_J) as u64;
            counter.set_number((domain.initial_uj + energy_uj) % domain.max_energy_range_uj)?;
        }
        for (n, (gpu, files)) in self.spec.gpus.iter().zip(&self.gpus).enumerate() {
            if let Some(counter) = &files.energy_mj {
                let energy_j = self.energy_j(Meter::Gpu(n), &gpu.waveform);
                counter.set_number((energy_j * MILLI) as u64)?;
            }
            let busy_cores = self.now.busy_cores.iter().sum();
            let power_w = gpu.waveform.power_w(elapsed_s, busy_cores);
            files.power_mw.set_number((power_w * MILLI).round() as u64)?;
        }
        Ok(())
    }

    fn energy_j(&self, meter: Meter, waveform: &Waveform) -> f64 {
        let cpus = self.now.busy_s.iter().enumerate();
        let busy_s = cpus.filter(|&(cpu, _)| self.feeds(cpu, meter)).map(|(_, s)| s).sum();
        waveform.energy_j(self.now.elapsed_s, busy_s)
    }

    /// True if the CPU's load counts for a meter: its own package's, or one of the whole machine.
    fn feeds(&self, cpu: usize, meter: Meter) -> bool {
        match meter {
            Meter::Package(n) | Meter::Core(n) | Meter::Dram(n) => self.spec.package_of(cpu) == n,
            Meter::Psys | Meter::Gpu(_) => true,
        }
    }

    /// What the machine has drawn until the last tick; the files say the same, wraps aside.
    pub fn truth(&self) -> Truth {
        let meters = self.spec.meters().into_iter();
        let energies = meters.map(|(m, waveform)| (m.to_string(), self.energy_j(m, &waveform)));
        Truth {
            started_unix_s: self.started_unix_s,
            elapsed_s: self.now.elapsed_s,
            busy_s: self.now.busy_s.iter().sum(),
            energy_j: energies.collect(),
        }
    }

    /// Brings everything up to this moment, `truth.json` included.
    ///
    /// # Errors
    ///
    /// As [`Generator::tick`].
    pub fn write_truth(&mut self) -> Result<()> {
        self.tick()?;
        let (path, draft) = (self.root.join("truth.json"), self.root.join("truth.json.new"));
        fs::write(&draft, serde_json::to_string_pretty(&self.truth())? + "\n")
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn make_zones(root: &Path, spec: &Spec) -> Result<Vec<(Meter, Domain, LiveFile)>> {
    let mut zones = Vec::new();
    let mut make = |meter, zone: String, name: String, domain: Option<Domain>| {
        let Some(domain) = domain else { return anyhow::Ok(()) };
        let file = tree::make_zone(root, &zone, &name, &domain, spec.energy_uj_is_public)?;
        zones.push((meter, domain, file));
        Ok(())
    };
    for (n, p) in spec.packages.iter().enumerate() {
        let zone = format!("intel-rapl:{n}");
        make(Meter::Core(n), format!("{zone}:0"), "core".to_owned(), p.core)?;
        make(Meter::Dram(n), format!("{zone}:1"), "dram".to_owned(), p.dram)?;
        make(Meter::Package(n), zone, format!("package-{n}"), Some(p.package))?;
    }
    let behind = format!("intel-rapl:{}", spec.packages.len());
    make(Meter::Psys, behind, "psys".to_owned(), spec.psys)?;
    if !zones.is_empty() {
        tree::make_control_type(root)?;
    }
    Ok(zones)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::{Gpu, Package};

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
        let read = |path: &str| -> u64 {
            fs::read_to_string(root.path().join(path)).unwrap().trim().parse().unwrap()
        };
        let truth = plant.truth();
        // At 2000 W the counter passes its range of 1 J after half a millisecond.
        let expected = (999_000 + (truth.energy_j["package-0"] * 1e6) as u64) % 1_000_000;
        assert_eq!(read("sys/class/powercap/intel-rapl:0/energy_uj"), expected);
        assert!(truth.energy_j["package-0"] > 39.9, "{truth:?}");
        let dram_uj = (truth.energy_j["package-0/dram"] * 1e6) as u64;
        assert_eq!(read("sys/class/powercap/intel-rapl:0:1/energy_uj"), dram_uj);
        assert_eq!(read("nvml/gpu0/energy_mj"), (truth.energy_j["gpu0"] * 1e3) as u64);
        assert_eq!((read("nvml/gpu0/power_mw"), read("nvml/gpu0/minor")), (250_000, 3));
    }

    #[test]
    fn load_counts_for_the_package_it_runs_on() {
        let (root, group) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let follow = Waveform::CpuFollow { idle_w: 0.0, watts_per_busy_core: 10.0 };
        let spec = Spec {
            packages: vec![Package::new(Domain::new(follow)); 2],
            cpu_time: crate::plant::CpuTime::Cpuacct(group.path().to_owned()),
            ..Spec::default()
        };
        let mut plant = Generator::start(root.path(), spec).unwrap();
        fs::write(group.path().join("cpuacct.usage_percpu"), "3000000000 1000000000\n").unwrap();
        plant.tick().unwrap();
        // 10 W for 3 s on package 0, for 1 s on package 1.
        let energy_j = plant.truth().energy_j;
        assert_eq!((energy_j["package-0"], energy_j["package-1"]), (30.0, 10.0));
    }
}
