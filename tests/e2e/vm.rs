//! Carbontracker on pure cgroup v2 under systemd: Slurm 24.11 of Debian 13, in a virtual machine.
//!
//! `tests/vm/guest/scenario.sh` runs the jobs and leaves facts; they are judged here.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ct_tests::packages::{self, DebianPackages};
use ct_tests::plant::{CpuTime, Domain, Package, Spec, Waveform};
use ct_tests::{artifact, e2e_is_possible};
use serde_json::Value;

/// The package of the plugin for the Slurm of Debian 13.
const GUEST_PLUGIN: &str = "carbontracker-slurm-plugin-24.11";
/// What the package of the machine draws with idle CPUs, and more for each busy one.
const IDLE_W: f64 = 40.0;
const WATTS_PER_BUSY_CORE: f64 = 30.0;
/// CPU time that the start of a step takes in the emulated machine.
const STEP_CPU_S: f64 = 0.2;
/// CPUs of the machine.
const CPUS: usize = 2;

/// What `systemd-analyze security` may say of the unit: 0 is confined altogether, 9.6 not at all.
const MOST_EXPOSED: f64 = 3.5;

#[test]
fn jobs_on_cgroup_v2_under_systemd_are_split_and_reconcile() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let guest = Guest::run()?;
    guest.busy_and_sleeping_jobs_are_split_by_what_they_did()?;
    guest.restarts_and_an_upgrade_lose_nothing()?;
    guest.steps_of_an_allocation_are_all_counted("alloc")?;
    guest.steps_of_an_allocation_are_all_counted("contain")?;
    guest.the_unit_confines_the_daemon()?;
    guest.plugin_alone_starts_the_daemon()?;
    guest.node_is_well_and_its_ledger_reconciles()
}

/// What the guest left behind.
struct Guest {
    dir: PathBuf,
    /// Records by job name.
    jobs: BTreeMap<String, Value>,
    /// CPU seconds of each job's cgroup, as the guest read them, by job id.
    cpu_s: BTreeMap<u64, f64>,
}

