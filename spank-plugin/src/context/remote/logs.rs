//! The log files, opened by the user they belong to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ct_core::protocol::OpenLogs;

use crate::os::make_file;
use crate::spank::Spank;

/// The job's umask; slurmstepd runs under slurmd's own.
pub(super) fn umask(spank: &Spank) -> u32 {
    let text = spank.getenv("SLURM_UMASK", 16).unwrap_or_default();
    u32::from_str_radix(&text, 8).unwrap_or(0o022)
}

/// Makes the directory and opens every file in it, all or none.
///
/// A relative directory lies below the job's working directory, where slurmstepd is now.
pub(super) fn open(wanted: &OpenLogs, umask: u32) -> Result<Vec<OwnedFd>, (PathBuf, io::Error)> {
    let dir = make_dir(&wanted.dir, umask).map_err(|e| (wanted.dir.clone(), e))?;
    let open_one = |name: &String| {
        make_file(&dir, name, 0o644 & !umask).map_err(|e| (wanted.dir.join(name), e))
    };
    wanted.names.iter().map(open_one).collect()
}

fn make_dir(path: &Path, umask: u32) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o777 & !umask).create(path)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}
