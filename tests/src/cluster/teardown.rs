//! Taking a cluster down, from its directory alone.
//!
//! Nothing here relies on the process that started the cluster. A process is ended only where it
//! is certain to be the cluster's: it carries the cluster's environment, sits in a control group
//! of its nodes, or is named by a pid file in the directory and works in there.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{CLUSTER_DIR_VARIABLE, layout};
use crate::process::{self, end, is_alive, poll_until, signal};
use crate::tree;

/// How long cancelled jobs have to end by themselves, and then, killed, to complete.
const JOBS_PATIENCE: Duration = Duration::from_secs(1);
/// How long a daemon has to end by itself.
const DAEMON_PATIENCE: Duration = Duration::from_millis(1500);
/// How long killed processes have to vanish, and then their control groups.
const KILL_PATIENCE: Duration = Duration::from_secs(3);

/// Takes down the cluster in `dir`: jobs, daemons, whatever else it started, control groups and,
/// unless `CT_KEEP=1` is set, the directory itself.
///
/// # Errors
///
/// Where `dir` is no cluster's directory, or where something of the cluster cannot be removed.
pub fn teardown(dir: &Path) -> Result<()> {
    let nodes = layout::node_names(dir)?;
    cancel_jobs(dir);
    for daemon in daemons(dir, &nodes) {
        end(daemon, DAEMON_PATIENCE);
    }
    for pid in remnants(dir, &nodes) {
        signal(pid, Signal::TERM);
    }
    poll_until(DAEMON_PATIENCE, || remnants(dir, &nodes).is_empty());
    let is_quiet = poll_until(KILL_PATIENCE, || {
        let remnants = remnants(dir, &nodes);
        remnants.iter().for_each(|&pid| signal(pid, Signal::KILL));
        remnants.is_empty()
    });
    let has_no_groups = poll_until(KILL_PATIENCE, || remove_cgroups(&nodes));
    if env::var("CT_KEEP").as_deref() != Ok("1") {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    ensure!(is_quiet, "processes {:?} of {} cannot be ended", remnants(dir, &nodes), dir.display());
    ensure!(has_no_groups, "control groups {:?} cannot be removed", cgroups(&nodes));
    Ok(())
}

/// Cancels all jobs and gives them a moment, so that epilogs run while there are still daemons.
fn cancel_jobs(dir: &Path) {
    let controller = pid_in(&dir.join("pid/slurmctld"));
    if !controller.is_some_and(|pid| is_ours(pid, dir)) {
        return;
    }
    let is_idle = || client(dir, "squeue", &["--noheader"]).is_none_or(|jobs| jobs.is_empty());
    client(dir, "scancel", &["--quiet", "--partition=main"]);
    if !poll_until(JOBS_PATIENCE, is_idle) {
        // Slurm would wait for KillWait, and sends no signal to a job that is completing.
        tasks(dir).into_iter().for_each(|pid| signal(pid, Signal::KILL));
        poll_until(JOBS_PATIENCE, is_idle);
    }
}

/// The processes of jobs: they know a job's number, and no pid file knows them.
fn tasks(dir: &Path) -> Vec<u32> {
    let daemons: Vec<_> = pid_files(dir).iter().filter_map(|file| pid_in(file)).collect();
    let is_task = |&pid: &u32| carries(pid, dir) && process::has_variable(pid, "SLURM_JOB_ID");
    process::all().into_iter().filter(is_task).filter(|pid| !daemons.contains(pid)).collect()
}

/// The output of one of Slurm's commands; none where it fails or takes longer than 2 s.
fn client(dir: &Path, program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new("timeout")
        .args(["--signal=KILL", "2"])
        .args(tree::prefix(dir))
        .arg(program)
        .args(args)
        .env("SLURM_CONF", dir.join("etc/slurm.conf"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The daemons the harness started, in the order in which they are to end: no controller may
/// start a job on a node that goes, and nobody may ask a munged that is gone.
fn daemons(dir: &Path, nodes: &[String]) -> Vec<u32> {
    let slurmds = nodes.iter().map(|node| format!("slurmd-{node}"));
    let names = slurmds.chain(["slurmctld".to_owned(), "munged".to_owned()]);
    let pids = names.filter_map(|name| pid_in(&dir.join("pid").join(name)));
    pids.filter(|&pid| is_ours(pid, dir)).collect()
}

/// Everything of the cluster that still runs.
fn remnants(dir: &Path, nodes: &[String]) -> BTreeSet<u32> {
    let lineage = process::own_lineage();
    let ours = process::all().into_iter().filter(|&pid| carries(pid, dir));
    let in_groups =
        cgroups(nodes).into_iter().flat_map(|group| pids_in(&group.join("cgroup.procs")));
    let by_file = pid_files(dir).into_iter().filter_map(|file| pid_in(&file));
    let by_file = by_file.filter(|&pid| is_ours(pid, dir));
    ours.chain(in_groups)
        .chain(by_file)
        .filter(|pid| !lineage.contains(pid) && is_alive(*pid))
        .collect()
}

fn carries(pid: u32, dir: &Path) -> bool {
    let dir = dir.display();
    process::has_environment(pid, &format!("{CLUSTER_DIR_VARIABLE}={dir}"))
        || process::has_environment(pid, &format!("SLURM_CONF={dir}/etc/slurm.conf"))
}

/// Guards against process ids that have been given to somebody else.
fn is_ours(pid: u32, dir: &Path) -> bool {
    carries(pid, dir) || process::works_in(pid, dir)
}

fn pid_in(file: &Path) -> Option<u32> {
    pids_in(file).first().copied()
}

fn pids_in(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|&pid| pid > 1).collect()
}

/// All `*.pid` below a directory.
fn pid_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() && !path.is_symlink() {
            files.extend(pid_files(&path));
        } else if path.extension().is_some_and(|e| e == "pid") {
            files.push(path);
        }
    }
    files
}

/// The control groups (v1) of the nodes in every hierarchy, children before their parents.
pub(super) fn cgroups(nodes: &[String]) -> Vec<PathBuf> {
    let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
    let mut groups = Vec::new();
    for hierarchy in hierarchies.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        for node in nodes {
            collect_groups(&hierarchy.path().join(format!("slurm_{node}")), &mut groups);
        }
    }
    groups
}

fn collect_groups(group: &Path, groups: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        collect_groups(&entry.path(), groups);
    }
    groups.push(group.to_owned());
}

/// Removes the nodes' control groups; false where one is still there.
fn remove_cgroups(nodes: &[String]) -> bool {
    let groups = cgroups(nodes);
    groups.iter().filter(|group| fs::remove_dir(group).is_err()).count() == 0
}
