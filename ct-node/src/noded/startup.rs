//! From root to service: directories, lock, socket, counters, and then no more root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use ct_core::config::Config;
use ct_core::protocol::{ABSENCE_NAME, ENDED_DIR, SILENCE_NAME, SOCKET_NAME, START_NAME};
use ct_core::sampler::{RootMeters, Sampler};
use nix::unistd::geteuid;
use rustix::fs::{AtFlags, CWD};

use super::privileges::{self, ServiceUser};
use super::run_dir::{LOCK_NAME, PID_NAME, RunDir, lock};
use super::takeover;
use crate::logging;
use crate::server::Server;
use crate::station::Station;

/// What lies in the run directory.
const OWN_FILES: [&str; 7] =
    [LOCK_NAME, PID_NAME, SOCKET_NAME, ABSENCE_NAME, SILENCE_NAME, START_NAME, ENDED_DIR];

/// A daemon that has started, and given up root.
pub(super) struct Started {
    pub(super) station: Station,
    pub(super) server: Server,
    pub(super) run_dir: RunDir,
    /// Uid whose word counts as Slurm's, beside root's.
    pub(super) owner: u32,
    /// Whether the plugin started it, so that it gives way to one of the unit's.
    pub(super) gives_way: bool,
}

/// Starts; `None` where another ct-noded holds the lock, and does not give way.
///
/// The directories are the service user's, so root makes no file in them by a path that could be a
/// link: the log and the lock are opened with the user's effective ids. The socket is bound by root,
/// which the plugin knows it by, and bind(2) follows no link.
pub(super) fn start(
    config: Config,
    node: String,
    is_daemon: bool,
) -> anyhow::Result<Option<Started>> {
    // Parents of our directories are for everybody to pass through.
    umask(0o022);
    let is_root = geteuid().is_root();
    let user =
        if is_root { Some(privileges::service_user(&config.node.service_user)?) } else { None };
    make_dirs(&config, user.as_ref())?;
    umask(0o027);
    if is_daemon {
        privileges::as_user(user.as_ref(), || {
            log_to(&config.node.state_dir.join("noded.log"));
            Ok(())
        })?;
    }
    let socket = config.node.run_dir.join(SOCKET_NAME);
    let lock = || privileges::as_user(user.as_ref(), || lock(&config.node.run_dir));
    let lock = if is_daemon { lock()? } else { takeover::lock_in_turn(&socket, lock)? };
    let Some(lock) = lock else { return Ok(None) };
    privileges::refuse_new_privileges()?;
    privileges::raise_file_limit();
    privileges::leave_job_cgroup(&config.path.cgroupfs);
    // 0666: connectable by all; credentials decide.
    umask(0o111);
    // Before the meters: a driver takes its time, and a hook that connects meanwhile is kept waiting.
    let server =
        Server::bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    umask(0o027);
    let root_meters = RootMeters::open(&config);
    if let Some(user) = &user {
        privileges::become_user(user, config.track.allow_stop)?;
    }
    privileges::hide_memory()?;
    // Root is given up before drivers are asked that may hang: a thread that hangs in one would keep
    // the process from giving it up, or keep it itself.
    let sampler = Sampler::open_beside(root_meters, &config);
    for problem in sampler.problems() {
        log::warn!("{problem}");
    }
    // What the plugin said of our absence is over.
    let run_dir = RunDir::watch(&config.node.run_dir, lock);
    let names: Vec<String> =
        sampler.devices().iter().map(|d| format!("{} ({})", d.name, d.method)).collect();
    log::info!("node {node}: meters: {}", names.join(", "));
    // Started without root, its own user stands in for Slurm: a test, or a node of one user's.
    let owner = if is_root { 0 } else { geteuid().as_raw() };
    let station = Station::new(config, node, sampler);
    Ok(Some(Started { station, server, run_dir, owner, gives_way: is_daemon }))
}

/// A log that cannot be written is no reason not to measure.
fn log_to(path: &Path) {
    if let Err(e) = logging::to_file(path) {
        logging::to_stderr();
        log::error!("cannot open {}: {e}", path.display());
    }
}

fn umask(bits: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(bits));
}

fn make_dirs(config: &Config, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    let jobs = config.node.state_dir.join("jobs");
    for (dir, mode) in
        [(&config.node.run_dir, 0o755), (&config.node.state_dir, 0o750), (&jobs, 0o750)]
    {
        // Looked at before anything in it is touched.
        let is_there = fs::symlink_metadata(dir).is_ok();
        let trusted = if is_there { trust_dir(dir, user) } else { Ok(()) };
        trusted
            .and_then(|()| make_dir(dir, mode, user))
            .with_context(|| format!("cannot use {}", dir.display()))?;
    }
    // On a root-squashed file system the site makes it, for the service user.
    if let Err(e) = make_dir(&config.ledger.dir, 0o750, user) {
        log::warn!("cannot make the ledger's directory {}: {e:#}", config.ledger.dir.display());
    }
    Ok(())
}

/// Refuses a directory that somebody else has put there, or could put things into: our socket would be
/// theirs to replace, our state theirs to forge.
fn trust_dir(dir: &Path, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(dir)?;
    let own = user.map_or_else(|| geteuid().as_raw(), |user| user.uid);
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != own {
        bail!("it belongs to uid {owner}, expected root or uid {own}, whom ct-noded runs as");
    }
    if metadata.is_symlink() {
        return trust_dir(&dir.canonicalize()?, user);
    }
    if mode & 0o002 != 0 {
        bail!("everybody can write to it (mode {mode:o}), expected at most 775");
    }
    Ok(())
}

fn make_dir(dir: &Path, mode: u32, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        // A hook or systemd may have made it as root, or taken it back (RuntimeDirectory= gives it
        // to root at every start, with all that is in it); one that holds more than our own files
        // is somebody's, and as they want it.
        let names: Vec<_> = fs::read_dir(dir)?.flatten().map(|e| e.file_name()).collect();
        let is_ours = names.iter().all(|n| OWN_FILES.iter().any(|own| n == own));
        if dir.metadata()?.uid() != 0 || !is_ours {
            return Ok(());
        }
        for name in names {
            give(&dir.join(name), user)?;
        }
        return give(dir, user);
    }
    if let Some(parent) = dir.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    fs::DirBuilder::new().mode(mode).create(dir)?;
    give(dir, user)
}

fn give(path: &Path, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    if let Some(user) = user {
        let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
