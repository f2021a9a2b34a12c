//! Does ct-noded run with the configuration as it is now? It reads it once, when it starts.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ct_core::config::Config;

use super::Area;

/// The kernel tells its boot in whole seconds.
const MARGIN: Duration = Duration::from_secs(2);

/// Says where a configuration was changed after the process that reads it was started.
pub(super) fn check(config: &Config, file: &Path, pid: u32, area: &mut Area<'_>) {
    let changed = fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let started = started(Path::new("/proc"), pid);
    let (Some(changed), Some(started)) = (changed, started) else { return };
    if changed > started + MARGIN {
        let pid_file = config.node.run_dir.join("noded.pid");
        area.warn(
            format!("{} was changed after ct-noded started: it has not read that", file.display()),
            format!(
                "`systemctl restart ct-noded`; without systemd `kill $(cat {})`, the next job's \
                 hooks start it; running jobs go on",
                pid_file.display()
            ),
        );
    }
}

/// When a process was started, as the kernel has it.
fn started(procfs: &Path, pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(procfs.join(pid.to_string()).join("stat")).ok()?;
    // The name in brackets may hold anything; the start is the 22nd field, the 20th behind it.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let kernel = fs::read_to_string(procfs.join("stat")).ok()?;
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "))?;
    let since_boot = Duration::from_secs(ticks / rustix::param::clock_ticks_per_second());
    Some(UNIX_EPOCH + Duration::from_secs(boot.trim().parse().ok()?) + since_boot)
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Level};
    use super::*;

    #[test]
    fn the_start_of_a_process_is_told_from_its_ticks_since_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("7")).unwrap();
        let fields: Vec<String> = (3..30).map(|n| n.to_string()).collect();
        let stat = format!("7 (a ) b) {}", fields.join(" ")).replace(" 22 ", " 12345 ");
        fs::write(dir.path().join("7/stat"), stat).unwrap();
        fs::write(dir.path().join("stat"), "cpu 1 2\nbtime 1000000\nprocesses 3\n").unwrap();
        // 123 s and 45 of 100 ticks.
        let expected = UNIX_EPOCH + Duration::from_secs(1_000_123);
        assert_eq!(started(dir.path(), 7), Some(expected));
        assert_eq!(started(dir.path(), 8), None);
    }

    #[test]
    fn a_configuration_that_is_newer_than_the_process_is_told_with_its_mend() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("carbontracker.toml");
        fs::write(&file, "").unwrap();
        let own = std::process::id();
        let set = |at| fs::File::options().write(true).open(&file).unwrap().set_modified(at);
        let found = || {
            let mut out: Vec<Finding> = Vec::new();
            check(&Config::default(), &file, own, &mut Area::new("ct-noded", &mut out));
            out
        };
        set(UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        assert_eq!(found(), []);
        set(SystemTime::now() + Duration::from_secs(60)).unwrap();
        let found = found();
        assert_eq!(found[0].level, Level::Warning);
        let mend = found[0].mend.as_deref().unwrap();
        assert!(mend.contains("kill $(cat /run/carbontracker/noded.pid)"), "{mend}");
    }
}
