//! A cluster with carbontracker installed, as a site installs it.
//!
//! The files of `slurm-conf/` are used as they are shipped; only paths, and what a test sets on
//! purpose, are changed in them. Every node has a power plant of its own in place of hardware.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use toml_edit::{DocumentMut, Item, Value};

use crate::artifact;
use crate::cluster::{Builder, Cluster, JobId};
use crate::plant::{CpuTime, Domain, Gpu, Package, PowerPlant, Spec, Waveform};

/// The repository's `slurm-conf`.
fn slurm_conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../slurm-conf")
}

/// What a site is to look like.
pub struct SiteBuilder {
    cluster: Builder,
    watts: Vec<f64>,
    watts_per_busy_core: Option<f64>,
    dram_watts: Option<f64>,
    gpus: usize,
    gpu_watts: f64,
    gpus_count_energy: bool,
    plugstack: String,
    config: Vec<(String, Value)>,
    has_noded: bool,
    has_report: bool,
    has_rapl: bool,
    is_plugin_faulty: bool,
    noded_preload: Option<PathBuf>,
    change_plant: fn(&mut Spec),
}

/// A booted cluster with carbontracker on every node.
pub struct Site {
    /// The plants, by node; dropped first, as they lie in the cluster's directory.
    pub plants: Vec<PowerPlant>,
    /// The cluster.
    pub cluster: Cluster,
}

impl Site {
    /// One node at 100 W.
    pub fn builder() -> SiteBuilder {
        SiteBuilder {
            cluster: Cluster::builder(),
            watts: vec![100.0],
            watts_per_busy_core: None,
            dram_watts: None,
            gpus: 0,
            gpu_watts: 250.0,
            gpus_count_energy: true,
            plugstack: String::new(),
            config: Vec::new(),
            has_noded: true,
            has_report: true,
            has_rapl: true,
            is_plugin_faulty: false,
            noded_preload: None,
            change_plant: |_| {},
        }
    }

    /// The directory of the ledger.
    pub fn ledger(&self) -> PathBuf {
        self.cluster.dir().join("ct/ledger")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.cluster.dir().join("ct/carbontracker.toml")
    }

    /// An installed program, executable by everybody.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.cluster.dir().join("ct/bin").join(name)
    }

    /// The run directory of a node.
    pub fn run_dir(&self, node: usize) -> PathBuf {
        self.cluster.dir().join("ct/run").join(self.cluster.node(node))
    }

    /// The state directory of a node.
    pub fn state_dir(&self, node: usize) -> PathBuf {
        self.cluster.dir().join("ct/state").join(self.cluster.node(node))
    }

    /// Process id of a node's ct-noded, if one runs.
    pub fn noded_pid(&self, node: usize) -> Option<u32> {
        let text = fs::read_to_string(self.run_dir(node).join("noded.pid")).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "ct-noded").then_some(pid)
    }

    /// Waits until a node's ct-noded listens.
    ///
    /// # Errors
    ///
    /// Where it does not within ten seconds.
    pub fn wait_for_noded(&self, node: usize) -> Result<u32> {
        let socket = self.run_dir(node).join("noded.sock");
        wait_for("ct-noded to listen", || {
            let pid = self.noded_pid(node)?;
            std::os::unix::net::UnixStream::connect(&socket).ok().map(|_| pid)
        })
    }

    /// Every line of the ledger that is of a job, parsed.
    ///
    /// # Errors
    ///
    /// Where a line is no JSON.
    pub fn ledger_lines(&self) -> Result<Vec<serde_json::Value>> {
        let mut lines = Vec::new();
        for line in self.ledger_text()?.lines() {
            let line: serde_json::Value =
                serde_json::from_str(line).with_context(|| line.to_owned())?;
            if line["kind"] == "job" {
                lines.push(line);
            }
        }
        Ok(lines)
    }

    /// The text of the whole ledger: lines of jobs and of nodes.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read.
    pub fn ledger_text(&self) -> Result<String> {
        let mut text = String::new();
        for month in fs::read_dir(self.ledger()).into_iter().flatten().flatten() {
            // Beside the months are the running jobs and what accounts have used.
            if month.file_name() == "live" || !month.path().is_dir() {
                continue;
            }
            for file in fs::read_dir(month.path())?.flatten() {
                text.push_str(&fs::read_to_string(file.path())?);
            }
        }
        Ok(text)
    }

    /// Waits until the ledger has `n` lines of a job and returns them by node.
    ///
    /// # Errors
    ///
    /// Where it has not within twenty seconds, or has more.
    pub fn wait_for_records(&self, job: JobId, n: usize) -> Result<Vec<serde_json::Value>> {
        let id = job.as_u32();
        let mut records = wait_for(&format!("{n} records of job {id}"), || {
            let lines = self.ledger_lines().ok()?;
            let of_job: Vec<_> = lines.into_iter().filter(|l| l["job_id"] == id).collect();
            (of_job.len() >= n).then_some(of_job)
        })?;
        if records.len() > n {
            bail!("job {id} has {} records, expected {n}: {records:#?}", records.len());
        }
        records.sort_by_key(|r| r["node"].to_string());
        Ok(records)
    }
}

