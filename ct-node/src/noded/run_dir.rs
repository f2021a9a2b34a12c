//! The run directory while ct-noded runs: hooks note in it that they waited in vain, and somebody may
//! take the socket or the lock away.
//!
//! Watched by inotify, so that it costs nothing while nothing happens.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use ct_core::protocol::{ABSENCE_NAME, SILENCE_NAME, SOCKET_NAME, START_NAME};
use ct_core::sampler::now;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, flock};

use crate::note;
use crate::server::Server;

/// Held for the daemon's life: one ct-noded a node.
pub(super) const LOCK_NAME: &str = "noded.lock";
/// Has the process id of who holds it.
pub(super) const PID_NAME: &str = "noded.pid";

/// What hooks note, and what is not true while we run.
const NOTES: [&str; 3] = [ABSENCE_NAME, SILENCE_NAME, START_NAME];

/// The directory, and which files in it are our lock and our socket.
pub(super) struct RunDir {
    dir: PathBuf,
    watch: Option<OwnedFd>,
    socket: Option<Identity>,
    lock: File,
    is_replaced: bool,
}

/// Takes the lock of a run directory and leaves our process id there; `None` where another ct-noded
/// holds it.
///
/// # Errors
///
/// What the file system says.
pub(super) fn lock(dir: &Path) -> anyhow::Result<Option<File>> {
    let path = dir.join(LOCK_NAME);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e).context("cannot lock noded.lock"),
    }
    note_pid(dir)?;
    Ok(Some(file))
}

fn note_pid(dir: &Path) -> io::Result<()> {
    fs::write(dir.join(PID_NAME), format!("{}\n", std::process::id()))
}

impl RunDir {
    /// Watches the directory whose lock it is; without inotify it is looked at now and then.
    pub(super) fn watch(dir: &Path, lock: File) -> Self {
        let watch = start_watch(dir)
            .inspect_err(|e| log::warn!("cannot watch {}: {e}", dir.display()))
            .ok();
        let socket = identity(&dir.join(SOCKET_NAME)).ok();
        remove_notes(dir);
        Self { dir: dir.to_owned(), watch, socket, lock, is_replaced: false }
    }

    /// Readable when something happened in the directory.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Since when there is our socket.
    pub(super) fn bound_at(&self) -> Option<SystemTime> {
        fs::symlink_metadata(self.dir.join(SOCKET_NAME)).and_then(|m| m.modified()).ok()
    }

    /// Since when a hook's note says that we are silent: by the clock that nobody sets, or by its file's
    /// date, where it is an earlier plugin's.
    pub(super) fn silent_since(&self) -> Option<SystemTime> {
        let path = self.dir.join(SILENCE_NAME);
        let modified = fs::symlink_metadata(&path).and_then(|m| m.modified()).ok()?;
        let noted = note::text_of(&path).and_then(|text| text.trim_end().parse().ok());
        let age = noted.and_then(|ms| now().since_boot.checked_sub(Duration::from_millis(ms)));
        Some(age.and_then(|age| SystemTime::now().checked_sub(age)).unwrap_or(modified))
    }

    /// Removes what hooks noted, takes the lock anew where its file is gone, and listens anew where our
    /// socket is.
    ///
    /// # Errors
    ///
    /// Where nobody can reach us any more: another has the lock, or only one that is started as root
    /// can mend it.
    pub(super) fn look(&mut self, server: &mut Server) -> anyhow::Result<()> {
        if let Some(watch) = &self.watch {
            let mut events = [0_u8; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|n| n > 0) {}
            // It may be another directory by now.
            let _ = inotify::add_watch(watch, &self.dir, WATCHED);
        }
        remove_notes(&self.dir);
        self.keep_lock()?;
        let path = self.dir.join(SOCKET_NAME);
        if identity(&path).ok() == self.socket {
            return Ok(());
        }
        server.rebind(&path)?;
        // Connectable by all; credentials decide.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        self.socket = Some(identity(&path)?);
        log::warn!("{} was taken away; listening there again", path.display());
        Ok(())
    }

