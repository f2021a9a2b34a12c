//! What goes wrong meanwhile, on one node at a time; each is over before the next begins.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use ct_tests::Site;
use rustix::process::{Pid, Signal, kill_process};

use crate::Counts;
use crate::dice::Dice;

/// Room of the ledger's file system, in KiB.
const LEDGER_KIB: u32 = 64 * 1024;
/// Time between two faults, in milliseconds.
const PAUSE_MS: (usize, usize) = (1500, 4000);
/// The node whose ct-noded lives through it all, so that its memory can be watched.
pub(crate) const SPARED: usize = 4;

/// A fault, and what it does to a node for so long; `false` where it could not be done.
type Fault = fn(&Site, &Ledger, usize, Duration) -> Result<bool>;

/// All of them; the number says how often each comes, beside the others.
const FAULTS: [(&str, usize, Fault); 12] = [
    ("ct-noded killed", 4, |site, _, node, _| Ok(signal(site, node, Signal::KILL))),
    ("ct-noded ended", 2, |site, _, node, _| Ok(signal(site, node, Signal::TERM))),
    ("ct-noded stopped", 4, stopped),
    ("ct-noded stopped and killed", 2, stopped_and_killed),
    ("socket gone", 3, |site, _, node, _| {
        Ok(fs::remove_file(site.run_dir(node).join("noded.sock")).is_ok())
    }),
    (
        "run directory gone",
        1,
        |site, _, node, _| Ok(fs::remove_dir_all(site.run_dir(node)).is_ok()),
    ),
    ("state directory not writable", 3, |site, _, node, pause| {
        closed(&site.state_dir(node).join("jobs"), pause)
    }),
    ("ledger not writable", 2, |site, _, _, pause| closed(&site.ledger(), pause)),
    ("ledger full", 3, |_, ledger, _, pause| ledger.full(pause)),
    ("ledger full and ct-noded killed", 2, |site, ledger, node, pause| {
        let filler = ledger.fill()?;
        thread::sleep(pause);
        let is_killed = signal(site, node, Signal::KILL);
        thread::sleep(pause);
        fs::remove_file(filler)?;
        Ok(is_killed)
    }),
    ("slurmd restarted", 2, |site, _, node, _| site.cluster.restart_slurmd(node).map(|()| true)),
    ("slurmd killed", 1, |site, _, node, _| {
        site.cluster.kill_slurmd(node);
        site.cluster.restart_slurmd(node).map(|()| true)
    }),
];

/// Does harm by the seed until it is told that all is over; leaves everything running.
pub(crate) fn inject(site: &Site, ledger: &Ledger, seed: u64, done: &AtomicBool) -> Result<Counts> {
    let mut dice = Dice::new(seed, 3);
    let mut counts = Counts::new();
    // Each once in some order, then as it comes.
    let mut first = dice.order(FAULTS.len());
    while !done.load(Ordering::Relaxed) {
        thread::sleep(dice.millis(PAUSE_MS.0, PAUSE_MS.1));
        let chosen = first.pop();
        let chosen =
            chosen.unwrap_or_else(|| dice.weighted(FAULTS.iter().map(|(_, weight, _)| *weight)));
        let (name, _, fault) = &FAULTS[chosen];
        let (node, pause) = (1 + dice.below(SPARED - 1), dice.millis(500, 3500));
        let since = chrono::Utc::now().format("%T%.3f");
        if fault(site, ledger, node, pause)? {
            let until = chrono::Utc::now().format("%T%.3f");
            println!("{since} to {until}: node {node}: {name}");
            *counts.entry(name).or_default() += 1;
        }
    }
    Ok(counts)
}

fn signal(site: &Site, node: usize, signal: Signal) -> bool {
    let pid = site.noded_pid(node).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn stopped(site: &Site, _: &Ledger, node: usize, pause: Duration) -> Result<bool> {
    let is_stopped = signal(site, node, Signal::STOP);
    thread::sleep(pause);
    Ok(is_stopped && signal(site, node, Signal::CONT))
}

fn stopped_and_killed(site: &Site, _: &Ledger, node: usize, pause: Duration) -> Result<bool> {
    let is_stopped = signal(site, node, Signal::STOP);
    thread::sleep(pause);
    Ok(is_stopped && signal(site, node, Signal::KILL))
}

/// Takes the service user its directory for a while.
fn closed(dir: &Path, pause: Duration) -> Result<bool> {
    let mode = fs::metadata(dir)?.permissions();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o000))?;
    thread::sleep(pause);
    fs::set_permissions(dir, mode)?;
    // What could not be kept meanwhile is kept by then, or in the ledger.
    thread::sleep(Duration::from_secs(3));
    Ok(true)
}

/// The ledger's file system, in memory; unmounted with its guard.
pub(crate) struct Ledger(PathBuf);

impl Ledger {
    /// Over the empty directory that the first ct-noded made.
    pub(crate) fn mount(site: &Site) -> Result<Self> {
        let dir = site.ledger();
        let owner = fs::metadata(&dir)?;
        let option = format!(
            "size={LEDGER_KIB}k,mode={:o},uid={},gid={}",
            owner.mode() & 0o7777,
            owner.uid(),
            owner.gid()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &option, "ct-soak"]).arg(&dir);
        ensure!(mount.status()?.success(), "cannot mount at {}", dir.display());
        Ok(Self(dir))
    }

    /// Fills it to the last byte; what is to be removed to make room.
    fn fill(&self) -> Result<PathBuf> {
        // Not where a reader of the ledger looks.
        let path = self.0.join("live/filler");
        fs::create_dir_all(self.0.join("live"))?;
        let mut file = fs::File::create(&path)?;
        let block = [b'x'; 64 * 1024];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        // The last pages, too.
        while std::io::Write::write_all(&mut file, b"x").is_ok() {}
        Ok(path)
    }

    fn full(&self, pause: Duration) -> Result<bool> {
        let filler = self.fill()?;
        thread::sleep(pause);
        fs::remove_file(filler)?;
        Ok(true)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
