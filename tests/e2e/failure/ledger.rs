//! The ledger's file system full, failing at every call, slow, gone.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::{JobId, Shim, Site, e2e_is_possible};

use crate::cost::{add_next_to_nothing, srun};
use crate::outcome::{median_of, one_record_each, record, run};

/// A small file system in memory, unmounted with its guard.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Of so many KiB, the directory's owner keeping it.
    pub(crate) fn mount(dir: &Path, kib: u32, uid: u32, gid: u32) -> Result<Self> {
        let option = format!("size={kib}k,mode=0750,uid={uid},gid={gid}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &option, "ct-small"]).arg(dir);
        ensure!(mount.status()?.success(), "cannot mount at {}", dir.display());
        Ok(Self(dir.to_owned()))
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, is_read_only: bool) -> Result<()> {
        let how = if is_read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", how]).arg(&self.0).status()?;
        ensure!(status.success(), "cannot remount {}", self.0.display());
        Ok(())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) -> Result<PathBuf> {
        // Not where a reader of the ledger looks.
        let path = self.0.join("live/filler");
        fs::create_dir_all(self.0.join("live"))?;
        let mut file = fs::File::create(&path)?;
        let block = [b'x'; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        Ok(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_and_read_only_keep_records_in_the_state_directory_until_it_can_be_written() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    // The directory is made with ct-noded's first start, and is the service user's.
    let owner = fs::metadata(site.ledger())?;
    let ids =
        (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
    let tmpfs = Tmpfs::mount(&site.ledger(), 64, ids.0, ids.1)?;
    let before = run(&site)?.job;
    record(&site, before)?;
    let filler = tmpfs.fill()?;
    // The last page of the file has room for one or two.
    let jobs = [run(&site)?.job, run(&site)?.job, run(&site)?.job, run(&site)?.job];
    std::thread::sleep(Duration::from_secs(2));
    ensure!(!site.ledger_text()?.contains(&format!("\"job_id\":{},", jobs[3])), "it was full");
    // Killed meanwhile, too.
    crate::outcome::signal(site.wait_for_noded(1)?, rustix::process::Signal::KILL)?;
    let last = run(&site)?.job;
    fs::remove_file(filler)?;
    for job in jobs.into_iter().chain([last]) {
        record(&site, job)?;
    }
    tmpfs.set_read_only(true)?;
    let read_only = run(&site)?.job;
    std::thread::sleep(Duration::from_millis(1500));
    ensure!(!site.ledger_text()?.contains(&format!("\"job_id\":{read_only},")), "it was read-only");
    tmpfs.set_read_only(false)?;
    record(&site, read_only)?;
    one_record_each(&site)
}

#[test]
fn gone_and_somebody_elses_costs_no_job_and_no_record() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let aside = site.cluster.dir().join("ct/ledger-aside");
    let first = run(&site)?.job;
    record(&site, first)?;
    fs::rename(site.ledger(), &aside)?;
    let gone = run(&site)?.job;
    // The directory above is root's: the service user cannot make it anew, which would be a ledger
    // nobody looks for.
    std::thread::sleep(Duration::from_millis(1500));
    ensure!(!site.ledger().exists(), "made anew");
    fs::rename(&aside, site.ledger())?;
    record(&site, gone)?;
    // Somebody else's for a while.
    let owner = fs::metadata(site.ledger())?;
    let uid = std::os::unix::fs::MetadataExt::uid(&owner);
    let mut months = fs::read_dir(site.ledger())?.flatten().map(|e| e.path());
    let month = months.find(|p| !p.ends_with("live")).context("a month")?;
    let file = fs::read_dir(&month)?.flatten().next().context("a file")?.path();
    lchown(&file, Some(0), Some(0))?;
    let closed = run(&site)?.job;
    std::thread::sleep(Duration::from_millis(1500));
    lchown(&file, Some(uid), Some(uid))?;
    record(&site, closed)?;
    one_record_each(&site)
}

#[test]
fn failing_at_every_call_has_every_record_once_and_slow_holds_up_nobody() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let shim = Shim::new()?;
    let site = Site::builder().without_report().noded_preload(&shim.library()).start()?;
    let (_, mut jobs) = median_of(3, || run(&site))?;
    record(&site, jobs[2])?;
    const ENOSPC: i64 = 28;
    const EDQUOT: i64 = 122;
    // One record is opening, writing, syncing; of the next calls each fails once.
    for (nth, error) in
        [(1, ENOSPC), (2, ENOSPC), (2, EDQUOT), (2, 0), (3, ENOSPC), (4, 0), (5, EDQUOT)]
    {
        shim.fail_ledger(nth, error)?;
        let mut n = 0;
        while !shim.has_failed()? {
            let job = run(&site)?.job;
            record(&site, job)?;
            jobs.push(job);
            n += 1;
            ensure!(n < 5, "call {nth} never came");
        }
    }
    ensure!(shim.has_failed_each_call()?, "some call never failed");
    let log = fs::read_to_string(site.state_dir(1).join("noded.log"))?;
    for cause in ["No space left on device", "Disk quota exceeded"] {
        ensure!(log.contains(cause), "ct-noded does not say {cause:?}: {log}");
    }
    // The thread that writes waits, and nobody else: no hook waits for a record.
    let mut timed = |delay_ms: i64| -> Result<Duration> {
        shim.delay_ledger(delay_ms)?;
        let (job, wall) = srun(&site.cluster, &["--carbontracker=on"])?;
        jobs.push(job);
        record(&site, job)?;
        Ok(wall)
    };
    let timed = std::cell::RefCell::new(&mut timed);
    let one = |delay_ms: i64| timed.borrow_mut()(delay_ms);
    add_next_to_nothing(&mut || one(0), &mut [("slow ledger", &mut || one(700))])?;
    shim.delay_ledger(0)?;
    one_record_each(&site)?;
    every_job_is_whole(&site, &jobs)
}

/// What was written by half is a line of its own, and the record after it whole.
fn every_job_is_whole(site: &Site, jobs: &[JobId]) -> Result<()> {
    let text = site.ledger_text()?;
    let whole = |job: &&JobId| {
        let key = format!("\"job_id\":{job},");
        let lines = text.lines().filter(|l| l.contains(r#""kind":"job""#) && l.contains(&key));
        lines.filter(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()).count() == 1
    };
    let missing: Vec<_> = jobs.iter().filter(|job| !whole(job)).collect();
    ensure!(missing.is_empty(), "{missing:?} are not there once and whole:\n{text}");
    Ok(())
}
