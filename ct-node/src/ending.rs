//! Ends the processes of a job: asked first, then by force.
//!
//! A process is signalled through its pidfd after it was found, again, to be the job's: of the job's
//! uid alone, in the job's cgroup or below one of its slurmstepds, and no slurmstepd itself. A pid
//! that was given to somebody else meanwhile is never hit.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ct_core::job::Job;
use ct_core::record::BudgetAction;
use ct_core::slurm::{CgroupPaths, job_cgroup};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::station::{Station, is_slurmstepd};

/// Time between two tries to kill what is left.
const AGAIN: Duration = Duration::from_secs(1);
/// How often what is left is killed again.
const MOST_TRIES: u32 = 30;
/// Ancestors that are looked at: more than any shell nests.
const MOST_ANCESTORS: usize = 256;

/// Whose processes are meant.
struct Whose<'a> {
    uid: u32,
    job_id: u32,
    cgroup: Option<&'a CgroupPaths>,
    /// Processes whose descendants are meant.
    roots: &'a BTreeSet<u32>,
    /// Whether the roots themselves are.
    with_roots: bool,
}

impl Whose<'_> {
    /// Signals every process that is meant; how many there were.
    fn signal(&self, cgroupfs: &Path, signal: Signal) -> usize {
        let candidates = match self.cgroup {
            Some(cgroup) => members(cgroup, cgroupfs),
            None => all_processes(),
        };
        // All of them before the first one dies: its children would be nobody's.
        let handles: Vec<OwnedFd> =
            candidates.into_iter().filter_map(|pid| self.handle_of(pid)).collect();
        handles.iter().filter(|handle| pidfd_send_signal(handle, signal).is_ok()).count()
    }

    /// A handle of a process that is meant.
    fn handle_of(&self, pid: u32) -> Option<OwnedFd> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).ok()?;
        // From here on the handle means one process; that it is the job's is seen after.
        self.has(pid).then_some(handle)
    }

    fn has(&self, pid: u32) -> bool {
        let is_root = self.roots.contains(&pid);
        if (is_root && !self.with_roots) || uid_of(pid) != Some(self.uid) {
            return false;
        }
        let proc = Path::new("/proc").join(pid.to_string());
        // slurmstepd has a job's uid only under a slurmd of that user's own, who is ours then; elsewhere a
        // process of the user's may call itself so.
        let may_be_stepd = self.uid == rustix::process::getuid().as_raw();
        let name = || fs::read_to_string(proc.join("comm")).unwrap_or_default();
        if may_be_stepd && name().trim_end() == "slurmstepd" {
            return false;
        }
        match self.cgroup {
            Some(cgroup) => {
                let text = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
                job_cgroup(&text, self.job_id).as_ref() == Some(cgroup)
            }
            None => is_root || self.is_below_a_root(pid),
        }
    }

    fn is_below_a_root(&self, pid: u32) -> bool {
        let mut pid = pid;
        for _ in 0..MOST_ANCESTORS {
            match parent_of(pid) {
                Some(parent) if self.roots.contains(&parent) => return true,
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }
}

/// The uid of a process, where its real, effective, saved and file system uids are one.
fn uid_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    let mut uids = line.split_ascii_whitespace().map(str::parse::<u32>);
    let first = uids.next()?.ok()?;
    uids.all(|uid| uid == Ok(first)).then_some(first)
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Processes in a job's cgroup and those below it.
fn members(cgroup: &CgroupPaths, cgroupfs: &Path) -> BTreeSet<u32> {
    let roots: Vec<PathBuf> = match cgroup {
        CgroupPaths::V1(job) => {
            ["freezer", "cpuset", "memory", "cpuacct"].map(|c| cgroupfs.join(c).join(job)).into()
        }
        CgroupPaths::V2(job) => vec![cgroupfs.join(job)],
    };
    let mut pids = BTreeSet::new();
    let mut dirs = roots;
    while let Some(dir) = dirs.pop() {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()));
        let below = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path());
        dirs.extend(below.filter(|path| path.is_dir() && !path.is_symlink()));
    }
    pids
}

fn all_processes() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Signals a process of our own user's and everything below it.
pub fn signal_tree(uid: u32, root: u32, signal: Signal) -> usize {
    let roots = BTreeSet::from([root]);
    let whose = Whose { uid, job_id: 0, cgroup: None, roots: &roots, with_roots: true };
    whose.signal(Path::new("/nonexistent"), signal)
}