impl Guest {
    fn run() -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let vm = target_dir()?.join("vm");
        let host = tempfile::tempdir()?;
        let script = repository.join("tests/vm/vm.sh");
        vm_sh(&script, &vm, &["build".as_ref()])?;
        // Its root tree has the headers that the plugin is built with.
        furnish(host.path(), &repository)?;
        let scenario = host.path().join("scenario.sh");
        let said = vm_sh(&script, &vm, &["run".as_ref(), scenario.as_ref(), host.path().as_ref()])?;
        let dir = vm.join("out");
        let jobs = read_jobs(&dir.join("ledger"));
        let jobs = jobs.with_context(|| format!("{} has:\n{said}", dir.display()))?;
        let cpu_s = read_usages(&dir.join("usages"))?;
        Ok(Self { dir, jobs, cpu_s })
    }

    /// A fact of a case: the file CASE.facts has lines `KEY=VALUE`.
    fn fact(&self, case: &str, key: &str) -> Result<String> {
        let path = self.dir.join(format!("{case}.facts"));
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let value = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        Ok(value.with_context(|| format!("{case} has no {key}: {text}"))?.to_owned())
    }

    /// Energy of a job against its half of the idle power and the CPU time it used, within 2 % and what
    /// the start of a step costs.
    ///
    /// The machine is emulated: a step costs slurmstepd 0.2 s of CPU time there, twenty times what it
    /// costs elsewhere, and what of it comes before the step's first hook or after its last is split
    /// otherwise. So the jobs are long enough for that to be little.
    fn assert_energy(&self, name: &str) -> Result<()> {
        let job = self.jobs.get(name).with_context(|| format!("no record of {name}"))?;
        let share = number(&job["alloc_cpus"])? / CPUS as f64;
        let id = job["job_id"].as_u64().context("a record without job_id")?;
        let cpu_s = self.cpu_s.get(&id).with_context(|| format!("no CPU time of job {id}"))?;
        let truth_j = share * IDLE_W * number(&job["elapsed_s"])? + WATTS_PER_BUSY_CORE * cpu_s;
        let energy_j = number(&job["energy_j"]["cpu"])?;
        let most_j = 0.02 * truth_j + STEP_CPU_S * WATTS_PER_BUSY_CORE;
        let is_right = (energy_j - truth_j).abs() <= most_j;
        assert!(is_right, "{name}: {energy_j} J, truth {truth_j} J: {job:#}");
        assert_eq!(job["method"]["activity"], "cgroup", "{job:#}");
        assert_eq!(job["end_reason"], "completed", "{job:#}");
        Ok(())
    }

    fn busy_and_sleeping_jobs_are_split_by_what_they_did(&self) -> Result<()> {
        self.assert_energy("busy")?;
        self.assert_energy("sleeper")?;
        let output = fs::read_to_string(self.dir.join("busy.out"))?;
        assert!(output.contains("Actual consumption:"), "{output}");
        Ok(())
    }

    /// The counters and the cgroup went on: what the daemon did not see is booked by them.
    fn restarts_and_an_upgrade_lose_nothing(&self) -> Result<()> {
        for done in ["noded", "slurmd", "stop", "start", "taken"] {
            assert_eq!(self.fact("unit", done)?, "0", "{done}");
        }
        assert_eq!(self.fact("unit", "without_slurmd")?, "active");
        self.assert_upgraded("unit", 2)?;
        assert_eq!(self.fact("unit", "active")?, "active");
        for when in ["taken_cgroup", "cgroup"] {
            assert_eq!(self.fact("unit", when)?, "0::/system.slice/ct-noded.service", "{when}");
        }
        self.assert_energy("unit")
    }

    /// Another revision is installed, and the daemon is another, before the job is over.
    fn assert_upgraded(&self, case: &str, revision: u32) -> Result<()> {
        let said = fs::read_to_string(self.dir.join(format!("{case}.log"))).unwrap_or_default();
        assert_eq!(self.fact(case, "rc")?, "0", "{said}");
        assert_ne!(self.fact(case, "before")?, self.fact(case, "after")?, "{said}");
        let version = self.fact(case, "version")?;
        assert!(version.ends_with(&format!("-{revision}")), "{version}: {said}");
        assert_eq!(self.fact(case, "running")?, "RUNNING", "the job was to outlive the upgrade");
        Ok(())
    }

    /// Without Contain the job's cgroup vanishes between the steps and starts over; with it, it
    /// stays.
    fn steps_of_an_allocation_are_all_counted(&self, case: &str) -> Result<()> {
        assert_eq!(self.fact(case, "rc")?, "0");
        self.assert_energy(case)
    }

    /// The shipped unit, by which all of the above was measured.
    fn the_unit_confines_the_daemon(&self) -> Result<()> {
        let seen = fs::read_to_string(self.dir.join("unit.txt"))?;
        let exposure: f64 = self.fact("unit", "exposure")?.parse().context(seen.clone())?;
        assert!(exposure <= MOST_EXPOSED, "{exposure}, expected at most {MOST_EXPOSED}:\n{seen}");
        let status = self.fact("unit", "status")?;
        for field in ["CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"] {
            assert!(status.contains(field), "{status}");
        }
        // A filter of system calls.
        assert!(status.contains("Seccomp: 2"), "{status}");
        assert!(!status.contains("Uid: 0"), "{status}");
        Ok(())
    }

    /// Among slurmd's processes, where it outlives slurmd; the packages start it again there, and not
    /// in the session of who installs them, also while slurmd is stopped.
    fn plugin_alone_starts_the_daemon(&self) -> Result<()> {
        assert_eq!(self.fact("plugin", "active")?, "inactive");
        for done in ["slurmd", "stop", "lives_on", "start"] {
            assert_eq!(self.fact("plugin", done)?, "0", "{done}");
        }
        self.assert_upgraded("plugin", 3)?;
        for when in ["cgroup", "cgroup_after"] {
            assert_eq!(self.fact("plugin", when)?, "0::/system.slice/slurmd.service", "{when}");
        }
        assert_eq!(self.fact("plugin", "daemons")?, "1");
        self.assert_energy("plugin")
    }

    fn node_is_well_and_its_ledger_reconciles(&self) -> Result<()> {
        assert_eq!(self.fact("node", "state")?, "idle", "{}", self.fact("node", "reason")?);
        let stop_ms: u32 = self.fact("node", "stop_ms")?.parse()?;
        assert!(stop_ms < 5000, "ct-noded took {stop_ms} ms to stop");
        let [said, complaints] = ["reconcile.json", "reconcile.err"]
            .map(|name| fs::read_to_string(self.dir.join(name)).unwrap_or_default());
        assert_eq!(self.fact("node", "reconcile_rc")?, "0", "{complaints}{said}");
        let nodes: Vec<Value> = serde_json::from_str(&said)?;
        let [node] = &nodes[..] else { panic!("one node, one month: {said}") };
        assert_eq!((&node["cluster"], &node["node"]), (&"vm".into(), &"vm".into()), "{said}");
        assert_eq!(node["difference_uj"], 0, "{said}");
        let (jobs_uj, meter_uj) = (number(&node["jobs_uj"])?, number(&node["meter_uj"])?);
        assert!(0.0 < jobs_uj && jobs_uj < meter_uj, "{said}");
        Ok(())
    }
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

