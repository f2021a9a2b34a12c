//! The plant at work: reads the clocks, writes the counters.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::cpu::CpuClock;
use super::cray::PmCounters;
use super::meter::{Meter, Truth};
use super::readout::{Fault, Quantity, Reading, Readout};
use super::spec::Spec;
use super::tree::{self, StatFile};
use super::waveform::Waveform;
use super::{hwmon, rapl};

/// NVML counts millijoules and milliwatts.
const MILLI: f64 = 1e3;

/// A simulated machine; `ct-plant` calls [`Generator::tick`] every few milliseconds.
#[derive(Debug)]
pub struct Generator {
    root: PathBuf,
    spec: Spec,
    clock: CpuClock,
    stat: StatFile,
    readouts: Vec<Readout>,
    cray: Option<PmCounters>,
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
        let readouts = make_readouts(root, &spec)?;
        let clock = CpuClock::start(&spec);
        let (started, wall) = (Instant::now(), SystemTime::now());
        let started_unix_s = wall.duration_since(UNIX_EPOCH).context("before 1970")?.as_secs_f64();
        let stat = StatFile::create(root, spec.cpus, started_unix_s)?;
        let cray = spec.cray.as_ref().map(|c| PmCounters::make(root, c, started_unix_s));
        let cray = cray.transpose()?;
        let root = root.to_owned();
        let now = Moment { busy_s: vec![0.0; spec.cpus], ..Moment::default() };
        let mut generator =
            Self { root, spec, clock, stat, readouts, cray, started, started_unix_s, now };
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
        for readout in &self.readouts {
            readout.show(self.reading(readout.meter))?;
        }
        // Taken out for the call, which asks for readings of the rest.
        if let Some(mut cray) = self.cray.take() {
            let shown = cray.show(elapsed_s, |meter| self.reading(meter));
            self.cray = Some(cray);
            shown?;
        }
        Ok(())
    }

    /// What a meter of the spec's shows now.
    fn reading(&self, meter: Meter) -> Reading {
        let waveform = self.spec.waveform(meter);
        let busy_cores = self.feeding(meter, &self.now.busy_cores);
        let power_w = waveform.map_or(0.0, |w| w.power_w(self.now.elapsed_s, busy_cores));
        let energy_j = waveform.map_or(0.0, |w| self.energy_j(meter, w, &self.now));
        let unix_us = ((self.started_unix_s + self.now.elapsed_s) * 1e6) as u64;
        Reading { energy_j, power_w, unix_us }
    }

    fn energy_j(&self, meter: Meter, waveform: &Waveform, at: &Moment) -> f64 {
        waveform.energy_j(at.elapsed_s, self.feeding(meter, &at.busy_s))
    }

    /// The sum over the CPUs whose load counts for a meter: its own package's, or all of them.
    fn feeding(&self, meter: Meter, by_cpu: &[f64]) -> f64 {
        let is_its = |cpu: usize| match meter {
            Meter::Package(n) | Meter::Core(n) | Meter::Dram(n) => self.spec.package_of(cpu) == n,
            _ => true,
        };
        by_cpu.iter().enumerate().filter(|&(cpu, _)| is_its(cpu)).map(|(_, part)| part).sum()
    }

    /// What the machine has drawn until the last tick; the files say the same, wraps and faults
    /// aside.
    pub fn truth(&self) -> Truth {
        self.truth_of(&self.now)
    }

    /// What the machine had drawn at a time since the start, in seconds since 1970; load between two
    /// ticks is taken as even.
    ///
    /// # Errors
    ///
    /// Where that time is before the start, or to come.
    pub fn truth_at(&mut self, unix_s: f64) -> Result<Truth> {
        self.tick()?;
        let elapsed_s = unix_s - self.started_unix_s;
        let is_past = (0.0..=self.now.elapsed_s).contains(&elapsed_s);
        ensure!(
            is_past,
            "{unix_s} is {elapsed_s:.3} s after the start, and now is {:.3} s",
            self.now.elapsed_s
        );
        let busy_s = self.clock.busy_at(elapsed_s);
        Ok(self.truth_of(&Moment { elapsed_s, busy_s, busy_cores: Vec::new() }))
    }

    fn truth_of(&self, at: &Moment) -> Truth {
        let meters = self.spec.meters().into_iter();
        let energies = meters.map(|(m, waveform)| (m.to_string(), self.energy_j(m, waveform, at)));
        Truth {
            started_unix_s: self.started_unix_s,
            elapsed_s: at.elapsed_s,
            busy_s: at.busy_s.iter().sum(),
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

    /// Lets every file of a meter go wrong, or work again.
    ///
    /// # Errors
    ///
    /// Where there is no such meter, or it has a fault already.
    pub fn set_fault(&mut self, meter: Meter, fault: Option<Fault>) -> Result<()> {
        self.tick()?;
        let energy_j = self.reading(meter).energy_j;
        let of_cray = self.cray.iter_mut().flat_map(|cray| &mut cray.readouts);
        let readouts = self.readouts.iter_mut().chain(of_cray);
        let mut n_files = 0;
        for readout in readouts.filter(|readout| readout.meter == meter) {
            match fault {
                Some(fault) => readout.set_fault(fault, energy_j)?,
                None => readout.heal()?,
            }
            n_files += 1;
        }
        ensure!(n_files > 0, "the plant has no meter {meter}");
        self.tick()
    }
}

fn make_readouts(root: &Path, spec: &Spec) -> Result<Vec<Readout>> {
    let mut readouts = rapl::make(root, spec)?;
    for (n, sensor) in spec.hwmon.iter().enumerate() {
        readouts.extend(hwmon::make(root, n, sensor)?);
    }
    for (n, gpu) in spec.gpus.iter().enumerate() {
        let (meter, files) = (Meter::Gpu(n), tree::make_gpu(root, n, gpu)?);
        let energy = files.energy_mj.map(|f| Readout::new(meter, Quantity::Energy, MILLI, f));
        readouts.extend(energy);
        readouts.push(Readout::new(meter, Quantity::Power, MILLI, files.power_mw));
    }
    Ok(readouts)
}

#[cfg(test)]
mod tests;
