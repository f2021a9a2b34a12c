//! The state directory full, read-only, closed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use anyhow::{Result, ensure};
use ct_tests::site::wait_for_long;
use ct_tests::{Site, e2e_is_possible};
use rustix::process::Signal;

use crate::ledger::Tmpfs;
use crate::outcome::{
    ended, has_its_energy, lone_jobs, nodes_are_up, one_record_each, reconciles, record, run,
    run_on, signal, submit, wait_for_file,
};

#[test]
fn full_or_read_only_costs_no_job_and_no_record() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().watts(&[100.0, 80.0]).start()?;
    let dir = fs::metadata(site.state_dir(1))?;
    let (uid, gid) = (dir.uid(), dir.gid());
    let mounted = |node: usize| -> Result<Tmpfs> {
        let pid = site.wait_for_noded(node)?;
        signal(pid, Signal::TERM)?;
        ct_tests::site::wait_for("its end", || site.noded_pid(node).is_none().then_some(()))?;
        let tmpfs = Tmpfs::mount(&site.state_dir(node), 256, uid, gid)?;
        fs::create_dir(site.state_dir(node).join("jobs"))?;
        std::os::unix::fs::chown(site.state_dir(node).join("jobs"), Some(uid), Some(gid))?;
        Ok(tmpfs)
    };
    let (full, read_only) = (mounted(1)?, mounted(2)?);
    let filler = full.fill()?;
    read_only.set_read_only(true)?;

    // ct-noded starts there all the same, and measures.
    let body = "touch begun; sleep 2; echo hello; exit 3";
    let job = submit(&site, "on\n#SBATCH --exclusive\n#SBATCH -n1", body)?;
    wait_for_file(&site, "begun")?;
    ensure!(ended(&site, job, 3)?.contains("hello\n"));
    let whole = record(&site, job)?;
    has_its_energy(&site, usize::from(whole["node"] != site.cluster.node(1).as_str()) + 1, &whole)?;
    for node in [1, 2] {
        let job = run_on(&site, node)?.job;
        ensure!(record(&site, job)?["node"] == site.cluster.node(node).as_str());
    }
    nodes_are_up(&site)?;
    // What is there then is not written once more.
    fs::remove_file(filler)?;
    read_only.set_read_only(false)?;
    one_record_each(&site)
}

#[test]
fn filled_in_mid_job_loses_nothing_unless_ct_noded_is_killed_as_well() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = lone_jobs().start()?;
    let dir = fs::metadata(site.state_dir(1))?;
    signal(site.wait_for_noded(1)?, Signal::TERM)?;
    ct_tests::site::wait_for("its end", || site.noded_pid(1).is_none().then_some(()))?;
    let tmpfs = Tmpfs::mount(&site.state_dir(1), 256, dir.uid(), dir.gid())?;
    fs::create_dir(site.state_dir(1).join("jobs"))?;
    std::os::unix::fs::chown(site.state_dir(1).join("jobs"), Some(dir.uid()), Some(dir.gid()))?;

    let body = "touch begun; sleep 4; echo hello; exit 3";
    let job = submit(&site, "on\n#SBATCH --exclusive", body)?;
    wait_for_file(&site, "begun")?;
    let filler = tmpfs.fill()?;
    std::thread::sleep(Duration::from_secs(1));
    // What was saved before it was full is still whole, and taken up.
    signal(site.wait_for_noded(1)?, Signal::KILL)?;
    ensure!(ended(&site, job, 3)?.contains("hello\n"));
    let whole = record(&site, job)?;
    has_its_energy(&site, 1, &whole)?;
    fs::remove_file(filler)?;
    let other = run(&site)?.job;
    record(&site, other)?;
    // Killed once more, it finds nothing that it had written already.
    signal(site.wait_for_noded(1)?, Signal::KILL)?;
    let last = run(&site)?.job;
    record(&site, last)?;
    one_record_each(&site)
}

#[test]
fn what_cannot_be_kept_is_in_no_book_before_ct_noded_is_killed() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().plugstack("update_interval=0.5").start()?;
    let jobs = site.state_dir(1).join("jobs");
    let close = |mode| fs::set_permissions(&jobs, fs::Permissions::from_mode(mode));
    let first = submit(&site, "on\n#SBATCH --exclusive", "touch begun; sleep 3; exit 3")?;
    wait_for_file(&site, "begun")?;
    let pid = site.wait_for_noded(1)?;
    close(0o500)?;
    ended(&site, first, 3)?;
    // Slurmctld's answer has come by then.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(site.ledger_lines()?.is_empty(), "it would be there twice");
    signal(pid, Signal::KILL)?;
    close(0o750)?;
    // The next life, as the hooks start it, has it as running still, and finds it gone.
    let second = run(&site)?.job;
    record(&site, second)?;
    // It asks slurmctld once the job has been gone for 30 s.
    let of_first = || site.ledger_lines().ok()?.into_iter().find(|l| l["job_id"] == first.as_u32());
    wait_for_long(Duration::from_secs(60), "the record of the first job", of_first)?;
    // For a while only: then there is a record all the same.
    close(0o500)?;
    let third = run(&site)?.job;
    record(&site, third)?;
    close(0o750)?;
    one_record_each(&site)?;
    reconciles(&site)
}
