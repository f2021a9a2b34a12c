//! What must not grow or stay: memory, descriptors, threads, processes, sockets, files, control groups.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ct_tests::Site;

use crate::faults::SPARED;

/// What the ct-noded that lives through it all may have grown by once it is warm.
const MOST_GROWTH_KB: u64 = 1024;
/// What any of them may have in the end beyond what it had in the beginning.
const MOST_KB: u64 = 8 * 1024;
/// How long things may take to go away.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same of what nodes show each other of a job, which outlives it by two minutes.
const LIVE_PATIENCE: Duration = Duration::from_secs(200);
/// What may be in a run directory, a state directory and its `jobs`.
const RUN_FILES: [&str; 4] = ["noded.sock", "noded.pid", "noded.lock", "ended"];
const STATE_FILES: [&str; 3] = ["baseline.json", "jobs", "noded.log"];
const JOBS_FILES: [&str; 1] = ["running.json"];

/// What one ct-noded uses.
#[derive(Clone, Copy)]
struct Usage {
    pid: u32,
    rss_kb: u64,
    n_fds: usize,
    n_threads: u64,
}

impl Usage {
    fn of(site: &Site, node: usize) -> Result<Self> {
        let pid = site.wait_for_noded(node)?;
        let proc = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let number = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).context(key.to_owned())?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        let n_fds = fs::read_dir(format!("{proc}/fd"))?.count();
        Ok(Self { pid, rss_kb: number("VmRSS:")?, n_fds, n_threads: number("Threads:")? })
    }
}

/// What there was in the beginning, and the memory of one ct-noded since.
pub(crate) struct Watch {
    before: Vec<Usage>,
    rss_kb: Mutex<Vec<u64>>,
}

impl Watch {
    pub(crate) fn begin(site: &Site) -> Result<Self> {
        let nodes = 1..=site.cluster.n_nodes();
        let before = nodes.map(|node| Usage::of(site, node)).collect::<Result<_>>()?;
        Ok(Self { before, rss_kb: Mutex::default() })
    }

    /// Notes the memory of the one that is spared every second.
    pub(crate) fn follow(&self, site: &Site, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            if let (Ok(usage), Ok(mut rss_kb)) = (Usage::of(site, SPARED), self.rss_kb.lock()) {
                rss_kb.push(usage.rss_kb);
            }
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// All that is left or has grown.
    pub(crate) fn end(&self, site: &Site) -> Result<Vec<String>> {
        let mut problems = self.growth(site);
        let mut left = Vec::new();
        for (index, before) in self.before.iter().enumerate() {
            problems.extend(use_of(site, index + 1, before)?);
            left.extend(left_on(site, index + 1));
        }
        left.extend(processes(site));
        let live = site.ledger().join("live");
        let found = still_there(LIVE_PATIENCE, || others(&live, &[]));
        left.extend(found.map(|left| format!("{}: {left:?}", live.display())));
        println!("left of files, control groups and processes: {} kinds", left.len());
        problems.extend(left);
        for (node, state) in site.cluster.node_states()? {
            if state != "idle" {
                problems.push(format!("{node} is {state}"));
            }
        }
        Ok(problems)
    }

    /// The memory of the one that is spared: in the second tenth of the time, and in the last.
    fn growth(&self, site: &Site) -> Vec<String> {
        let rss_kb = self.rss_kb.lock().map(|rss| rss.clone()).unwrap_or_default();
        let tenth = rss_kb.len() / 10;
        let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len().max(1) as u64;
        let (early, late) =
            (mean(&rss_kb[tenth..2 * tenth]), mean(&rss_kb[rss_kb.len() - tenth..]));
        let (least, most) = (rss_kb.iter().min(), rss_kb.iter().max());
        println!(
            "ct-noded of node {SPARED}, which nobody killed: RSS {early} kB when warm, {late} kB in the \
             end, {} to {} kB in all",
            least.unwrap_or(&0),
            most.unwrap_or(&0)
        );
        let mut problems = Vec::new();
        if late > early + MOST_GROWTH_KB {
            problems.push(format!("ct-noded of node {SPARED} has grown from {early} to {late} kB"));
        }
        if site.noded_pid(SPARED) != self.before.last().map(|usage| usage.pid) {
            problems.push(format!("ct-noded of node {SPARED} has ended, and nobody harmed it"));
        }
        problems
    }
}

/// Whether a node's ct-noded has grown.
fn use_of(site: &Site, node: usize, before: &Usage) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let now = Usage::of(site, node)?;
    println!(
        "node {node}: RSS {} -> {} kB, {} -> {} descriptors, {} -> {} threads",
        before.rss_kb, now.rss_kb, before.n_fds, now.n_fds, before.n_threads, now.n_threads
    );
    if now.rss_kb > before.rss_kb + MOST_KB {
        problems.push(format!("ct-noded of node {node} has {} kB", now.rss_kb));
    }
    if now.n_fds > before.n_fds + 2 || now.n_threads > before.n_threads {
        problems.push(format!("ct-noded of node {node} holds descriptors or threads"));
    }
    Ok(problems)
}

/// Files and control groups that are left on a node.
fn left_on(site: &Site, node: usize) -> Vec<String> {
    let dirs = [
        (site.run_dir(node), &RUN_FILES[..]),
        (site.run_dir(node).join("ended"), &[]),
        (site.state_dir(node), &STATE_FILES[..]),
        (site.state_dir(node).join("jobs"), &JOBS_FILES[..]),
    ];
    let files = dirs.into_iter().filter_map(|(dir, expected)| {
        let found = still_there(PATIENCE, || others(&dir, expected))?;
        Some(format!("{}: {found:?}", dir.display()))
    });
    let groups = site.cluster.cpuacct(node);
    let found = still_there(PATIENCE, || job_groups(&groups));
    files.chain(found.map(|found| format!("{}: {found:?}", groups.display()))).collect()
}

/// What is still there after a while.
fn still_there(patience: Duration, look: impl Fn() -> Vec<String>) -> Option<Vec<String>> {
    let end = Instant::now() + patience;
    loop {
        let found = look();
        if found.is_empty() {
            return None;
        }
        if Instant::now() > end {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn others(dir: &Path, expected: &[&str]) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !expected.contains(&name.as_str())).collect()
}

/// Control groups of jobs below those of a node's users.
fn job_groups(groups: &Path) -> Vec<String> {
    let users = fs::read_dir(groups).into_iter().flatten().flatten().map(|e| e.path());
    let jobs = users.flat_map(|user| fs::read_dir(user).into_iter().flatten().flatten());
    let names = jobs.map(|job| job.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("job_")).collect()
}

/// One ct-noded a node, and no slurmstepd or ct-track of this cluster's.
fn processes(site: &Site) -> Vec<String> {
    let mine = format!("CT_CLUSTER_DIR={}", site.cluster.dir().display());
    let conf = format!("SLURM_CONF={}", site.cluster.slurm_conf().display());
    let look = || {
        let mut n_noded = 0;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let has = |variable: &str| environ.split(|b| *b == 0).any(|v| v == variable.as_bytes());
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            match name.trim() {
                _ if !has(&mine) && !has(&conf) => {}
                "ct-noded" => n_noded += 1,
                name @ ("slurmstepd" | "ct-track" | "squeue") => found.push(name.to_owned()),
                _ => {}
            }
        }
        if n_noded != site.cluster.n_nodes() {
            found.push(format!("{n_noded} ct-noded"));
        }
        found
    };
    still_there(PATIENCE, look).map(|found| format!("processes: {found:?}")).into_iter().collect()
}
