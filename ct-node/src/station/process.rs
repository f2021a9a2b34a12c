//! Whether processes that hooks named still run.

/// Whether a process of this id runs, also one of another user's or one that is hidden from us; one
/// that has ended and that nobody has waited for does not, as in a container without an init.
pub fn is_alive(pid: u32) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    let is_there = rustix::process::test_kill_process(id) != Err(rustix::io::Errno::SRCH);
    is_there && !stat_of(pid).rsplit(") ").next().is_some_and(has_ended)
}

/// Whether a slurmstepd runs with this pid; one that nobody has waited for does not.
pub fn is_slurmstepd(pid: u32) -> bool {
    let stat = stat_of(pid);
    let is_named = stat.split_once(" (slurmstepd) ").map(|(_, rest)| rest);
    is_named.is_some_and(|rest| !has_ended(rest))
}

/// `/proc/PID/stat`; nothing where it cannot be read.
fn stat_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()
}

/// Whether a process has ended, by what follows its name in `/proc/PID/stat`.
fn has_ended(stat: &str) -> bool {
    stat.starts_with(['Z', 'X'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_has_waited_for_is_not_alive() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_alive(child.id()));
        child.kill().unwrap();
        // It is a zombie as soon as it has died of it.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while is_alive(child.id()) && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!is_alive(child.id()));
        assert!(std::path::Path::new(&format!("/proc/{}/stat", child.id())).exists());
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
    }
}
