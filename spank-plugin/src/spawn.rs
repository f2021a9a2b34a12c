//! Starting ct-noded where none listens, and a job's watcher where it needs one. A ct-noded that is not
//! needed ends by itself: it takes a lock.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ct_core::protocol::{JOB_ID_ENV, Reply, Request, SOCKET_ENV};

use crate::absence;
use crate::client::{self, Client, ClientError, patience};
use crate::logging::{Kind, Log};
use crate::os::{self, Daemon, Deadline, Started};
use crate::silence;
use crate::site::{Service, Site};

/// Where ct-noded is looked for without `noded=PATH`.
const USUAL_PLACES: [&str; 3] =
    ["/usr/sbin/ct-noded", "/usr/bin/ct-noded", "/usr/local/sbin/ct-noded"];

/// Where ct-track is looked for, after the directory of `noded=PATH`.
const PLACES_OF_TRACK: [&str; 2] = ["/usr/bin/ct-track", "/usr/local/bin/ct-track"];

/// What a hook waits for the socket of a ct-noded it started.
const START_MS: u64 = 300;

/// Where the new ct-noded is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birthplace {
    /// In slurmd's own cgroup, where it may stay.
    Slurmd,
    /// In a step: it leaves every cgroup first, or it would end with the step (v2), or keep the
    /// job's directories (v1).
    Step,
}

/// Asks ct-noded, and in the time that is left once more where it ended meanwhile: what it had not
/// written down its successor does not know. What is asked so may be told twice.
pub(crate) fn ask(
    site: &Site,
    service: &Service,
    node: &str,
    birthplace: Birthplace,
    log: &Log,
    request: &Request,
) -> Result<Reply, ClientError> {
    let deadline = patience(service);
    match reach(site, service, node, birthplace, deadline, log)?.ask(request) {
        Err(ClientError::Broken { .. }) if !deadline.is_over() => {
            reach(site, service, node, birthplace, deadline, log)?.ask(request)
        }
        other => other,
    }
}

/// Connects to ct-noded, and starts it where nobody listens, or a stranger does: ct-noded takes the
/// socket's place back.
pub(crate) fn reach(
    site: &Site,
    service: &Service,
    node: &str,
    birthplace: Birthplace,
    deadline: Deadline,
    log: &Log,
) -> Result<Client, ClientError> {
    let first = Client::connect(service, deadline);
    if !first.as_ref().is_err_and(is_worth_a_start) || silence::is_starting(service) {
        return first;
    }
    if !start(site, service, node, birthplace, log) {
        return Client::connect(service, deadline);
    }
    // Nobody listened, so that nobody was silent either.
    let deadline = if deadline.is_over() { client::in_full() } else { deadline };
    let client = wait_for(service, deadline.or_in_ms(START_MS), deadline);
    if client.is_err() {
        silence::remember_start(service);
    }
    client
}

fn is_worth_a_start(error: &ClientError) -> bool {
    matches!(error, ClientError::Absent { .. } | ClientError::Stranger { .. })
}

