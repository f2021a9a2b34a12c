//! Does Slurm load the plugin: the line in plugstack.conf, the release it was built for, what it
//! needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::elf::{self, Plugin, Release, glibc_of};
use super::machine::Machine;
use super::plugstack::{self, Line};
use super::{Area, Finding, Level};
use crate::slurm;

/// How long getconf may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The plugin that Slurm is to load.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    /// Whether nothing speaks against it.
    pub(crate) is_right: bool,
}

/// Our line of plugstack.conf, if there is one.
pub(crate) fn line(machine: &Machine) -> Option<Line> {
    plugstack::find(&machine.plugstack()).ok()?.into_iter().next()
}

/// Looks at the line, and at the plugin it names; returns that.
pub(crate) fn check(
    machine: &Machine,
    named: Option<&Path>,
    out: &mut Vec<Finding>,
) -> Option<Loaded> {
    let line = check_line(&machine.plugstack(), &mut Area::new("plugstack", out));
    check_file(machine, named, line.as_ref(), out)
}

/// Looks at the plugin that is named, else at that of the line.
pub(crate) fn check_file(
    machine: &Machine,
    named: Option<&Path>,
    line: Option<&Line>,
    out: &mut Vec<Finding>,
) -> Option<Loaded> {
    let before = out.len();
    let mut area = Area::new("plugin", out);
    let path = match (named, line) {
        (Some(named), _) => named.to_owned(),
        (None, Some(line)) => find(machine, line, &mut area)?,
        (None, None) => return None,
    };
    match elf::read(&path) {
        Ok(plugin) => check_plugin(&path, &plugin, machine, &mut area),
        Err(error) => area.fail(
            format!("{error:#}"),
            "install carbontracker.so of this Slurm's release there, readable for all",
        ),
    }
    let is_right = line.is_some() && out[before..].iter().all(|found| found.level != Level::Error);
    Some(Loaded { path, is_right })
}

fn check_line(file: &Path, area: &mut Area<'_>) -> Option<Line> {
    let mend = format!(
        "have {} include the shipped plugstack.conf.d/carbontracker.conf: \
         `include /etc/slurm/plugstack.conf.d/*.conf`",
        file.display()
    );
    let lines = match plugstack::find(file) {
        Ok(lines) => lines,
        Err(error) => {
            area.fail(format!("cannot read {}: {error}", file.display()), mend);
            return None;
        }
    };
    let Some(line) = lines.first() else {
        area.fail(format!("{} loads no carbontracker.so", file.display()), mend);
        return None;
    };
    let place = format!("{}:{}", line.file.display(), line.number);
    if let Some(second) = lines.get(1) {
        area.fail(
            format!("{place} and {}:{} both load it", second.file.display(), second.number),
            "keep one of the two lines",
        );
    } else if line.is_required {
        area.warn(
            format!("{place} says `required`: a plugin that cannot be loaded fails every job"),
            "say `optional` there",
        );
    } else {
        area.ok(format!("{place} loads {}", line.plugin.display()));
    }
    Some(line.clone())
}

fn find(machine: &Machine, line: &Line, area: &mut Area<'_>) -> Option<PathBuf> {
    let found = machine.plugin(&line.plugin);
    if found.is_none() {
        area.fail(
            format!("{} is not in Slurm's plugin directory", line.plugin.display()),
            "copy it there (`scontrol show config | grep PluginDir`), or name its full path in the \
             plugstack line",
        );
    }
    found
}

