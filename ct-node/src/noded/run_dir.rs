//! The run directory while ct-noded runs: hooks note in it that they waited in vain, and somebody may
//! take the socket away.
//!
//! Watched by inotify, so that it costs nothing while nothing happens.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ct_core::protocol::{ABSENCE_NAME, SILENCE_NAME, SOCKET_NAME, START_NAME};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::server::Server;

/// What hooks note, and what is not true while we run.
const NOTES: [&str; 3] = [ABSENCE_NAME, SILENCE_NAME, START_NAME];

/// The directory, and which file in it is our socket.
pub(super) struct RunDir {
    dir: PathBuf,
    watch: Option<OwnedFd>,
    socket: Option<Identity>,
}

impl RunDir {
    /// Watches the directory; without inotify it is looked at now and then.
    pub(super) fn watch(dir: &Path) -> Self {
        let watch = start_watch(dir)
            .inspect_err(|e| log::warn!("cannot watch {}: {e}", dir.display()))
            .ok();
        let socket = identity(&dir.join(SOCKET_NAME)).ok();
        remove_notes(dir);
        Self { dir: dir.to_owned(), watch, socket }
    }

    /// Readable when something happened in the directory.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Since when there is our socket.
    pub(super) fn bound_at(&self) -> Option<SystemTime> {
        fs::symlink_metadata(self.dir.join(SOCKET_NAME)).and_then(|m| m.modified()).ok()
    }

    /// Since when a hook's note says that we are silent.
    pub(super) fn silent_since(&self) -> Option<SystemTime> {
        fs::symlink_metadata(self.dir.join(SILENCE_NAME)).and_then(|m| m.modified()).ok()
    }

    /// Removes what hooks noted, and listens anew where our socket is gone.
    ///
    /// # Errors
    ///
    /// Where nobody can reach us any more: only one that is started as root can mend that.
    pub(super) fn look(&mut self, server: &mut Server) -> io::Result<()> {
        if let Some(watch) = &self.watch {
            let mut events = [0_u8; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|n| n > 0) {}
        }
        remove_notes(&self.dir);
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
}

fn start_watch(dir: &Path) -> io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    inotify::add_watch(&watch, dir, flags)?;
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
    use std::time::Duration;

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
        let mut run_dir = RunDir::watch(dir.path());
        assert!(!dir.path().join(SILENCE_NAME).exists());
        fs::write(dir.path().join(SILENCE_NAME), "").unwrap();
        assert!(is_ready(&run_dir));
        run_dir.look(&mut server).unwrap();
        assert!(!dir.path().join(SILENCE_NAME).exists());

        fs::remove_file(&socket).unwrap();
        run_dir.look(&mut server).unwrap();
        let mut answer = |_: crate::dispatch::Peer, _: &[u8], _: Vec<OwnedFd>| String::new();
        UnixStream::connect(&socket).unwrap();
        server.turn(Duration::from_millis(20), &[], &mut answer).unwrap();

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
}
