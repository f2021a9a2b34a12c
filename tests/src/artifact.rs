//! The programs and libraries under test, built by cargo.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::tree;

/// Packages built so far by this process.
static BUILT: Mutex<BTreeMap<String, ()>> = Mutex::new(BTreeMap::new());

/// The directory that cargo builds in, such as `target`.
pub(crate) fn target_dir() -> Result<PathBuf> {
    Ok(profile_dir()?.parent().context("the build directory has no parent")?.to_owned())
}

/// The directory of the running program's build, such as `target/debug`.
fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot tell which program this is")?;
    let dir = exe.parent().context("this program lies in no directory")?;
    // Test programs lie in `deps` below the directory that the binaries lie in.
    Ok(if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir }.to_owned())
}

/// The plugin has to be built for the Slurm that loads it.
const PLUGIN: &str = "carbontracker";

/// Packages of programs.
const PROGRAMS: [&str; 3] = ["ct-node", "ct-report", "ct-manual"];

/// All of them at once, with the features that `cargo test --workspace` gives to the crates of
/// others: for one package alone cargo would build most of those crates once more. It is the example
/// that makes cargo count the features of the tests.
const ALL_PROGRAMS: &[&str] = &["--workspace", "--bins", "--example", "node_scale"];

/// As [`profile_dir`], but apart for Slurm from another tree.
fn plugin_profile_dir() -> Result<PathBuf> {
    let dir = profile_dir()?;
    let (Some(_), Some(target), Some(profile)) = (tree::root(), dir.parent(), dir.file_name())
    else {
        return Ok(dir);
    };
    Ok(target.join("plugin").join(profile))
}

/// The path of one of this package's own binaries.
///
/// # Errors
///
/// Where cargo has not built it. It builds all of them together with any test of this package.
pub(crate) fn own_binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(name);
    ensure!(path.exists(), "{} is missing\nhint: cargo build -p ct-tests", path.display());
    Ok(path)
}

/// Builds a package of the workspace, once per process, and returns the path of `file` in it:
/// `built("carbontracker", "libcarbontracker.so")`.
///
/// The build has the profile and the target directory of the running test, so that a test never
/// sees what an earlier version left there.
///
/// # Errors
///
/// Where the build fails, with cargo's messages, or does not make that file.
pub fn built(package: &str, file: &str) -> Result<PathBuf> {
    let profile_dir = if package == PLUGIN { plugin_profile_dir()? } else { profile_dir()? };
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains_key(package) {
        build(package, &profile_dir)?;
        built.insert(package.to_owned(), ());
    }
    let path = profile_dir.join(file);
    ensure!(path.exists(), "package {package} was built, but {} is missing", path.display());
    Ok(path)
}

/// The path of `libfake_nvml.so`, built where need be.
///
/// # Errors
///
/// As [`built`].
pub fn fake_nvml() -> Result<PathBuf> {
    built("fake-nvml", "libfake_nvml.so")
}

/// Takes out of a command's environment what cargo tells the programs it runs: build scripts that look
/// at it, ring's among them, would else run again in each build that a test asks for, with all that
/// is built upon them.
pub(crate) fn forget_cargo(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

fn build(package: &str, profile_dir: &Path) -> Result<()> {
    let profile = match profile_dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target_dir = profile_dir.parent().context("the build directory has no parent")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let what = if PROGRAMS.contains(&package) { ALL_PROGRAMS } else { &["--package", package] };
    let mut command = Command::new(cargo);
    if let Some(root) = tree::root().filter(|_| package == PLUGIN) {
        // Only the plugin's file lies apart; what it is made of is shared, by a cargo that can (1.91).
        let shared = target_dir.parent().unwrap_or(target_dir);
        command.env("CT_SLURM_INCLUDE", root.join("usr/include"));
        command.env("CARGO_BUILD_BUILD_DIR", shared);
    }
    let output = forget_cargo(&mut command)
        .args(["build", "--quiet", "--profile", profile, "--target-dir"])
        .arg(target_dir)
        .args(what)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("cannot run cargo")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo build --package {package} failed:\n{stderr}");
    Ok(())
}