fn check_plugin(path: &Path, plugin: &Plugin, machine: &Machine, area: &mut Area<'_>) {
    let shown = path.display();
    let version = machine.version.as_deref().unwrap_or("unknown");
    match machine.release() {
        Some(release) if release == plugin.built_for => {
            area.ok(format!("{shown} is built for Slurm {release}, and this is {version}"));
        }
        Some(release) => mismatch(path, plugin.built_for, release, version, area),
        None => area.warn(
            format!(
                "{shown} is built for Slurm {}, and neither slurmd nor srun says what this is",
                plugin.built_for
            ),
            "run it where slurmd or srun is in the PATH",
        ),
    }
    if !plugin.undefined.is_empty() {
        area.fail(
            format!(
                "{shown} needs symbols that no library of its promises: {}",
                plugin.undefined.join(", ")
            ),
            "build it again with `-C relro-level=partial`, as spank-plugin/build.rs does",
        );
    }
    let here = slurm::run("getconf", &["GNU_LIBC_VERSION"], PATIENCE).ok();
    let here = here.and_then(|answer| glibc_of(&answer.out));
    if let (Some(needed), Some(here)) = (plugin.glibc, here)
        && needed > here
    {
        area.fail(
            format!(
                "{shown} needs glibc {}.{}, and this is {}.{}",
                needed.0, needed.1, here.0, here.1
            ),
            "build it on this system, or on an older one",
        );
    }
}

/// Slurm refuses a plugin of another release.
fn mismatch(path: &Path, built_for: Release, release: Release, version: &str, area: &mut Area<'_>) {
    area.fail(
        format!(
            "{} is built for Slurm {built_for}, but this is {version}, which refuses it",
            path.display()
        ),
        format!(
            "install the plugin for {release}: its package, or \
             `cargo build --release -p carbontracker` with the headers of Slurm {release}"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::tests::machine;
    use super::*;

    fn plugin() -> Plugin {
        let built_for = Release { major: 24, minor: 11 };
        Plugin { built_for, undefined: Vec::new(), glibc: Some((2, 17)) }
    }

    fn found(plugin: &Plugin, version: &str) -> Vec<Finding> {
        let mut out = Vec::new();
        let machine = machine(version, "");
        check_plugin(Path::new("c.so"), plugin, &machine, &mut Area::new("plugin", &mut out));
        out
    }

    #[test]
    fn another_release_is_told_in_one_sentence_with_its_mend() {
        let out = found(&plugin(), "slurm-wlm 22.05.8");
        assert_eq!((out.len(), out[0].level), (1, Level::Error), "{out:#?}");
        assert_eq!(
            out[0].text,
            "c.so is built for Slurm 24.11, but this is slurm-wlm 22.05.8, which refuses it"
        );
        let mend = out[0].mend.as_deref().unwrap();
        assert!(mend.starts_with("install the plugin for 22.05:"), "{mend}");
        assert_eq!(found(&plugin(), "slurm 24.11.5")[0].level, Level::Ok);
        assert_eq!(found(&plugin(), "")[0].level, Level::Warning);
    }

    #[test]
    fn what_cannot_be_loaded_is_named() {
        let bad = Plugin { undefined: vec!["spank_x".into()], glibc: Some((9, 0)), ..plugin() };
        let out = found(&bad, "slurm 24.11.5");
        assert!(out[1].text.contains("spank_x"), "{out:#?}");
        assert!(out.len() == 2 || out[2].text.contains("needs glibc 9.0"), "{out:#?}");
    }

    #[test]
    fn the_plugstack_line_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plugstack.conf");
        let check = || {
            let mut out = Vec::new();
            check_line(&file, &mut Area::new("plugstack", &mut out));
            (out[0].level, out[0].text.clone())
        };
        assert_eq!(check().0, Level::Error);
        std::fs::write(&file, "").unwrap();
        assert!(check().1.ends_with("loads no carbontracker.so"));
        std::fs::write(&file, "required carbontracker.so\n").unwrap();
        assert_eq!(check().0, Level::Warning);
        std::fs::write(&file, "optional carbontracker.so\n").unwrap();
        assert_eq!(check().0, Level::Ok);
        std::fs::write(&file, "optional carbontracker.so\noptional carbontracker.so\n").unwrap();
        assert!(check().1.ends_with("both load it"));
    }
}