/// Polls until `look` finds something, for at most twenty seconds.
///
/// # Errors
///
/// Where it does not.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
    wait_for_long(Duration::from_secs(20), what, look)
}

/// As [`wait_for`], for at most `patience`.
///
/// # Errors
///
/// Where it does not find it.
pub fn wait_for_long<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl SiteBuilder {
    /// Changes the cluster's builder.
    pub fn cluster(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.cluster = change(self.cluster);
        self
    }

    /// One node for each, whose package draws so many watts.
    pub fn watts(mut self, watts: &[f64]) -> Self {
        self.watts = watts.to_vec();
        self
    }

    /// Packages that draw so much more for each core that a job keeps busy; needs control groups.
    pub fn watts_per_busy_core(mut self, watts: f64) -> Self {
        self.watts_per_busy_core = Some(watts);
        self
    }

    /// Memory with a meter of its own.
    pub fn dram_watts(mut self, watts: f64) -> Self {
        self.dram_watts = Some(watts);
        self
    }

    /// So many GPUs on each node; GPU with NVML index i draws (i + 1) × `watts`.
    ///
    /// Their minors run against their indices, so that the two cannot be confused unseen.
    pub fn gpus(mut self, n: usize, watts: f64) -> Self {
        (self.gpus, self.gpu_watts) = (n, watts);
        self
    }

    /// GPUs that know their power only, as those before Volta.
    pub fn gpus_without_counter(mut self) -> Self {
        self.gpus_count_energy = false;
        self
    }

    /// Further arguments of the plugstack line.
    pub fn plugstack(mut self, arguments: &str) -> Self {
        self.plugstack = arguments.to_owned();
        self
    }

    /// Sets a key of carbontracker.toml, `section.key`.
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.push((key.to_owned(), value.into()));
        self
    }

    /// Leaves ct-noded out.
    pub fn without_noded(mut self) -> Self {
        self.has_noded = false;
        self
    }

    /// Leaves ct-report out, where a test has no use for it.
    pub fn without_report(mut self) -> Self {
        self.has_report = false;
        self
    }

    /// Nodes without RAPL, as most virtual machines are.
    pub fn without_rapl(mut self) -> Self {
        self.has_rapl = false;
        self
    }

    /// A plugin whose hooks panic where the plugstack line says `panic=HOOK`.
    pub fn faulty_plugin(mut self) -> Self {
        self.is_plugin_faulty = true;
        self
    }

    /// A library that every ct-noded is started with, as LD_PRELOAD has it.
    pub fn noded_preload(mut self, library: &Path) -> Self {
        self.noded_preload = Some(library.to_owned());
        self
    }

    /// Changes what every node's machine has, once all else is set.
    pub fn plant(mut self, change: fn(&mut Spec)) -> Self {
        self.change_plant = change;
        self
    }

    /// Builds, installs and boots.
    ///
    /// # Errors
    ///
    /// Where a program cannot be built or the cluster does not come up.
    pub fn start(self) -> Result<Site> {
        let n = self.watts.len();
        let cluster = self.cluster.clone().nodes(n).gpus(self.gpus).create()?;
        let dir = cluster.dir().to_owned();
        let mut programs = vec![("ct-node", "ct-track")];
        programs.extend(self.has_noded.then_some(("ct-node", "ct-noded")));
        programs.extend(self.has_report.then_some(("ct-report", "ct-report")));
        install_programs(&dir, &programs)?;
        let config = dir.join("ct/carbontracker.toml");
        fs::write(&config, self.config_text(&dir)?)?;
        let plugin = match self.is_plugin_faulty {
            true => artifact::built("carbontracker-faulty", "libcarbontracker_faulty.so")?,
            false => artifact::built("carbontracker", "libcarbontracker.so")?,
        };
        if let Some(library) = &self.noded_preload {
            preload(&noded_path(&dir), library)?;
        }
        let noded = noded_path(&dir);
        let shipped = fs::read_to_string(slurm_conf().join("plugstack.conf.d/carbontracker.conf"))?;
        cluster.install_plugin(&plugin, "carbontracker.so", |so| {
            let line = format!(
                "optional {} config={} noded={} {}",
                so.display(),
                config.display(),
                noded.display(),
                self.plugstack
            );
            shipped.replace("optional carbontracker.so", &line)
        })?;
        let mut plants = Vec::new();
        for node in 1..=n {
            let root = dir.join("plant").join(cluster.node(node));
            let mut spec = self.spec(&cluster, node);
            (self.change_plant)(&mut spec);
            let plant = PowerPlant::start(&root, spec)?;
            if self.gpus > 0 {
                fs::copy(artifact::fake_nvml()?, plant.nvml_dir().join("libfake_nvml.so"))?;
            }
            plants.push(plant);
        }
        cluster.boot()?;
        let site = Site { cluster, plants };
        if self.has_noded {
            for node in 1..=n {
                site.wait_for_noded(node)?;
            }
        }
        Ok(site)
    }

    fn spec(&self, cluster: &Cluster, node: usize) -> Spec {
        let idle_w = self.watts[node - 1];
        let package = Package::new(match self.watts_per_busy_core {
            Some(watts_per_busy_core) => {
                Domain::new(Waveform::CpuFollow { idle_w, watts_per_busy_core })
            }
            None => Domain::constant(idle_w),
        });
        // What lies inside the package must never be added to it.
        let package = package.core(Domain::constant(self.watts[node - 1] * 0.6));
        let package = match self.dram_watts {
            Some(watts) => package.dram(Domain::constant(watts)),
            None => package,
        };
        let gpu = |index: usize| {
            let minor = u32::try_from(self.gpus - 1 - index).unwrap_or_default();
            let gpu = Gpu::constant(minor, self.gpu_watts * (index + 1) as f64);
            Gpu { has_energy_counter: self.gpus_count_energy, ..gpu }
        };
        Spec {
            cpu_time: CpuTime::Cpuacct(cluster.cpuacct(node)),
            packages: if self.has_rapl { vec![package] } else { Vec::new() },
            gpus: (0..self.gpus).map(gpu).collect(),
            // Real counters are updated every millisecond; these come near.
            update_ms: 2,
            ..Spec::default()
        }
    }

    fn config_text(&self, dir: &Path) -> Result<String> {
        let shipped = fs::read_to_string(slurm_conf().join("carbontracker.toml"))?;
        let mut document: DocumentMut = shipped.parse()?;
        let ct = dir.join("ct");
        let at = |path: &str| ct.join(path).display().to_string();
        let plant = |tree: &str| dir.join("plant/%n").join(tree).display().to_string();
        let mut set = |key: &str, value: Value| -> Result<()> {
            let mut item = document.as_item_mut();
            for part in key.split('.') {
                item = item
                    .as_table_like_mut()
                    .with_context(|| format!("{key}: no such section"))?
                    .entry(part)
                    .or_insert(Item::None);
            }
            *item = Item::Value(value);
            Ok(())
        };
        set("node.run_dir", at("run/%n").into())?;
        set("node.state_dir", at("state/%n").into())?;
        set("path.sysfs", plant("sys").into())?;
        set("path.procfs", plant("proc").into())?;
        set("ledger.dir", at("ledger").into())?;
        if self.gpus > 0 {
            set("node.nvml_library", plant("nvml/libfake_nvml.so").into())?;
        }
        for (key, value) in &self.config {
            set(key, value.clone())?;
        }
        Ok(document.to_string())
    }
}

fn noded_path(dir: &Path) -> PathBuf {
    dir.join("ct/bin/ct-noded")
}

/// Puts a script in a program's place that starts it with the library before all others.
fn preload(program: &Path, library: &Path) -> Result<()> {
    // The program keeps its name, by which a process is known.
    let real = program.with_file_name("real").join(program.file_name().context("a name")?);
    fs::create_dir_all(real.parent().context("a parent")?)?;
    fs::rename(program, &real)?;
    let script =
        format!("#!/bin/sh\nLD_PRELOAD={} exec {} \"$@\"\n", library.display(), real.display());
    fs::write(program, script)?;
    Ok(fs::set_permissions(program, fs::Permissions::from_mode(0o755))?)
}

fn install_programs(dir: &Path, programs: &[(&str, &str)]) -> Result<()> {
    let bin = dir.join("ct/bin");
    fs::create_dir_all(&bin)?;
    // The service user and every job's user pass through here.
    for dir in [&dir.join("ct"), &bin] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    for (package, name) in programs {
        let to = bin.join(name);
        fs::copy(artifact::built(package, name)?, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
