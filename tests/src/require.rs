//! Whether end-to-end tests can run on this machine.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::tree;

/// The daemons and clients a cluster consists of; Debian installs them in these places.
const PROGRAMS: [&str; 8] = [
    "/usr/sbin/slurmctld",
    "/usr/sbin/slurmd",
    "/usr/sbin/munged",
    "/usr/bin/munge",
    "/usr/bin/srun",
    "/usr/bin/sbatch",
    "/usr/bin/setsid",
    "/usr/bin/setpriv",
];

/// Says whether a [`Cluster`](crate::Cluster) can be started here.
///
/// Where it cannot, the reason goes to stderr and the calling test is to return at once: a
/// machine without Slurm passes. With `CT_E2E=required` in the environment it fails instead.
///
/// # Panics
///
/// With `CT_E2E=required`, where something is missing.
#[track_caller]
pub fn e2e_is_possible() -> bool {
    let Some(reason) = obstacle() else { return true };
    let reason = format!("{reason}; tests/install-deps.sh installs what is missing");
    assert!(env::var("CT_E2E").as_deref() != Ok("required"), "CT_E2E=required, but {reason}");
    say_skipped(&format!("end-to-end test skipped: {reason}"));
    false
}

/// Says whether the hierarchies of cgroup v1 that Slurm uses are mounted here.
///
/// With pure cgroup v2, slurmd wants systemd and a scope of its own, which a throwaway node has not:
/// its jobs are then tracked without control groups.
pub fn has_cgroup_v1() -> bool {
    let is_mounted = ["freezer", "cpuset", "memory", "devices", "cpuacct"]
        .iter()
        .all(|controller| Path::new("/sys/fs/cgroup").join(controller).is_dir());
    is_mounted && tree::has_slurm_plugin("cgroup_v1.so")
}

/// Says whether a test of control groups can run here; the reason it cannot goes to stderr.
pub fn cgroup_test_is_possible() -> bool {
    if !has_cgroup_v1() {
        say_skipped(
            "test of control groups skipped: cgroup v1 is not mounted here, or not known to this Slurm",
        );
    }
    has_cgroup_v1()
}

/// Says whether a program that a test needs is in the PATH; that it is not goes to stderr.
///
/// # Panics
///
/// With `CT_E2E=required`, where it is one that tests/install-deps.sh installs.
#[track_caller]
pub fn has_program(name: &str, is_installed: bool) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| dir.join(name).is_file()) {
        return true;
    }
    let is_required = is_installed && env::var("CT_E2E").as_deref() == Ok("required");
    assert!(!is_required, "CT_E2E=required, but {name} is missing; see tests/install-deps.sh");
    say_skipped(&format!("test skipped: {name} is missing"));
    false
}

/// Says whether a cluster with accounts can be started here; slurmdbd and MariaDB are asked for only
/// where `CT_ACCOUNTING=required` is set, as they are large.
///
/// # Panics
///
/// With `CT_ACCOUNTING=required`, where they are missing; as [`e2e_is_possible`].
#[track_caller]
pub fn accounting_test_is_possible() -> bool {
    let programs = ["/usr/sbin/slurmdbd", "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"];
    if let Some(program) = programs.iter().find(|program| !tree::inside(program).exists()) {
        let reason = format!("{program} is not installed (Debian: slurmdbd mariadb-server)");
        let is_required = env::var("CT_ACCOUNTING").as_deref() == Ok("required");
        assert!(!is_required, "CT_ACCOUNTING=required, but {reason}");
        say_skipped(&format!("test of accounts skipped: {reason}"));
        return false;
    }
    e2e_is_possible()
}

/// Says whether the packages for RPM are to be tested; where `CT_RPM=required` is not set, that they are
/// not goes to stderr, as the tool that makes them takes minutes to compile.
#[track_caller]
pub fn rpm_test_is_wanted() -> bool {
    let is_wanted = env::var("CT_RPM").as_deref() == Ok("required");
    if !is_wanted {
        say_skipped("test of the packages for RPM skipped: CT_RPM=required runs it");
    }
    is_wanted && e2e_is_possible()
}

fn obstacle() -> Option<String> {
    if let Some(program) = PROGRAMS.iter().find(|p| !tree::inside(p).exists()) {
        return Some(format!("{program} is not installed"));
    }
    (!rustix::process::geteuid().is_root()).then(|| "the cluster's daemons need root".to_owned())
}

/// Says what a test leaves out: to stderr, which cargo shows of tests that fail, and in the file that
/// `CT_SKIPPED` names, which tests/run.sh shows at its end.
#[expect(clippy::print_stderr, reason = "a skipped test says so where cargo test shows it")]
pub fn say_skipped(text: &str) {
    eprintln!("{text}");
    let file = env::var_os("CT_SKIPPED").map(|path| OpenOptions::new().append(true).open(path));
    if let Some(Ok(mut file)) = file {
        // What cannot be noted is on stderr.
        let _ = file.write_all(format!("{text}\n").as_bytes());
    }
}