fn wait_for(service: &Service, until: Deadline, deadline: Deadline) -> Result<Client, ClientError> {
    loop {
        match Client::connect(service, deadline) {
            Err(e) if is_worth_a_start(&e) && !until.is_over() => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Starts ct-noded; whether it may come up.
pub(crate) fn start(
    site: &Site,
    service: &Service,
    node: &str,
    birthplace: Birthplace,
    log: &Log,
) -> bool {
    let Some(program) = program(site, service, log) else { return false };
    let cgroups = match birthplace {
        Birthplace::Slurmd => Vec::new(),
        Birthplace::Step => root_cgroups(&service.cgroupfs),
    };
    let result = daemon(&program, site, node, cgroups).and_then(|d| os::start_daemon(&d));
    match &result {
        Ok(Started::Executed) => {
            let text = format!("started {} for node {node}", program.display());
            log.info(Kind::Start, &text);
        }
        Ok(Started::Unknown) => {
            let text = format!(
                "told {} to start for node {node}; no answer yet whether it could be executed",
                program.display()
            );
            log.info(Kind::Start, &text);
        }
        Err(e) => {
            let hint = "hint: noded=PATH in plugstack.conf names it";
            let text = format!("cannot start {}: {e}; {hint}", program.display());
            absence::say(log, service, &text);
        }
    }
    result.is_ok()
}

/// Starts `ct-track watch` for the task that calls, as its user: it ends with the task, and ends the
/// job where its budget says so.
pub(crate) fn watch(site: &Site, service: &Service, job_id: u32, log: &Log) {
    let beside = site.noded.iter().map(|noded| noded.with_file_name("ct-track"));
    let mut places = beside.chain(PLACES_OF_TRACK.iter().map(PathBuf::from));
    let started = match places.find(|p| p.is_file()) {
        Some(program) => watcher(&program, service, job_id).and_then(|w| os::start_daemon(&w)),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    if let Err(e) = started {
        let text = format!("cannot start ct-track: {e}; a job without marks passes its budget");
        log.error(Kind::Start, &text);
    }
}

fn watcher(program: &Path, service: &Service, job_id: u32) -> io::Result<Daemon> {
    let task = std::process::id().to_string();
    let args = [program.as_os_str(), OsStr::new("watch"), OsStr::new(&task)];
    let args = args.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<_, _>>()?;
    let mut env = base_env()?;
    let socket = service.socket.as_os_str().as_bytes();
    env.push(CString::new([SOCKET_ENV.as_bytes(), b"=", socket].concat())?);
    env.push(CString::new(format!("{JOB_ID_ENV}={job_id}"))?);
    Ok(Daemon { args, env, cgroups: Vec::new() })
}

fn program(site: &Site, service: &Service, log: &Log) -> Option<PathBuf> {
    if site.noded.is_some() {
        return site.noded.clone();
    }
    let found = USUAL_PLACES.iter().map(PathBuf::from).find(|p| p.is_file());
    if found.is_none() {
        let places = USUAL_PLACES.join(", ");
        let hint = "hint: install it, or name it by noded=PATH in plugstack.conf";
        absence::say(log, service, &format!("no ct-noded found as {places}; {hint}"));
    }
    found
}

fn daemon(program: &Path, site: &Site, node: &str, cgroups: Vec<CString>) -> io::Result<Daemon> {
    let mut args = vec![program.as_os_str(), OsStr::new("--daemon")];
    if let Some(config) = &site.config {
        args.extend([OsStr::new("--config"), config.as_os_str()]);
    }
    args.extend([OsStr::new("--node"), OsStr::new(node)]);
    let args = args.into_iter().map(|a| CString::new(a.as_bytes())).collect::<Result<_, _>>()?;
    Ok(Daemon { args, env: base_env()?, cgroups })
}

/// What finds Slurm's clients, and they their configuration.
fn base_env() -> io::Result<Vec<CString>> {
    let mut env = vec![CString::new(search_path())?];
    if let Some(conf) = std::env::var_os("SLURM_CONF") {
        env.push(CString::new([b"SLURM_CONF=", conf.as_bytes()].concat())?);
    }
    Ok(env)
}

/// The usual directories, and those of the running Slurm: ct-noded asks slurmctld by `squeue`.
fn search_path() -> Vec<u8> {
    let mut path = b"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_vec();
    let daemon = fs::read_link("/proc/self/exe").unwrap_or_default();
    // slurmd lies in sbin, the commands in bin beside it.
    for dir in daemon.ancestors().skip(2).take(1).flat_map(|d| [d.join("bin"), d.join("sbin")]) {
        path.push(b':');
        path.extend_from_slice(dir.as_os_str().as_bytes());
    }
    path
}

/// `cgroup.procs` at the root of each hierarchy: one under v2, one per controller under v1.
fn root_cgroups(cgroupfs: &Path) -> Vec<CString> {
    let unified = cgroupfs.join("cgroup.procs");
    let paths = if unified.exists() {
        vec![unified]
    } else {
        let dirs = fs::read_dir(cgroupfs).into_iter().flatten().flatten();
        dirs.map(|d| d.path().join("cgroup.procs")).filter(|p| p.exists()).collect()
    };
    paths.iter().filter_map(|p| CString::new(p.as_os_str().as_bytes()).ok()).collect()
}