    /// Whether another ct-noded has taken over, with all that was kept.
    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    fn keep_lock(&mut self) -> anyhow::Result<()> {
        let path = self.dir.join(LOCK_NAME);
        let held = self.lock.metadata()?;
        let is_ours = fs::symlink_metadata(&path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()));
        if is_ours {
            if fs::symlink_metadata(self.dir.join(PID_NAME)).is_err() {
                note_pid(&self.dir)?;
            }
            return Ok(());
        }
        let Some(lock) = lock(&self.dir)? else {
            self.is_replaced = true;
            bail!("another ct-noded holds {}", path.display());
        };
        self.lock = lock;
        log::warn!("{} was taken away; locked again", path.display());
        Ok(())
    }
}

/// What is said of the directory.
const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

fn start_watch(dir: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, dir, WATCHED)?;
    Ok(watch)
}

fn remove_notes(dir: &Path) {
    for name in NOTES {
        // Mostly there is none.
        let _ = fs::remove_file(dir.join(name));
    }
}

/// Device, inode and when it was made: an inode's number is used again at once.
type Identity = (u64, u64, i64, i64);

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn is_ready(run_dir: &RunDir) -> bool {
        let fd = run_dir.fd().expect("inotify");
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&wait)).expect("poll") > 0
    }

    #[test]
    fn a_note_of_a_hooks_is_removed_and_a_socket_taken_away_is_bound_again() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(SOCKET_NAME);
        let mut server = Server::bind(&socket).unwrap();
        fs::write(dir.path().join(SILENCE_NAME), "").unwrap();
        let mut run_dir = RunDir::watch(dir.path(), lock(dir.path()).unwrap().unwrap());
        assert!(!dir.path().join(SILENCE_NAME).exists());
        fs::write(dir.path().join(SILENCE_NAME), "").unwrap();
        assert!(is_ready(&run_dir));
        run_dir.look(&mut server).unwrap();
        assert!(!dir.path().join(SILENCE_NAME).exists());

        fs::remove_file(&socket).unwrap();
        run_dir.look(&mut server).unwrap();
        let mut answer = |_: crate::dispatch::Peer, _: &[u8], _: Vec<OwnedFd>| String::new();
        UnixStream::connect(&socket).unwrap();
        server.turn(Duration::from_millis(20), &mut answer);

        // A stranger's in its place.
        fs::remove_file(&socket).unwrap();
        let _stranger = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let theirs = identity(&socket).ok();
        assert_ne!(theirs, run_dir.socket);
        run_dir.look(&mut server).unwrap();
        assert_eq!(identity(&socket).ok(), run_dir.socket);
        assert_ne!(theirs, run_dir.socket);
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(run_dir.look(&mut server).is_err());
    }

    #[test]
    fn a_note_says_since_when_whatever_the_clock_on_the_wall_was_set_to() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::watch(dir.path(), lock(dir.path()).unwrap().unwrap());
        let ms = now().since_boot.as_millis() - 70_000;
        let note = dir.path().join(SILENCE_NAME);
        fs::write(&note, ms.to_string()).unwrap();
        let day = Duration::from_secs(86_400);
        File::options()
            .write(true)
            .open(&note)
            .unwrap()
            .set_modified(SystemTime::now() + day)
            .unwrap();
        let age = run_dir.silent_since().unwrap().elapsed().unwrap();
        assert!((70..80).contains(&age.as_secs()), "{age:?}");
    }

    #[test]
    fn a_lock_taken_away_is_taken_anew_unless_another_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::bind(&dir.path().join(SOCKET_NAME)).unwrap();
        let mut run_dir = RunDir::watch(dir.path(), lock(dir.path()).unwrap().unwrap());
        for taken in [&[LOCK_NAME, PID_NAME][..], &[PID_NAME]] {
            taken.iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
            assert!(is_ready(&run_dir));
            run_dir.look(&mut server).unwrap();
            let pid = fs::read_to_string(dir.path().join(PID_NAME)).unwrap();
            assert_eq!(pid, format!("{}\n", std::process::id()), "{taken:?}");
            assert!(lock(dir.path()).unwrap().is_none(), "{taken:?}");
        }
        fs::remove_file(dir.path().join(LOCK_NAME)).unwrap();
        let _another = lock(dir.path()).unwrap().unwrap();
        let error = run_dir.look(&mut server).unwrap_err();
        assert!(error.to_string().starts_with("another ct-noded holds "), "{error}");
        assert!(run_dir.is_replaced());
    }
}
