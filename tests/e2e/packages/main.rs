//! The Debian packages in a clean tree of Debian 13: installed, upgraded under a running job, removed
//! and purged.
//!
//! The tree is an overlay over the one that `tests/vm/vm.sh tree` makes, and a throwaway cluster runs
//! in it. This test runs itself a second time, with the tree as `CT_CLUSTER_ROOT`.
#![forbid(unsafe_code)]

mod belief;
mod installation;
mod overlay;
mod rpm;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::packages::{self, DebianPackages};
use ct_tests::site::wait_for;
use ct_tests::{User, e2e_is_possible};

use crate::installation::{
    CONFIGURATION, DAEMON, INCLUDE, Installation, PLUGSTACK, SNIPPET, daemon_in, words,
};
use crate::overlay::Overlay;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where the second run of this program finds the packages, in three directories.
const PACKAGES_VARIABLE: &str = "CT_PACKAGES";
/// A job whose user has a ct-noded of their own; it is no concern of root's.
const JOB: &str = "#!/bin/sh
#SBATCH --carbontracker=on
/usr/sbin/ct-noded --node own --config \"$PWD/own.toml\" >own.log 2>&1 &
sleep 12
";
const OURS: &str = "carbontracker-slurm";
const PLUGIN: &str = "carbontracker-slurm-plugin-24.11";
/// For another release of Slurm.
const OTHER_PLUGIN: &str = "carbontracker-slurm-plugin-22.05";

#[test]
fn packages_are_installed_upgraded_under_a_job_removed_and_purged() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    if env::var_os("CT_CLUSTER_ROOT").is_some() {
        return live_in_the_tree();
    }
    let tree = packages::slurm_tree(packages::SUITE)?;
    let packages = DebianPackages::build(&tree)?;
    lint(&packages.first()?)?;
    let dir = tempfile::tempdir_in("/tmp")?;
    for (name, paths) in [
        ("first", packages.find(1, &[OURS, PLUGIN])?),
        ("second", packages.find(2, &[OURS, PLUGIN])?),
        ("other", packages.find(1, &[OTHER_PLUGIN])?),
    ] {
        let dir = dir.path().join(name);
        fs::create_dir(&dir)?;
        for path in paths {
            fs::copy(&path, dir.join(path.file_name().context("a name")?))?;
        }
    }
    let overlay = Overlay::over(&tree, dir.path())?;
    let name = "packages_are_installed_upgraded_under_a_job_removed_and_purged";
    let inner = Command::new(env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .env("CT_CLUSTER_ROOT", overlay.root())
        .env(PACKAGES_VARIABLE, dir.path())
        .output()?;
    let said = String::from_utf8_lossy(&[inner.stdout, inner.stderr].concat()).into_owned();
    ensure!(inner.status.success(), "{said}");
    Ok(())
}

/// What lintian finds; where it is installed, errors and warnings are failures.
fn lint(packages: &[PathBuf]) -> Result<()> {
    if Command::new("lintian").arg("--version").output().is_err() {
        let is_required = env::var("CT_LINTIAN").as_deref() == Ok("required");
        ensure!(!is_required, "CT_LINTIAN=required, but lintian is not installed");
        return Ok(());
    }
    let output =
        Command::new("lintian").args(["--fail-on", "error,warning"]).args(packages).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "lintian: {said}");
    Ok(())
}

/// The whole story, in the tree.
fn live_in_the_tree() -> Result<()> {
    let packages = env::var_os(PACKAGES_VARIABLE).context("no packages")?;
    let site = Installation::create(Path::new(&packages))?;
    begin(&site)?;
    let before = site.daemon().context("the plugin has started no daemon")?;
    let after = upgrade_under_a_job(&site, before)?;
    plugin_of_another_release_is_ignored_and_explained(&site)?;
    remove(&site, after)
}

