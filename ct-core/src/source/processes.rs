//! Which processes are a job's: those in its cgroup, else those that descend from its slurmstepds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::slurm::CgroupPaths;

/// Controllers of cgroup v1 in which a job's processes may be, Slurm's own choice first.
const CONTROLLERS: [&str; 6] = ["freezer", "cpuacct", "cpuset", "memory", "devices", "pids"];
/// `job_1/step_0/user/task_0` is the deepest that Slurm makes; a program may nest more.
const MOST_DEPTH: usize = 8;

/// Process ids in a job's cgroup and all below it; `None` where the cgroup is not there.
pub fn read_cgroup_pids(cgroup: &CgroupPaths, cgroupfs: &Path) -> Option<BTreeSet<u32>> {
    let dir = match cgroup {
        CgroupPaths::V1(job) => {
            let dirs = CONTROLLERS.map(|controller| cgroupfs.join(controller).join(job));
            dirs.into_iter().find(|dir| dir.is_dir())?
        }
        CgroupPaths::V2(job) => cgroupfs.join(job),
    };
    let mut pids = BTreeSet::new();
    if !dir.is_dir() {
        return None;
    }
    collect(&dir, MOST_DEPTH, &mut pids);
    Some(pids)
}

fn collect(dir: &Path, depth: usize, pids: &mut BTreeSet<u32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.trim().parse::<u32>().ok()));
    if depth == 0 {
        return;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|t| t.is_dir());
    let dirs: Vec<PathBuf> = entries.filter(is_dir).map(|entry| entry.path()).collect();
    for dir in dirs {
        collect(&dir, depth - 1, pids);
    }
}

/// Processes and all that descend from them, by `/proc/PID/stat` below `procfs`.
///
/// A process whose parents are gone is no descendant any more.
pub fn read_tree_pids(roots: &BTreeSet<u32>, procfs: &Path) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir(procfs).into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parse_parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut pids = BTreeSet::new();
    let mut next: Vec<u32> = roots.iter().copied().collect();
    while let Some(pid) = next.pop() {
        if pids.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    pids
}

/// The fourth field; the second, a program's name, may hold anything, so it is skipped from behind.
fn parse_parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn pids_of_all_steps_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        let (v1, v2) = (CgroupPaths::V1("slurm/job_1".into()), CgroupPaths::V2("job_1".into()));
        assert_eq!(read_cgroup_pids(&v1, root.path()), None);
        assert_eq!(read_cgroup_pids(&v2, root.path()), None);
        for job in ["cpuset/slurm/job_1", "job_1"] {
            let job = root.path().join(job);
            write(&job.join("cgroup.procs"), "");
            write(&job.join("step_batch/task_0/cgroup.procs"), "7\n8\n");
            write(&job.join("step_0/user/task_0/cgroup.procs"), "9\ngarbage\n");
        }
        let expected = Some(BTreeSet::from([7, 8, 9]));
        assert_eq!(read_cgroup_pids(&v1, root.path()), expected);
        assert_eq!(read_cgroup_pids(&v2, root.path()), expected);
    }

    #[test]
    fn descendants_are_found_whatever_they_are_called() {
        let root = tempfile::tempdir().unwrap();
        for (pid, name, parent) in
            [(1, "init", 0), (10, "slurmstepd: [1.0]", 1), (11, "a) S 1 (b", 10), (12, "x", 11)]
        {
            let stat = format!("{pid} ({name}) S {parent} 1 1 0\n");
            write(&root.path().join(format!("{pid}/stat")), &stat);
        }
        write(&root.path().join("13/stat"), "garbage");
        let roots = BTreeSet::from([10, 99]);
        assert_eq!(read_tree_pids(&roots, root.path()), BTreeSet::from([10, 11, 12, 99]));
    }
}
