//! What goes wrong at a node's socket: somebody else holds it, or says half of what there is to say.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ct_core::protocol::{JobEnd, JobFacts, Request, to_line};
use ct_tests::Site;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use rustix::process::Signal;
use rustix::thread::set_thread_res_uid;

use crate::faults::signal;

/// The user who listens where ct-noded should.
const STRANGER: u32 = 65_533;

/// Kills ct-noded and lets a stranger listen in its place; the next hook has it taken back.
pub(crate) fn held_by_a_stranger(site: &Site, node: usize, pause: Duration) -> Result<bool> {
    held(site, node, pause, Some(STRANGER), 64)
}

/// Kills ct-noded and lets somebody of root's hold its place, who accepts nobody: hooks tell and do not
/// wait, until there is a ct-noded again.
pub(crate) fn full(site: &Site, node: usize, pause: Duration) -> Result<bool> {
    held(site, node, pause, None, 0)
}

fn held(site: &Site, node: usize, pause: Duration, uid: Option<u32>, backlog: i32) -> Result<bool> {
    let path = site.run_dir(node).join("noded.sock");
    if !signal(site, node, Signal::KILL) {
        return Ok(false);
    }
    let _ = fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let bound = bind(&socket, &SocketAddrUnix::new(&path)?).map_err(std::io::Error::from);
    let open = || fs::set_permissions(&path, fs::Permissions::from_mode(0o666));
    if bound.and_then(|()| open()).is_err() {
        // A hook was faster, and there is a ct-noded already.
        return Ok(false);
    }
    listen_as(&socket, uid, backlog)?;
    let waiting = if backlog == 0 { fill(&path)? } else { Vec::new() };
    thread::sleep(pause);
    drop((waiting, socket));
    Ok(true)
}

/// The kernel keeps who listened, and that is the thread that calls this.
fn listen_as(socket: &OwnedFd, uid: Option<u32>, backlog: i32) -> Result<()> {
    thread::scope(|scope| {
        let listening = scope.spawn(|| -> Result<()> {
            if let Some(uid) = uid.map(rustix::fs::Uid::from_raw) {
                set_thread_res_uid(uid, uid, uid)?;
            }
            Ok(listen(socket, backlog)?)
        });
        listening.join().ok().context("the thread that listens")?
    })
}

/// Connects until nobody more is let wait.
fn fill(path: &Path) -> Result<Vec<OwnedFd>> {
    let mut waiting = Vec::new();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => waiting.push(socket),
            Err(_) => return Ok(waiting),
        }
    }
}

/// Says half of what would end a job that nobody has started, cut off at each byte.
pub(crate) fn cut_messages(site: &Site, node: usize, _: Duration) -> Result<bool> {
    let facts = JobFacts { job_id: 4_000_000, uid: 1, gid: 1, ..JobFacts::default() };
    let line = to_line(&Request::JobEnd(JobEnd { job: Box::new(facts), wait_status: None }))?;
    for cut in 1..line.len() {
        let stream = UnixStream::connect(site.run_dir(node).join("noded.sock"));
        match stream.and_then(|mut stream| stream.write_all(&line.as_bytes()[..cut])) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Ok(false),
            _ => {}
        }
    }
    Ok(true)
}
