//! The slurmstepds of this node, by their sockets.
//!
//! Any process calls itself `slurmstepd: [7.0]`, and binds a socket under any text in a mount namespace of
//! its own, which `/proc/net/unix` shows like every other. So neither counts: it is the kernel who says
//! who listens where slurmd's spool directory is for us, and that is to be slurmd's user.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ct_core::protocol::StepFacts;
use ct_core::slurm::{Spool, bound_paths, step_of_socket};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt,
};

/// Jobs that have a slurmstepd here, of those that `is_asked_for`.
///
/// Without the directory, or where it is closed to us, the table of sockets is what there is: whoever
/// binds one adds to it, and no path in it is looked at.
pub(super) fn jobs(
    node: &str,
    spool: Option<&Spool>,
    is_asked_for: impl Fn(u32) -> bool,
) -> BTreeSet<u32> {
    let is_meant = |path: &Path| {
        step_of_socket(path, node).map(|(job_id, _)| job_id).filter(|job_id| is_asked_for(*job_id))
    };
    if let Some((spool, paths)) = spool.and_then(|spool| Some((spool, paths(spool)?))) {
        let listening = |path: PathBuf| {
            is_meant(&path).filter(|_| listener(&path, spool.uid) != Listener::None)
        };
        return paths.into_iter().filter_map(listening).collect();
    }
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let is_there = |path: &&Path| spool.is_none_or(|spool| path.parent() == Some(&*spool.dir));
    bound_paths(&table).filter(is_there).filter_map(is_meant).collect()
}

/// The steps of a job, as far as it can be seen which process each is.
pub(super) fn steps(job_id: u32, node: &str, spool: Option<&Spool>) -> Vec<StepFacts> {
    let Some(spool) = spool else { return Vec::new() };
    let step = |path: PathBuf| {
        let (_, name) = step_of_socket(&path, node).filter(|(job, _)| *job == job_id)?;
        let Listener::Pid(pid) = listener(&path, spool.uid) else { return None };
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        Some(StepFacts { name, stepd_pid: pid, cgroup })
    };
    paths(spool).unwrap_or_default().into_iter().filter_map(step).collect()
}

/// What is in slurmd's directory, to which nobody else adds.
fn paths(spool: &Spool) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(&spool.dir).ok()?;
    Some(entries.flatten().map(|entry| entry.path()).collect())
}

/// Who listens at a path.
#[derive(Debug, PartialEq)]
enum Listener {
    /// A slurmstepd with this pid.
    Pid(u32),
    /// One that takes no connection of ours.
    Unreachable,
    /// Nobody, or a stranger.
    None,
}

fn listener(path: &Path, slurmd_uid: u32) -> Listener {
    let is_slurmds = |uid: u32| uid == 0 || uid == slurmd_uid;
    let is_socket = |file: &fs::Metadata| file.file_type().is_socket() && is_slurmds(file.uid());
    if !fs::symlink_metadata(path).is_ok_and(|file| is_socket(&file)) {
        return Listener::None;
    }
    match connect(path) {
        Ok(peer) if is_slurmds(peer.uid.as_raw()) => {
            u32::try_from(peer.pid.as_raw_nonzero().get()).map_or(Listener::None, Listener::Pid)
        }
        Err(Errno::AGAIN | Errno::ACCESS) => Listener::Unreachable,
        _ => Listener::None,
    }
}

/// Connects and says nothing, without waiting for one whose backlog is full; who listens there.
fn connect(path: &Path) -> Result<net::UCred, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    sockopt::socket_peercred(&socket)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The spool directory of a slurmd of this test's user.
    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool { dir: dir.path().to_owned(), uid: rustix::process::getuid().as_raw() };
        (dir, spool)
    }

    #[test]
    fn slurmstepds_that_listen_are_found_with_their_pids() {
        let (dir, spool) = spool();
        let bind = |name: &str| UnixListener::bind(dir.path().join(name)).unwrap();
        let _listening = ["n1_7.4294967291", "n1_7.0", "n1_8.0", "n2_9.0"].map(bind);
        drop(bind("n1_10.0"));
        fs::write(dir.path().join("n1_11.0"), "").unwrap();
        std::os::unix::fs::symlink(dir.path().join("n1_7.0"), dir.path().join("n1_12.0")).unwrap();
        assert_eq!(jobs("n1", Some(&spool), |_| true), BTreeSet::from([7, 8]));
        assert_eq!(jobs("n1", Some(&spool), |job_id| job_id != 7), BTreeSet::from([8]));
        let mut names: Vec<_> =
            steps(7, "n1", Some(&spool)).into_iter().map(|s| (s.name, s.stepd_pid)).collect();
        names.sort();
        let own = std::process::id();
        assert_eq!(names, [("0".to_owned(), own), ("batch".to_owned(), own)]);
    }

    #[test]
    fn one_that_cannot_be_reached_counts_and_has_no_pid() {
        let (dir, spool) = spool();
        let path = dir.path().join("n1_7.0");
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        net::bind(&socket, &SocketAddrUnix::new(&*path).unwrap()).unwrap();
        net::listen(&socket, 0).unwrap();
        let _fills_its_backlog = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(jobs("n1", Some(&spool), |_| true), BTreeSet::from([7]));
        assert!(steps(7, "n1", Some(&spool)).is_empty());
    }

    #[test]
    fn another_users_socket_is_no_slurmstepd() {
        let (dir, spool) = spool();
        let _listening = UnixListener::bind(dir.path().join("n1_7.0")).unwrap();
        let own = rustix::process::getuid().as_raw();
        if own == 0 {
            // In a directory of root's it is the socket's owner that tells.
            std::os::unix::fs::chown(dir.path().join("n1_7.0"), Some(4242), None).unwrap();
        }
        let roots = Spool { uid: 0, ..spool };
        assert!(jobs("n1", Some(&roots), |_| true).is_empty());
    }

    #[test]
    fn without_the_directory_the_table_of_sockets_shows_jobs_and_no_steps() {
        let (dir, spool) = spool();
        let _listening = UnixListener::bind(dir.path().join("n1_4000000007.0")).unwrap();
        let asked_for = |job_id| job_id == 4_000_000_007;
        assert_eq!(jobs("n1", None, asked_for), BTreeSet::from([4_000_000_007]));
        assert!(steps(4_000_000_007, "n1", None).is_empty());
        let elsewhere = Spool { dir: "/nonexistent".into(), ..spool };
        assert!(jobs("n1", Some(&elsewhere), asked_for).is_empty());
    }
}
