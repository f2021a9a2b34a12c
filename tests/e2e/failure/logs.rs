//! The user's log directory unwritable, a link, over its quota, removed in mid-job.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use ct_tests::site::wait_for;
use ct_tests::{Shim, Site, User, e2e_is_possible};

use crate::ledger::Tmpfs;
use crate::outcome::{ended, one_record_each, record, submit, wait_for_file};

/// A directory of the user's.
fn dir_of(site: &Site, user: &User, name: &str) -> Result<PathBuf> {
    let dir = site.cluster.home(user).join(name);
    fs::create_dir(&dir)?;
    std::os::unix::fs::chown(&dir, Some(user.uid()), Some(user.gid()))?;
    Ok(dir)
}

#[test]
fn whatever_becomes_of_the_log_directory_the_job_and_its_record_are_whole() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let shim = Shim::new()?;
    let builder = Site::builder().without_report().cluster(|c| c.users(2));
    let site = builder.noded_preload(&shim.library()).start()?;
    let user = site.cluster.user(1);
    let home = site.cluster.home(user);

    // Nobody may write there; a link to a place that is somebody else's; a link to nowhere.
    fs::create_dir(site.cluster.dir().join("closed"))?;
    let others = site.cluster.home(site.cluster.user(2));
    symlink(&others, home.join("to-another"))?;
    symlink("/nonexistent/place", home.join("to-nowhere"))?;
    let closed = site.cluster.dir().join("closed/logs").display().to_string();
    let mut told = Vec::new();
    for dir in [closed.as_str(), "to-another/logs", "to-nowhere/logs", "to-nowhere", "/proc/logs"] {
        told.push(submit(&site, &format!("log_dir:{dir}"), "echo hello; exit 3")?);
    }

    // Full, and over the user's quota.
    let small = dir_of(&site, user, "small")?;
    let tmpfs = Tmpfs::mount(&small, 64, user.uid(), user.gid())?;
    tmpfs.fill()?;
    dir_of(&site, user, "over-quota")?;
    let body = "for i in 1 2 3; do ct-track epoch start; ct-track epoch end; done >/dev/null; echo hello; exit 3";
    let body = in_job(&site, body);
    let full = submit(&site, "epochs:3,log_dir:small", &body)?;
    let over_quota = submit(&site, "epochs:3,log_dir:over-quota", &body)?;

    // Removed in mid-job, and replaced by a link to where the user may not write.
    let body = "touch removing; while [ ! -e replaced ]; do sleep 0.1; done; ct-track epoch start; ct-track epoch end >/dev/null; echo hello; exit 3";
    let removed = submit(&site, "epochs:3,log_dir:doomed", &in_job(&site, body))?;
    wait_for_file(&site, "removing")?;
    wait_for_file(&site, "doomed")?;
    fs::remove_dir_all(home.join("doomed"))?;
    symlink(&others, home.join("doomed"))?;
    fs::write(home.join("replaced"), "")?;

    for job in &told {
        let out = ended(&site, *job, 3)?;
        ensure!(out.contains("hello\n") && out.contains("cannot write logs in"), "{out}");
    }
    for job in [full, over_quota, removed] {
        let out = ended(&site, job, 3)?;
        ensure!(out.contains("hello\n"), "{out}");
    }
    for job in told.into_iter().chain([full, over_quota, removed]) {
        let record = record(&site, job)?;
        ensure!(record["end_reason"] == "failed", "{record:#}");
    }
    // What could not be written is in ct-noded's own log.
    let log = site.state_dir(1).join("noded.log");
    for (job, cause) in [(full, "No space left on device"), (over_quota, "Disk quota exceeded")] {
        let line = format!("job {job}: cannot write its log: {cause}");
        let is_said = || fs::read_to_string(&log).ok()?.contains(&line).then_some(());
        wait_for(&line, is_said)?;
    }
    // Nothing came into being where it should not.
    ensure!(fs::read_dir(&others)?.next().is_none(), "something is in {}", others.display());
    one_record_each(&site)
}

/// With ct-track on the path.
fn in_job(site: &Site, body: &str) -> String {
    let bin = site.bin("ct-track").parent().map(|p| p.display().to_string()).unwrap_or_default();
    format!("PATH={bin}:$PATH\n{body}")
}
