//! What a site or a user installs, made by the scripts in `packaging`, and the root tree of another
//! Debian to install it in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artifact::{forget_cargo, target_dir};

/// The release of Debian whose Slurm the packages are made for.
pub const SUITE: &str = "trixie";

/// A release of Slurm that is not [`SUITE`]'s: its plugin is made from the committed bindings.
pub const OTHER_SLURM: &str = "22.05.8";

/// The Debian packages of this tree, quickly built, in one directory: carbontracker-slurm, the plugin
/// for the Slurm of [`SUITE`] from its headers and that for [`OTHER_SLURM`] without any; each as
/// three revisions of this version.
#[derive(Debug)]
pub struct DebianPackages {
    dir: PathBuf,
}

impl DebianPackages {
    /// Builds them for the Slurm of a tree.
    ///
    /// # Errors
    ///
    /// Where they cannot be made, with what was said.
    pub fn build(tree: &Path) -> Result<Self> {
        Ok(Self { dir: build("--deb", &["1", "2", "3"], tree, "packages-test")? })
    }

    /// Those of a revision whose names begin so; a name ends with the version's underscore.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn find(&self, revision: u32, names: &[&str]) -> Result<Vec<PathBuf>> {
        find(&self.dir, names, |name| (format!("{name}_"), format!("-{revision}_")))
    }

    /// All of the first revision.
    ///
    /// # Errors
    ///
    /// Where the directory cannot be read.
    pub fn first(&self) -> Result<Vec<PathBuf>> {
        let paths = fs::read_dir(&self.dir)?.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.to_string_lossy().contains("-1_")).collect())
    }
}

/// As [`DebianPackages`], for distributions with RPM and in two revisions.
#[derive(Debug)]
pub struct RpmPackages {
    dir: PathBuf,
}

impl RpmPackages {
    /// Builds them for the Slurm of a tree.
    ///
    /// # Errors
    ///
    /// Where they cannot be made, with what was said.
    pub fn build(tree: &Path) -> Result<Self> {
        Ok(Self { dir: build("--rpm", &["1", "2"], tree, "rpm-test")? })
    }

    /// Those of a revision with these names.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn find(&self, revision: u32, names: &[&str]) -> Result<Vec<PathBuf>> {
        // NAME-VERSION-REVISION.MACHINE.rpm; the version begins with a digit, as no name goes on.
        find(&self.dir, names, |name| (format!("{name}-0"), format!("-{revision}.")))
    }
}

/// Builds packages of a kind in a directory of that name, each in these revisions.
fn build(kind: &str, revisions: &[&str], tree: &Path, name: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let mut command = script("packaging/build");
    command.args([kind, "--profile", "dev"]);
    command.args(revisions.iter().flat_map(|number| ["--revision", number]));
    command.arg("--include").arg(tree.join("usr/include"));
    command.args(["--slurm", OTHER_SLURM]).arg("--out").arg(&dir);
    said_by(command.env("CARGO_TARGET_DIR", target_dir()?))?;
    Ok(dir)
}

/// Of each name the file that begins and goes on as `form` says.
fn find(
    dir: &Path,
    names: &[&str],
    form: impl Fn(&str) -> (String, String),
) -> Result<Vec<PathBuf>> {
    let file = |name: &&str| {
        let (start, part) = form(name);
        let is_it = |path: &PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            file.starts_with(&start) && file.contains(&part)
        };
        let mut paths = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        let found = paths.find(is_it);
        found.with_context(|| format!("no {start}*{part}* in {}", dir.display()))
    };
    names.iter().map(file).collect()
}

/// The path of a ct-track that needs no library, built where need be by `packaging/static-track`.
///
/// # Errors
///
/// Where it cannot be built, with what was said.
pub fn static_track() -> Result<PathBuf> {
    let mut command = script("packaging/static-track");
    Ok(said_by(command.arg("dev").env("CARGO_TARGET_DIR", target_dir()?))?.into())
}

/// A root tree of Debian's `suite` with its Slurm, kept beside what cargo builds.
///
/// # Errors
///
/// Where it cannot be made, which takes a minute and the network.
pub fn slurm_tree(suite: &str) -> Result<PathBuf> {
    let mut command = script("tests/vm/vm.sh");
    let command = command.arg("tree").env("VM", target_dir()?.join("vm")).env("SUITE", suite);
    Ok(said_by(command)?.into())
}

fn script(path: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
}

/// What a script printed, without the line's end.
fn said_by(command: &mut Command) -> Result<String> {
    let output =
        forget_cargo(command).output().with_context(|| format!("cannot run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed:\n{complaint}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
