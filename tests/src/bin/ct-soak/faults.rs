//! What goes wrong meanwhile, on one node at a time; each is over before the next begins.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use ct_tests::{Shim, Site};
use rustix::process::{Pid, Signal, kill_process};

use crate::Counts;
use crate::dice::Dice;
use crate::sockets;

/// Room of the ledger's file system, in KiB.
const LEDGER_KIB: u32 = 64 * 1024;
/// Time between two faults, in milliseconds.
const PAUSE_MS: (usize, usize) = (1500, 4000);
/// The node whose ct-noded lives through it all, so that its memory can be watched.
pub(crate) const SPARED: usize = 4;

/// By how much the clock on the wall is off meanwhile.
const CLOCK_OFF_S: i64 = 86_400;
/// How much longer each call on the ledger takes meanwhile.
const LEDGER_DELAY_MS: i64 = 700;
/// How long after slurmd was back a job may show that it was away: one that is being launched waits.
const SLURMD_SHOWS_FOR: Duration = Duration::from_secs(15);

/// What harm is done with.
pub(crate) struct Tools {
    pub(crate) ledger: Ledger,
    /// Before libc in every ct-noded.
    pub(crate) shim: Shim,
}

/// A fault, and what it does to a node for so long; `false` where it could not be done.
type Fault = fn(&Site, &Tools, usize, Duration) -> Result<bool>;

/// All of them; the number says how often each comes, beside the others.
const FAULTS: [(&str, usize, Fault); 20] =
    [
        ("ct-noded killed", 4, |site, _, node, _| Ok(signal(site, node, Signal::KILL))),
        ("ct-noded ended", 2, |site, _, node, _| Ok(signal(site, node, Signal::TERM))),
        ("ct-noded stopped", 4, stopped),
        ("ct-noded stopped and killed", 2, stopped_and_killed),
        ("socket gone", 3, |site, _, node, _| {
            Ok(fs::remove_file(site.run_dir(node).join("noded.sock")).is_ok())
        }),
        ("ct-noded killed, a stranger on its socket", 2, |site, _, node, pause| {
            sockets::held_by_a_stranger(site, node, pause)
        }),
        ("ct-noded killed, its socket full", 2, |site, _, node, pause| {
            sockets::full(site, node, pause)
        }),
        ("messages cut off", 2, |site, _, node, pause| sockets::cut_messages(site, node, pause)),
        ("run directory gone", 1, |site, _, node, _| {
            Ok(fs::remove_dir_all(site.run_dir(node)).is_ok())
        }),
        ("state directory not writable", 3, |site, _, node, pause| {
            closed(&site.state_dir(node).join("jobs"), pause)
        }),
        ("ledger not writable", 2, |site, _, _, pause| closed(&site.ledger(), pause)),
        ("ledger full", 3, |_, tools, _, pause| tools.ledger.full(pause)),
        ("ledger full and ct-noded killed", 2, |site, tools, node, pause| {
            let filler = tools.ledger.fill()?;
            thread::sleep(pause);
            let is_killed = signal(site, node, Signal::KILL);
            thread::sleep(pause);
            fs::remove_file(filler)?;
            Ok(is_killed)
        }),
        ("ledger slow", 2, |_, tools, _, pause| {
            tools.shim.delay_ledger(LEDGER_DELAY_MS)?;
            thread::sleep(pause);
            tools.shim.delay_ledger(0).map(|()| true)
        }),
        ("clock forward", 1, |_, tools, _, pause| clock_off(tools, CLOCK_OFF_S, pause)),
        ("clock back", 1, |_, tools, _, pause| clock_off(tools, -CLOCK_OFF_S, pause)),
        ("log directories removed", 2, |site, _, _, _| Ok(remove_logs(site) > 0)),
        ("log directories not writable", 2, |site, _, _, pause| logs_closed(site, pause)),
        (SLURMD_RESTARTED, 2, |site, _, node, _| site.cluster.restart_slurmd(node).map(|()| true)),
        (SLURMD_KILLED, 1, |site, _, node, _| {
            site.cluster.kill_slurmd(node);
            site.cluster.restart_slurmd(node).map(|()| true)
        }),
    ];
const SLURMD_RESTARTED: &str = "slurmd restarted";
const SLURMD_KILLED: &str = "slurmd killed";

/// What was done: how often, and when a fault of Slurm's own could be seen by a job.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) counts: Counts,
    pub(crate) of_slurm: Vec<Shown>,
}

/// A node, and from when until when.
pub(crate) type Shown = (usize, DateTime<Utc>, DateTime<Utc>);

/// Does harm by the seed until it is told that all is over; leaves everything running.
pub(crate) fn inject(site: &Site, tools: &Tools, seed: u64, is_over: &AtomicBool) -> Result<Done> {
    let mut dice = Dice::new(seed, 3);
    let mut done = Done::default();
    // Each once in some order, then as it comes.
    let mut first = dice.order(FAULTS.len());
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(dice.millis(PAUSE_MS.0, PAUSE_MS.1));
        let chosen = first.pop();
        let chosen =
            chosen.unwrap_or_else(|| dice.weighted(FAULTS.iter().map(|(_, weight, _)| *weight)));
        let (name, _, fault) = &FAULTS[chosen];
        let (node, pause) = (1 + dice.below(SPARED - 1), dice.millis(500, 3500));
        let since = Utc::now();
        if fault(site, tools, node, pause)? {
            let until = Utc::now();
            println!(
                "{} to {}: node {node}: {name}",
                since.format("%T%.3f"),
                until.format("%T%.3f")
            );
            *done.counts.entry(name).or_default() += 1;
            if [SLURMD_RESTARTED, SLURMD_KILLED].contains(name) {
                done.of_slurm.push((node, since, until + SLURMD_SHOWS_FOR));
            }
        }
    }
    Ok(done)
}

pub(crate) fn signal(site: &Site, node: usize, signal: Signal) -> bool {
    let pid = site.noded_pid(node).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn clock_off(tools: &Tools, seconds: i64, pause: Duration) -> Result<bool> {
    tools.shim.set_clock_off(seconds)?;
    thread::sleep(pause);
    tools.shim.set_clock_off(0).map(|()| true)
}

/// The users' log directories that there are.
fn log_dirs(site: &Site) -> impl Iterator<Item = PathBuf> {
    let home = |n| site.cluster.home(site.cluster.user(n)).join("carbontracker");
    (1..=4).map(home).filter(|dir| dir.is_dir())
}

/// Jobs write into them meanwhile: what is made anew while it is removed stays.
fn remove_logs(site: &Site) -> usize {
    log_dirs(site).filter(|dir| fs::remove_dir_all(dir).is_ok()).count()
}

fn logs_closed(site: &Site, pause: Duration) -> Result<bool> {
    let dirs: Vec<_> = log_dirs(site).collect();
    let set = |mode: u32| -> Result<()> {
        for dir in &dirs {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    set(0o500)?;
    thread::sleep(pause);
    set(0o755)?;
    Ok(!dirs.is_empty())
}

fn stopped(site: &Site, _: &Tools, node: usize, pause: Duration) -> Result<bool> {
    let is_stopped = signal(site, node, Signal::STOP);
    thread::sleep(pause);
    Ok(is_stopped && signal(site, node, Signal::CONT))
}

fn stopped_and_killed(site: &Site, _: &Tools, node: usize, pause: Duration) -> Result<bool> {
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
