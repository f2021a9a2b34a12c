//! Does the slurmd that runs have the plugin? It reads plugstack.conf once, when it starts; steps read
//! it anew, so jobs are measured all the same, but no hook tells of their ends.

use std::fs;
use std::io;
use std::path::Path;

use super::machine::Machine;
use super::plugin::Loaded;
use super::{Area, Finding};

/// What Slurm gives the daemon's command line where a host has several.
const NODE_OPTION: &str = "-N";

/// The process id of the slurmd of a node; none where it does not run.
///
/// Of several on one host it is the one that was started under the node's name.
pub(crate) fn find(procfs: &Path, node: &str) -> Option<u32> {
    let all: Vec<Process> = fs::read_dir(procfs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Process::read(&entry.path()))
        .collect();
    // slurmd forks before a slurmstepd is run.
    let is_child = |process: &&Process| all.iter().any(|other| other.pid == process.parent);
    let named = |process: &&Process| process.node.as_deref() == Some(node);
    let unnamed = |process: &&Process| process.node.is_none();
    let mut first = all.iter().filter(|process| !is_child(process));
    let found = first.clone().find(named).or_else(|| first.find(unnamed));
    found.map(|process| process.pid)
}

/// A slurmd.
struct Process {
    pid: u32,
    parent: u32,
    /// The node it was told to be.
    node: Option<String>,
}

impl Process {
    fn read(dir: &Path) -> Option<Self> {
        let pid = dir.file_name()?.to_str()?.parse().ok()?;
        let name = fs::read_to_string(dir.join("comm")).ok()?;
        if name.trim_end() != "slurmd" {
            return None;
        }
        let stat = fs::read_to_string(dir.join("stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let line = fs::read(dir.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        Some(Self { pid, parent, node: node_of(&line) })
    }
}

/// The name behind `-N` in a command line whose words end in NUL.
fn node_of(line: &str) -> Option<String> {
    let mut words = line.split('\0');
    let word = words.find(|word| word.starts_with(NODE_OPTION))?;
    let name = word.strip_prefix(NODE_OPTION).filter(|name| !name.is_empty());
    name.or_else(|| words.next()).map(str::to_owned)
}

/// Looks whether slurmd runs, and has the plugin that was found right.
pub(crate) fn check(
    procfs: &Path,
    machine: &Machine,
    plugin: Option<&Loaded>,
    out: &mut Vec<Finding>,
) {
    let mut area = Area::new("slurmd", out);
    let node = &machine.node;
    let Some(pid) = machine.slurmd else {
        return if rustix::process::geteuid().is_root() {
            area.fail(
                format!("no slurmd of node {node} runs here"),
                "start it: `systemctl start slurmd`; --node NAME where the node's name is another",
            );
        } else {
            // With `hidepid` /proc shows one's own processes only.
            area.warn(format!("no slurmd of node {node} is seen here"), "run this as root");
        };
    };
    // A plugin that Slurm refuses is in no slurmd.
    let Some(plugin) = plugin.filter(|plugin| plugin.is_right) else { return };
    match has(procfs, pid, &plugin.path) {
        Ok(true) => area.ok(format!("process {pid} has the plugin")),
        Ok(false) => area.warn(
            format!(
                "process {pid} was started before the plugin or its line in plugstack.conf was \
                 there: the ends of jobs are found out up to a minute late"
            ),
            "`systemctl restart slurmd`; running jobs go on",
        ),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => area.warn(
            "whether it has the plugin was not looked at: that needs root",
            "run this as root",
        ),
        Err(error) => area
            .warn(format!("cannot read what process {pid} has loaded: {error}"), "run this again"),
    }
}

/// Whether a process has a plugin of ours mapped, be it the file that is there now or one before it.
fn has(procfs: &Path, pid: u32, plugin: &Path) -> io::Result<bool> {
    let maps = fs::read(procfs.join(pid.to_string()).join("maps"))?;
    let target = fs::canonicalize(plugin).ok();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names = [name(plugin), target.as_deref().and_then(name)];
    let is_it = |line: &str| {
        let file = line.rsplit('/').next().unwrap_or_default();
        let file = file.strip_suffix(" (deleted)").unwrap_or(file);
        // A package may name its file after Slurm's release, behind a link that has moved on.
        file.contains("carbontracker") || names.iter().flatten().any(|name| name == file)
    };
    Ok(String::from_utf8_lossy(&maps).lines().filter(|line| line.contains('/')).any(is_it))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::tests::machine;
    use super::*;

    fn process(procfs: &Path, pid: u32, parent: u32, name: &str, line: &str) {
        let dir = procfs.join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        fs::write(dir.join("stat"), format!("{pid} ({name}) S {parent} 1 1 0")).unwrap();
        fs::write(dir.join("cmdline"), line).unwrap();
    }

    #[test]
    fn a_nodes_slurmd_is_told_from_its_children_and_from_other_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let procfs = dir.path();
        fs::create_dir(procfs.join("self")).unwrap();
        assert_eq!(find(procfs, "n1"), None);
        process(procfs, 5, 1, "slurmstepd", "slurmstepd: [7.batch]\0");
        process(procfs, 8, 9, "slurmd", "/usr/sbin/slurmd\0-D\0");
        process(procfs, 9, 1, "slurmd", "/usr/sbin/slurmd\0-D\0");
        assert_eq!(find(procfs, "n1"), Some(9));
        process(procfs, 11, 1, "slurmd", "slurmd\0-D\0-N\0n2\0");
        process(procfs, 12, 1, "slurmd", "slurmd\0-D\0-Nn1\0");
        assert_eq!((find(procfs, "n1"), find(procfs, "n2")), (Some(12), Some(11)));
        fs::remove_dir_all(procfs.join("9")).unwrap();
        fs::remove_dir_all(procfs.join("8")).unwrap();
        assert_eq!(find(procfs, "n3"), None);
    }

    #[test]
    fn a_slurmd_without_the_plugin_is_told_with_its_mend() {
        let dir = tempfile::tempdir().unwrap();
        let procfs = dir.path();
        process(procfs, 9, 1, "slurmd", "slurmd\0");
        let mut machine = machine("slurm 24.11.5", "");
        let plugin = Loaded { path: "/usr/lib/slurm/carbontracker.so".into(), is_right: true };
        let found = |machine: &Machine, maps: &str| {
            fs::write(procfs.join("9/maps"), maps).unwrap();
            let mut out = Vec::new();
            check(procfs, machine, Some(&plugin), &mut out);
            (out[0].level, out[0].mend.clone().unwrap_or_default())
        };
        assert!(found(&machine, "").0 >= Level::Warning);
        machine.slurmd = Some(9);
        let other = "7f00-7f01 r-xp 00000000 08:01 42   /usr/lib/slurm/auth_munge.so\n7f02 rw-p\n";
        let (level, mend) = found(&machine, other);
        assert_eq!(level, Level::Warning);
        assert!(mend.starts_with("`systemctl restart slurmd`"), "{mend}");
        // An upgrade leaves the slurmd that runs with the file that was there before.
        for end in ["carbontracker.so", "carbontracker.so (deleted)"] {
            let maps = format!("{other}7f03-7f04 r-xp 0 08:01 43   /usr/lib/slurm/{end}\n");
            assert_eq!(found(&machine, &maps).0, Level::Ok, "{end}");
        }
    }
}
