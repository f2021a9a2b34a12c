//! Files made in directories of others.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::check_int;

/// The process's effective user; Slurm sets it to the job's owner in user_init.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Opens a file in `dir` for appending and makes it where it is missing.
///
/// Never through a link, and never anything but a regular file: to open a pipe would wait for its
/// reader.
pub(crate) fn make_file(dir: &File, name: &str, mode: u32) -> io::Result<OwnedFd> {
    open_at(dir, name, 0, mode)
}

/// Makes a file in `dir` that was not there before, by whatever name it may have been.
pub(crate) fn make_new_file(dir: &File, name: &str, mode: u32) -> io::Result<OwnedFd> {
    open_at(dir, name, libc::O_EXCL, mode)
}

fn open_at(dir: &File, name: &str, more: libc::c_int, mode: u32) -> io::Result<OwnedFd> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    }
    let path = CString::new(name).map_err(|_| io::ErrorKind::InvalidFilename)?;
    let flags = libc::O_WRONLY
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_NOFOLLOW
        | libc::O_CLOEXEC
        | libc::O_NOCTTY
        | libc::O_NONBLOCK
        | more;
    // SAFETY: `path` ends in NUL; openat with O_CREAT takes the mode as its last argument.
    let fd = check_int(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags, mode) })?;
    // SAFETY: openat has just returned this descriptor, and nobody else knows it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file.into())
}
