//! Processes of this machine, told apart by what /proc says of them.
//!
//! A process that is gone between two looks is simply not there: nothing here fails.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The pause between two looks at something that is to happen soon.
const POLL: Duration = Duration::from_millis(10);

/// Asks `done` every few milliseconds until it says yes; false when `timeout` passed first.
pub(crate) fn poll_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Every process id there is.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// True while the process runs; a zombie, which only waits to be reaped, does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// This process and the ones it descends from.
pub(crate) fn own_lineage() -> Vec<u32> {
    let mut lineage = vec![std::process::id()];
    while let Some(parent) = lineage.last().and_then(|&pid| parent_of(pid)) {
        lineage.push(parent);
    }
    lineage
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok().filter(|&parent| parent > 1)
}

/// The fields of /proc/PID/stat behind the command's name, which may itself hold blanks.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
    (fields.len() > 1).then_some(fields)
}

/// True if the process was started with `entry` (`NAME=value`) in its environment.
pub(crate) fn has_environment(pid: u32, entry: &str) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environ.split(|&b| b == 0).any(|e| e == entry.as_bytes())
}

/// True if the process was started with a variable of that name in its environment.
pub(crate) fn has_variable(pid: u32, name: &str) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let value_of = |entry: &[u8]| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(drop);
    environ.split(|&b| b == 0).any(|entry| value_of(entry).is_some())
}

/// True if the process works in `dir`: its command line, its directory or an open file says so.
pub(crate) fn works_in(pid: u32, dir: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    let is_inside = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(dir));
    let named = fs::read(proc.join("cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy()));
    let opened = || {
        let Ok(fds) = fs::read_dir(proc.join("fd")) else { return false };
        fds.flatten().any(|fd| is_inside(&fd.path()))
    };
    named || is_inside(&proc.join("cwd")) || opened()
}

/// Sends a signal; a process that is already gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends a process: SIGTERM, and SIGKILL where it is still there after `patience`.
pub(crate) fn end(pid: u32, patience: Duration) {
    signal(pid, Signal::TERM);
    if !poll_until(patience, || !is_alive(pid)) {
        signal(pid, Signal::KILL);
        poll_until(patience, || !is_alive(pid));
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn child_is_known_by_its_environment_until_it_is_ended() {
        let mut child = Command::new("sleep")
            .arg("60")
            .env("CT_PROCESS_TEST", "a b")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(poll_until(Duration::from_secs(5), || has_environment(pid, "CT_PROCESS_TEST=a b")));
        assert!(!has_environment(pid, "CT_PROCESS_TEST=a"));
        assert!(has_variable(pid, "CT_PROCESS_TEST") && !has_variable(pid, "CT_PROCESS"));
        assert!(is_alive(pid));
        end(pid, Duration::from_secs(5));
        // Not waited for yet: a zombie counts as gone.
        assert!(!is_alive(pid));
        child.wait().unwrap();
    }

    #[test]
    fn lineage_begins_here_and_holds_the_parent() {
        let lineage = own_lineage();
        assert_eq!(lineage[0], std::process::id());
        assert_eq!(lineage.get(1).copied(), parent_of(std::process::id()));
    }

    #[test]
    fn working_directory_tells_who_works_in_a_directory() {
        let here = std::env::current_dir().unwrap();
        assert!(works_in(std::process::id(), &here));
        assert!(!works_in(std::process::id(), Path::new("/no/such/place")));
    }
}