/// The directory cargo builds in.
fn target_dir() -> Result<PathBuf> {
    let noded = artifact::built("ct-node", "ct-noded")?;
    let dir = noded.parent().and_then(Path::parent);
    Ok(dir.context("ct-noded lies in no directory of cargo's")?.to_owned())
}

/// Puts into a directory all that the guest needs.
fn furnish(host: &Path, repository: &Path) -> Result<()> {
    let plant = host.join("ct-plant");
    run(Command::new("strip").arg("-o").arg(plant).arg(env!("CARGO_BIN_EXE_ct-plant")))?;
    run(Command::new("cp").arg("-r").arg(repository.join("tests/vm/guest/.")).arg(host))?;
    let packages = DebianPackages::build(&packages::slurm_tree(packages::SUITE)?)?;
    for revision in 1..=3 {
        let dir = host.join(revision.to_string());
        fs::create_dir(&dir)?;
        for deb in packages.find(revision, &["carbontracker-slurm", GUEST_PLUGIN])? {
            fs::copy(&deb, dir.join(deb.file_name().context("a name")?))?;
        }
    }
    let follow = Waveform::CpuFollow { idle_w: IDLE_W, watts_per_busy_core: WATTS_PER_BUSY_CORE };
    let spec = Spec {
        cpus: CPUS,
        cpu_time: CpuTime::CpuStat("/sys/fs/cgroup/system.slice/vm_slurmstepd.scope".into()),
        packages: vec![Package::new(Domain::new(follow))],
        ..Spec::default()
    };
    fs::write(host.join("spec.json"), serde_json::to_string(&spec)?)?;
    let shipped = fs::read_to_string(repository.join("slurm-conf/carbontracker.toml"))?;
    fs::write(host.join("carbontracker.toml"), guest_config(&shipped)?)?;
    Ok(())
}

/// The configuration as it is shipped, with the plant's trees and its idle power.
fn guest_config(shipped: &str) -> Result<String> {
    let mut document: toml_edit::DocumentMut = shipped.parse()?;
    document["path"]["sysfs"] = toml_edit::value("/run/plant/sys");
    document["path"]["procfs"] = toml_edit::value("/run/plant/proc");
    document["attribution"]["idle_w"]["cpu"] = toml_edit::value(IDLE_W);
    Ok(document.to_string())
}

fn vm_sh(script: &Path, vm: &Path, arguments: &[&OsStr]) -> Result<String> {
    run(Command::new("bash").arg(script).args(arguments).env("VM", vm).env("LIMIT", "900"))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(said)
}

/// Lines of job id and microseconds.
fn read_usages(path: &Path) -> Result<BTreeMap<u64, f64>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let parse = |line: &str| -> Result<(u64, f64)> {
        let (id, us) = line.split_once(' ').with_context(|| line.to_owned())?;
        Ok((id.parse()?, us.parse::<f64>()? * 1e-6))
    };
    text.lines().map(parse).collect()
}

/// Records of jobs, by job name.
fn read_jobs(ledger: &Path) -> Result<BTreeMap<String, Value>> {
    let mut jobs = BTreeMap::new();
    for month in fs::read_dir(ledger)?.flatten().filter(|m| m.file_name() != "live") {
        for line in fs::read_to_string(month.path().join("vm.jsonl"))?.lines() {
            let record: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if record["kind"] == "job" {
                let name = record["job_name"].as_str().unwrap_or_default().to_owned();
                ensure!(jobs.insert(name, record).is_none(), "a job has two records: {line}");
            }
        }
    }
    Ok(jobs)
}