/// Installs the first packages, before any daemon of Slurm runs.
fn begin(site: &Installation) -> Result<()> {
    for (which, name) in [("first", PLUGIN), ("other", OTHER_PLUGIN)] {
        let alone = site.dpkg("-i", &site.debs(which, "-plugin-")?)?;
        assert!(!alone.is_success(), "{name} needs another package: {alone}");
        site.dpkg("-P", &[name.to_owned()])?.success();
    }
    // The file is the administrator's: it is looked at and never changed.
    fs::write(site.path(PLUGSTACK), "")?;
    let said = site.install("first")?;
    assert!(said.contains(INCLUDE.trim_end()), "{said}");
    assert_eq!(fs::read_to_string(site.path(PLUGSTACK))?, "");
    fs::write(site.path(PLUGSTACK), INCLUDE)?;
    site.edit_configuration()?;
    site.cluster.boot()?;
    let (good, bad) = site.check()?;
    assert!(good.contains("carbontracker.so is built for Slurm 24.11"), "{good}");
    assert!(!bad.contains("carbontracker.so"), "{bad}");
    assert!(good.contains("has the plugin"), "{good}{bad}");
    Ok(())
}

/// The daemon is replaced once, the job has one record over its whole time, and what is not the
/// package's own is left alone. Returns the new daemon.
fn upgrade_under_a_job(site: &Installation, before: u32) -> Result<u32> {
    let of_user = site.configure_daemon_of_user()?;
    let job = site.cluster.sbatch(site.cluster.user(1), JOB)?;
    site.cluster.wait_until_running(job, PATIENCE)?;
    let of_user = wait_for("the user's own daemon", || daemon_in(&of_user))?;
    thread::sleep(Duration::from_secs(1));
    let edited = fs::read_to_string(site.path(CONFIGURATION))?;
    let said = site.install("second")?;
    assert_eq!(fs::read_to_string(site.path(CONFIGURATION))?, edited, "{said}");
    assert!(!said.contains("does not load the plugin"), "{said}");
    let after = wait_for("the daemon to be back", || site.daemon().filter(|p| *p != before))?;
    assert_eq!(words(after)?, [DAEMON, "--daemon", "--node", &site.cluster.node(1)]);
    assert_eq!(words(of_user)?[0], DAEMON, "a user's own is not ours to end");
    assert_eq!(site.cluster.wait_for(job, PATIENCE)?.state(), "COMPLETED");
    assert_eq!(site.daemon(), Some(after), "one restart is enough");
    site.assert_measured(job.as_u32(), 11.5)?;
    Ok(after)
}

/// Its line is optional: the job runs unmeasured, and `ct-report check` says why.
fn plugin_of_another_release_is_ignored_and_explained(site: &Installation) -> Result<()> {
    let plugin = site.plugin()?;
    let kept = fs::read(&plugin)?;
    let unpacked = tempfile::tempdir()?;
    for deb in site.debs("other", "-plugin-")? {
        let done = Command::new("dpkg-deb").arg("-x").arg(deb).arg(unpacked.path()).status()?;
        ensure!(done.success(), "dpkg-deb -x: {done}");
    }
    let other = Installation::plugin_in(unpacked.path())?;
    fs::write(&plugin, fs::read(other)?)?;
    site.cluster.srun(site.cluster.user(1), &["true"])?.success();
    let (_, bad) = site.check()?;
    let told = "carbontracker.so is built for Slurm 22.05, but this is slurm-wlm 24.11";
    assert!(bad.contains(told) && bad.contains("install the plugin for 24.11"), "{bad}");
    fs::write(&plugin, kept)?;
    Ok(())
}

fn remove(site: &Installation, daemon: u32) -> Result<()> {
    let both = [PLUGIN.to_owned(), OURS.to_owned()];
    site.enable_units()?;
    assert_eq!(site.enabled_units()?, ["ct-compact.timer", "ct-noded.service"]);
    site.dpkg("-r", &both)?.success();
    assert_eq!(site.enabled_units()?, [""; 0]);
    assert_eq!(site.daemon(), None, "daemon {daemon} went with its program");
    // The snippet is a conffile and stays; without the plugin jobs run.
    assert!(site.path(SNIPPET).exists());
    site.cluster.srun(site.cluster.user(1), &["true"])?.success();
    let said = site.dpkg("-P", &both)?.stdout().to_owned();
    for gone in [SNIPPET, CONFIGURATION, "var/lib/carbontracker", "run/carbontracker"] {
        assert!(!site.path(gone).exists(), "{gone} is left: {said}");
    }
    assert!(said.contains("ledger, is left"), "{said}");
    assert!(site.path("var/spool/carbontracker/ledger").exists());
    let root = User::root();
    let verified = site.cluster.command(&root, "dpkg").args(&["--audit"]).run()?;
    assert_eq!(verified.stdout().trim(), "", "{verified}");
    Ok(())
}
