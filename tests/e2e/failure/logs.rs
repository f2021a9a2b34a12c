//! The user's log directory unwritable, a link, over its quota, removed in mid-job.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use ct_tests::{Site, User, e2e_is_possible};

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
    let site = Site::builder().without_report().cluster(|c| c.users(2)).start()?;
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

    // Over its quota, which is ENOSPC here and EDQUOT there.
    let small = dir_of(&site, user, "small")?;
    let tmpfs = Tmpfs::mount(&small, 64, user.uid(), user.gid())?;
    tmpfs.fill()?;
    let body = "for i in 1 2 3; do ct-track epoch start; ct-track epoch end; done >/dev/null; echo hello; exit 3";
    let over_quota = submit(&site, "epochs:3,log_dir:small", &in_job(&site, body))?;

    // Removed, and replaced by a link, in mid-job.
    let body = "touch removing; while [ -e doomed ]; do sleep 0.1; done; ct-track epoch start; ct-track epoch end >/dev/null; echo hello; exit 3";
    let removed = submit(&site, "epochs:3,log_dir:doomed", &in_job(&site, body))?;
    wait_for_file(&site, "removing")?;
    wait_for_file(&site, "doomed")?;
    fs::remove_dir_all(home.join("doomed"))?;

    for job in &told {
        let out = ended(&site, *job, 3)?;
        ensure!(out.contains("hello\n") && out.contains("cannot write logs in"), "{out}");
    }
    for job in [over_quota, removed] {
        let out = ended(&site, job, 3)?;
        ensure!(out.contains("hello\n"), "{out}");
    }
    for job in told.into_iter().chain([over_quota, removed]) {
        let record = record(&site, job)?;
        ensure!(record["end_reason"] == "failed", "{record:#}");
    }
    // Nothing came into being where it should not.
    ensure!(!others.join("logs").exists() && !home.join("doomed").exists());
    one_record_each(&site)
}

/// With ct-track on the path.
fn in_job(site: &Site, body: &str) -> String {
    let bin = site.bin("ct-track").parent().map(|p| p.display().to_string()).unwrap_or_default();
    format!("PATH={bin}:$PATH\n{body}")
}
