//! The files of a command's own tracker: its socket's directory, its logs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::Context;
use ct_core::protocol::OpenLogs;
use nix::unistd::Uid;

/// A directory that only this user can enter.
pub(super) fn make_socket_dir(pid: u32) -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let base = if base.is_dir() { base } else { std::env::temp_dir() };
    let uid = Uid::effective();
    let nanos = chrono::Utc::now().timestamp_subsec_nanos();
    let dir = base.join(format!("ct-track-{uid}-{pid}-{nanos}"));
    DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Opens the log files and the record's.
pub(super) fn open(wanted: &OpenLogs) -> anyhow::Result<Vec<OwnedFd>> {
    let dir = &wanted.dir;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let open = |name: &String| {
        let path = dir.join(name);
        OpenOptions::new()
            .append(true)
            .create(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map(OwnedFd::from)
            .with_context(|| format!("cannot open {}", path.display()))
    };
    wanted.names.iter().map(open).collect()
}
