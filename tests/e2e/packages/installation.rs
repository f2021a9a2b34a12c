//! A one-node cluster in the tree, whose carbontracker comes from the packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ct_tests::plant::{Domain, Package, Spec};
use ct_tests::site::wait_for;
use ct_tests::{Cluster, Output, PowerPlant, User};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::overlay::add_user;

pub(crate) const PLUGSTACK: &str = "etc/slurm/plugstack.conf";
pub(crate) const INCLUDE: &str = "include /etc/slurm/plugstack.conf.d/*.conf\n";
pub(crate) const CONFIGURATION: &str = "etc/carbontracker/carbontracker.toml";
pub(crate) const SNIPPET: &str = "etc/slurm/plugstack.conf.d/carbontracker.conf";
pub(crate) const DAEMON: &str = "/usr/sbin/ct-noded";

const WATTS: f64 = 100.0;

pub(crate) struct Installation {
    /// Dropped first, as it lies in the cluster's directory.
    _plant: PowerPlant,
    pub(crate) cluster: Cluster,
    root: PathBuf,
    packages: PathBuf,
}

impl Installation {
    /// A cluster whose daemons do not run yet, in the tree of `CT_CLUSTER_ROOT`.
    pub(crate) fn create(packages: &Path) -> Result<Self> {
        let root = PathBuf::from(std::env::var_os("CT_CLUSTER_ROOT").context("no tree")?);
        let cluster = Cluster::builder().plugstack(INCLUDE).create()?;
        add_user(&root, cluster.user(1))?;
        let plant = cluster.dir().join("plant").join(cluster.node(1));
        let spec =
            Spec { packages: vec![Package::new(Domain::constant(WATTS))], ..Spec::default() };
        let plant = PowerPlant::start(&plant, spec)?;
        Ok(Self { _plant: plant, cluster, root, packages: packages.to_owned() })
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Packages of a directory whose file names have the part.
    pub(crate) fn debs(&self, which: &str, part: &str) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.packages.join(which))?.flatten();
        let paths = entries.map(|e| e.path().display().to_string());
        Ok(paths.filter(|p| p.contains(part)).collect())
    }

    pub(crate) fn dpkg(&self, action: &str, what: &[String]) -> Result<Output> {
        let mut args = vec![action, "--force-confold"];
        args.extend(what.iter().map(String::as_str));
        self.cluster.command(&User::root(), "dpkg").args(&args).run()
    }

    /// Installs the packages of a directory; what was said.
    pub(crate) fn install(&self, which: &str) -> Result<String> {
        let output = self.dpkg("-i", &self.debs(which, ".deb")?)?;
        Ok(output.stdout().to_owned())
    }

    /// Points the daemon at the plant, as a site edits its conffile.
    pub(crate) fn edit_configuration(&self) -> Result<()> {
        let path = self.path(CONFIGURATION);
        let mut document: toml_edit::DocumentMut = fs::read_to_string(&path)?.parse()?;
        let plant = self.cluster.dir().join("plant/%n");
        for (key, tree) in [("sysfs", "sys"), ("procfs", "proc")] {
            document["path"][key] = toml_edit::value(plant.join(tree).display().to_string());
        }
        fs::write(&path, document.to_string()).context("the conffile can be edited")
    }

    /// Links two units as `systemctl enable` does, which the tree has not.
    pub(crate) fn enable_units(&self) -> Result<()> {
        let etc = self.path("etc/systemd/system");
        for (target, unit) in [("multi-user", "ct-noded.service"), ("timers", "ct-compact.timer")] {
            let wants = etc.join(format!("{target}.target.wants"));
            fs::create_dir_all(&wants)?;
            symlink(Path::new("/usr/lib/systemd/system").join(unit), wants.join(unit))?;
        }
        Ok(())
    }

    /// Our units for which there are links in `/etc/systemd`.
    pub(crate) fn enabled_units(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for wants in fs::read_dir(self.path("etc/systemd/system"))?.flatten() {
            let is_wants = wants.file_name().to_string_lossy().ends_with(".wants");
            let links = if is_wants { Some(fs::read_dir(wants.path())?) } else { None };
            let names = links.into_iter().flatten().flatten();
            found.extend(names.map(|link| link.file_name().to_string_lossy().into_owned()));
        }
        found.retain(|name| name.starts_with("ct-"));
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) fn plugin(&self) -> Result<PathBuf> {
        Self::plugin_in(&self.root)
    }

    /// The plugin of a tree.
    pub(crate) fn plugin_in(root: &Path) -> Result<PathBuf> {
        let path = root.join("usr/lib/x86_64-linux-gnu/slurm-wlm/carbontracker.so");
        ensure!(path.exists(), "{} is missing", path.display());
        Ok(path)
    }

    /// What `ct-report check` finds good, and what not, with how to mend it.
    pub(crate) fn check(&self) -> Result<(String, String)> {
        let args = ["check", "--json", "--node", &self.cluster.node(1)];
        let output = self.cluster.command(&User::root(), "ct-report").args(&args).run()?;
        let findings: Vec<Value> =
            serde_json::from_str(output.stdout_unchecked()).with_context(|| format!("{output}"))?;
        let (good, bad): (Vec<_>, Vec<_>) = findings.iter().partition(|f| f["level"] == "ok");
        let text = |found: Vec<&Value>| {
            let lines = found.iter().map(|f| format!("{} ({})\n", f["text"], f["mend"]));
            lines.collect::<String>()
        };
        Ok((text(good), text(bad)))
    }

    /// The running daemon of the node.
    pub(crate) fn daemon(&self) -> Option<u32> {
        daemon_in(&self.path("run/carbontracker"))
    }

    /// Lets the user have a configuration for a ct-noded of the user's own; where its run directory is.
    pub(crate) fn configure_daemon_of_user(&self) -> Result<PathBuf> {
        let home = self.cluster.home(self.cluster.user(1));
        let dir = |name: &str| home.join(name).display().to_string();
        let (run, state, ledger) = (dir("run"), dir("state"), dir("ledger"));
        let text = format!(
            "[node]\nrun_dir = {run:?}\nstate_dir = {state:?}\n[ledger]\ndir = {ledger:?}\n"
        );
        fs::write(home.join("own.toml"), text)?;
        Ok(home.join("run"))
    }

    /// One record of the job, at the plant's watts over its whole time.
    pub(crate) fn assert_measured(&self, job: u32, at_least_s: f64) -> Result<()> {
        let records = wait_for("the job's record", || {
            let records = self.records(job).ok()?;
            (!records.is_empty()).then_some(records)
        })?;
        let [record] = &records[..] else { panic!("one record: {records:#?}") };
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let elapsed_s = number(&record["elapsed_s"]);
        assert!(elapsed_s > at_least_s, "{record:#}");
        // Two CPUs, the job has one: it has between half of the node and all of it.
        let (least_j, most_j) = (0.48 * WATTS * elapsed_s, 1.02 * WATTS * elapsed_s);
        let energy_j = number(&record["energy_j"]["cpu"]);
        assert!((least_j..most_j).contains(&energy_j), "{record:#}");
        let log = fs::read_to_string(self.path("var/lib/carbontracker/noded.log"));
        assert_eq!(record["end_reason"], "completed", "{record:#} {log:?}");
        Ok(())
    }

    fn records(&self, job: u32) -> Result<Vec<Value>> {
        let mut records = Vec::new();
        for month in fs::read_dir(self.path("var/spool/carbontracker/ledger"))?.flatten() {
            if !month.path().is_dir() {
                continue;
            }
            for file in fs::read_dir(month.path())?.flatten().filter(|f| f.path().is_file()) {
                let lines = fs::read_to_string(file.path())?;
                let parsed = lines.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
                records.extend(parsed.filter(|r| r["kind"] == "job" && r["job_id"] == job));
            }
        }
        Ok(records)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // The cluster knows nothing of it.
        if let Some(pid) = self.daemon().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The words with which a process was started.
pub(crate) fn words(pid: u32) -> Result<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    Ok(line.trim_end_matches('\0').split('\0').map(str::to_owned).collect())
}

/// The daemon with that run directory, if one runs.
pub(crate) fn daemon_in(run_dir: &Path) -> Option<u32> {
    let text = fs::read_to_string(run_dir.join("noded.pid")).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "ct-noded").then_some(pid)
}