fn signal_job(job: &Job, cgroupfs: &Path, signal: Signal) -> usize {
    // A step that is over may have left its pid to somebody else.
    let roots = job.stepd_pids.iter().copied().filter(|pid| is_slurmstepd(*pid)).collect();
    let whose = Whose {
        uid: job.facts.uid,
        job_id: job.facts.job_id,
        cgroup: job.cgroup.as_ref(),
        roots: &roots,
        with_roots: false,
    };
    whose.signal(cgroupfs, signal)
}

struct Stage {
    since: Instant,
    last: Instant,
    n_tries: u32,
}

/// Jobs that are being ended as they have passed their budget.
#[derive(Default)]
pub struct Endings(HashMap<u32, Stage>);

impl Endings {
    /// Whether there is one.
    pub fn is_busy(&self) -> bool {
        !self.0.is_empty()
    }

    /// Ends what is to be ended, where the site allows it: SIGTERM, a grace, SIGKILL.
    pub fn turn(&mut self, station: &mut Station) {
        self.0.retain(|job_id, _| station.jobs().contains_key(job_id));
        let track = &station.config().track;
        if !track.allow_stop {
            return;
        }
        let grace = Duration::from_secs_f64(track.stop_grace_s);
        let cgroupfs = station.config().path.cgroupfs.clone();
        for job in station.jobs_mut().filter(|job| job.end_wanted().is_some()) {
            self.end(job, grace, &cgroupfs);
        }
    }

    fn end(&mut self, job: &mut Job, grace: Duration, cgroupfs: &Path) {
        let job_id = job.facts.job_id;
        if job.facts.uid == 0 {
            job.warnings.insert("a job of root's is not ended by ct-noded".to_owned());
            return;
        }
        let now = Instant::now();
        let Some(stage) = self.0.get_mut(&job_id) else {
            let n = signal_job(job, cgroupfs, Signal::TERM);
            log::info!("job {job_id}: over its budget, SIGTERM to {n} processes");
            job.note_end(BudgetAction::Terminated);
            self.0.insert(job_id, Stage { since: now, last: now, n_tries: 0 });
            return;
        };
        let is_due = stage.since.elapsed() >= grace && stage.last.elapsed() >= AGAIN.min(grace);
        if !is_due || stage.n_tries >= MOST_TRIES {
            return;
        }
        (stage.last, stage.n_tries) = (now, stage.n_tries + 1);
        let n = signal_job(job, cgroupfs, Signal::KILL);
        if n > 0 {
            log::info!("job {job_id}: over its budget, SIGKILL to {n} processes");
            job.note_end(BudgetAction::Killed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::getuid;

    use super::*;

    #[test]
    fn what_is_below_a_process_is_ended_and_nothing_else() {
        let uid = getuid().as_raw();
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        let mut child = Command::new("sh").args(["-c", "sleep 60 & sleep 60"]).spawn().unwrap();
        let n_below =
            || all_processes().iter().filter(|p| parent_of(**p) == Some(child.id())).count();
        for _ in 0..100 {
            if n_below() == 2 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(signal_tree(uid + 1, child.id(), Signal::KILL), 0, "somebody else's");
        assert_eq!(signal_tree(uid, child.id(), Signal::KILL), 3);
        assert!(!child.wait().unwrap().success());
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn a_users_process_that_calls_itself_slurmstepd_is_ended_like_any() {
        if !getuid().is_root() {
            // Nobody else can start a process of another user's.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let program = dir.path().join("slurmstepd");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program);
        let mut child =
            std::os::unix::process::CommandExt::uid(&mut child, 4242).arg("60").spawn().unwrap();
        let comm = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        assert_eq!(comm, "slurmstepd\n");
        assert_eq!(signal_tree(4242, child.id(), Signal::KILL), 1);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn a_process_outside_the_jobs_cgroup_is_not_the_jobs() {
        let uid = getuid().as_raw();
        let roots = BTreeSet::new();
        let cgroup = CgroupPaths::V1("slurm_n1/uid_0/job_4000000000".into());
        let job_id = 4_000_000_000;
        let whose = Whose { uid, job_id, cgroup: Some(&cgroup), roots: &roots, with_roots: false };
        assert!(!whose.has(std::process::id()));
        // Its pid may stand in a cgroup's list that was read before it was given away.
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("freezer/slurm_n1/uid_0/job_4000000000/step_0");
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("cgroup.procs"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(members(&cgroup, dir.path()), BTreeSet::from([std::process::id()]));
        assert_eq!(whose.signal(dir.path(), Signal::KILL), 0);
    }
}
