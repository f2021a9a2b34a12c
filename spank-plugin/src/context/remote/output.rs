//! The step's output file, opened for reading by the user it belongs to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// Our standard output: in a task, the one its program will have.
const STDOUT: &str = "/proc/self/fd/1";

/// Opens the task's standard output once more, where it is a regular file; behind it comes the
/// standard output itself, so that what is printed there stands where the program is.
///
/// The link is the kernel's own, to the file that Slurm opened as the user; what it leads to is
/// looked at before and after.
pub(super) fn open() -> io::Result<Vec<OwnedFd>> {
    is_file(&std::fs::metadata(STDOUT)?)?;
    let flags = libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(STDOUT)?;
    is_file(&file.metadata()?)?;
    Ok(vec![file.into(), io::stdout().as_fd().try_clone_to_owned()?])
}

fn is_file(metadata: &std::fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let seen = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_fifo() || kind.is_socket() => "a pipe",
        () => "no regular file",
    };
    Err(io::Error::other(seen))
}
