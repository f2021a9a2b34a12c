//! A running `ct-plant`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::meter::{Meter, Truth};
use super::readout::Fault;
use super::spec::Spec;
use crate::artifact;
use crate::process::poll_until;

/// How long the plant may take to write its last truth.
const PATIENCE: Duration = Duration::from_secs(3);

/// A simulated machine at work, until it is dropped.
///
/// It is a process of its own, so that neither a busy test nor its end disturbs the counters, and
/// it ends with this process whatever happens to it.
#[derive(Debug)]
pub struct PowerPlant {
    root: PathBuf,
    spec: Spec,
    child: Child,
    answers: BufReader<ChildStdout>,
    started_unix_s: f64,
}

impl PowerPlant {
    /// Makes the tree below `root`, which is made where missing, and starts the clocks. When this
    /// returns, all files are there.
    ///
    /// # Errors
    ///
    /// Where the tree cannot be made, or `ct-plant` is not built.
    pub fn start(root: &Path, spec: Spec) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
        let spec_file = root.join("spec.json");
        fs::write(&spec_file, serde_json::to_string_pretty(&spec)? + "\n")?;
        let mut child = Command::new(artifact::own_binary("ct-plant")?)
            .arg("--until-eof")
            .arg(&spec_file)
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Out of Ctrl-C's reach: the truth is written before the end.
            .process_group(0)
            .spawn()
            .context("cannot start ct-plant")?;
        let answers = BufReader::new(child.stdout.take().context("ct-plant has no output")?);
        let mut plant = Self { root: root.to_owned(), spec, child, answers, started_unix_s: 0.0 };
        let answer = plant.answer()?;
        let started = answer.strip_prefix("started ").and_then(|s| s.parse().ok());
        plant.started_unix_s = started.with_context(|| format!("ct-plant says {answer:?}"))?;
        Ok(plant)
    }

    /// The root of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to give as `path.sysfs`.
    pub fn sysfs(&self) -> PathBuf {
        self.root.join("sys")
    }

    /// What to give as `path.procfs`.
    pub fn procfs(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// What to give as `FAKE_NVML_DIR`.
    pub fn nvml_dir(&self) -> PathBuf {
        self.root.join("nvml")
    }

    /// The energy in joules a meter drew between two wall-clock times after the plant's start.
    ///
    /// Exact where the power does not follow the load; the counters show it up to
    /// [`Spec::update_ms`] later.
    ///
    /// # Errors
    ///
    /// Where there is no such meter, or where its energy depends on the load: then only
    /// [`PowerPlant::truth`] and [`PowerPlant::truth_at`] know.
    pub fn energy_between_j(&self, meter: Meter, from: SystemTime, to: SystemTime) -> Result<f64> {
        let meters = self.spec.meters();
        let Some((_, waveform)) = meters.iter().find(|(m, _)| *m == meter) else {
            bail!("the plant has no meter {meter}");
        };
        let energy_j = waveform.energy_between_j(self.elapsed_s(from)?, self.elapsed_s(to)?);
        energy_j.with_context(|| format!("the energy of {meter} depends on the load"))
    }

    fn elapsed_s(&self, at: SystemTime) -> Result<f64> {
        let elapsed_s = at.duration_since(UNIX_EPOCH)?.as_secs_f64() - self.started_unix_s;
        anyhow::ensure!(elapsed_s >= 0.0, "{:.3} s before the plant's start", -elapsed_s);
        Ok(elapsed_s)
    }

    /// Has the plant write `truth.json`, and reads it. The counters are up to date then.
    ///
    /// # Errors
    ///
    /// Where the plant is gone.
    pub fn truth(&mut self) -> Result<Truth> {
        self.ask("truth")?;
        let path = self.root.join("truth.json");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))
    }

    /// What the machine had drawn at a moment that has passed, by whatever load.
    ///
    /// # Errors
    ///
    /// Where the plant is gone, or had not started then.
    pub fn truth_at(&mut self, at: SystemTime) -> Result<Truth> {
        let unix_s = at.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let answer = self.ask(&format!("truth {unix_s}"))?;
        serde_json::from_str(&answer).with_context(|| format!("cannot parse {answer:?}"))
    }

    /// Lets a meter go wrong from now on, until it is healed.
    ///
    /// # Errors
    ///
    /// Where there is no such meter, or it has a fault already.
    pub fn set_fault(&mut self, meter: Meter, fault: Fault) -> Result<()> {
        self.ask(&format!("fault {meter} {fault}")).map(drop)
    }

    /// Lets a meter work again.
    ///
    /// # Errors
    ///
    /// Where there is no such meter.
    pub fn heal(&mut self, meter: Meter) -> Result<()> {
        self.ask(&format!("heal {meter}")).map(drop)
    }

    /// Asks for something, and waits until it is done.
    fn ask(&mut self, request: &str) -> Result<String> {
        let stdin = self.child.stdin.as_mut().context("ct-plant has no input")?;
        writeln!(stdin, "{request}").context("ct-plant is gone")?;
        let answer = self.answer()?;
        anyhow::ensure!(!answer.starts_with("error: "), "ct-plant says {answer:?} to {request:?}");
        Ok(answer)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let n_bytes = self.answers.read_line(&mut line).context("cannot read from ct-plant")?;
        anyhow::ensure!(n_bytes > 0, "ct-plant has ended; its reason is on stderr");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for PowerPlant {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !poll_until(PATIENCE, || !matches!(self.child.try_wait(), Ok(None))) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
