//! The socket gone, full, or a stranger's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use ct_tests::site::wait_for;
use ct_tests::{Site, e2e_is_possible};
use rustix::process::Signal;

use crate::outcome::{
    MOST_DELAY, ended, median_of, one_record_each, record, run, signal, submit, wait_for_file,
    warns,
};

#[test]
fn taken_away_is_bound_again_by_the_ct_noded_that_runs() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let pid = site.wait_for_noded(1)?;
    let socket = site.run_dir(1).join("noded.sock");
    let job = submit(&site, "on", "touch begun; sleep 2; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    fs::remove_file(&socket)?;
    ensure!(site.wait_for_noded(1)? == pid, "another ct-noded");
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o666, "connectable by all, and {mode:o}");
    ensure!(ended(&site, job, 3)?.contains("hello\n"));
    // All that lies there, as an "rm -r" leaves it that lost the race with the socket.
    for name in ["noded.lock", "noded.pid", "noded.sock"] {
        fs::remove_file(site.run_dir(1).join(name))?;
    }
    fs::remove_dir_all(site.run_dir(1).join("ended"))?;
    ensure!(site.wait_for_noded(1)? == pid, "another ct-noded");
    let has_lock = || site.run_dir(1).join("noded.lock").exists().then_some(());
    wait_for("the lock", has_lock)?;
    let other = run(&site)?.job;
    for job in [job, other] {
        record(&site, job)?;
    }
    // Where hooks leave what nobody answers for is looked at each 10 s.
    wait_for("ended", || site.run_dir(1).join("ended").is_dir().then_some(()))?;
    ensure!(site.wait_for_noded(1)? == pid, "another ct-noded");
    one_record_each(&site)
}

#[test]
fn whole_run_directory_taken_away_is_made_again_by_the_next_hook() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let pid = site.wait_for_noded(1)?;
    let job = submit(&site, "on", "touch begun; sleep 2; echo hello; exit 3")?;
    wait_for_file(&site, "begun")?;
    // At once: while it is emptied, ct-noded may make its socket anew.
    let away = site.cluster.dir().join("taken-away");
    fs::rename(site.run_dir(1), &away)?;
    fs::remove_dir_all(&away)?;
    ended(&site, job, 3)?;
    let other = run(&site)?.job;
    for job in [job, other] {
        record(&site, job)?;
    }
    ensure!(site.wait_for_noded(1)? != pid, "the old one cannot make it: it is not root");
    let is_there = |pid: u32| std::path::Path::new(&format!("/proc/{pid}/fd")).exists();
    wait_for("the old ct-noded to end", || (!is_there(pid)).then_some(()))?;
    one_record_each(&site)
}

/// Listens in ct-noded's place as another user, and notes what it is sent: `full` accepts nothing and
/// fills its own backlog first.
const LISTENER: &str = r#"
import os, socket, sys
path, notes, mode = sys.argv[1:]
if os.path.exists(path):
    os.remove(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
os.chmod(path, 0o666)
server.listen(0 if mode == "full" else 64)
waiting = []
while mode == "full":
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(path)
    except BlockingIOError:
        break
    waiting.append(client)
open(notes, "w").close()
if mode == "full":
    sys.stdin.read()
while True:
    peer, _ = server.accept()
    while data := peer.recv(65536):
        with open(notes, "ab") as out:
            out.write(data)
"#;

/// A process that listens; ends with its guard.
struct Listener(Child);

impl Listener {
    /// As the user of this uid, in a run directory that is theirs for once.
    fn start(site: &Site, uid: u32, mode: &str) -> Result<(Self, std::path::PathBuf)> {
        let socket = site.run_dir(1).join("noded.sock");
        let notes = site.cluster.dir().join(format!("heard-{mode}-{uid}"));
        fs::write(&notes, "not yet")?;
        fs::set_permissions(&notes, fs::Permissions::from_mode(0o666))?;
        fs::set_permissions(site.run_dir(1), fs::Permissions::from_mode(0o777))?;
        let child = Command::new("setpriv")
            .args([
                "--reuid",
                &uid.to_string(),
                "--clear-groups",
                "--",
                "/usr/bin/python3",
                "-c",
                LISTENER,
            ])
            .args([&socket, &notes])
            .arg(mode)
            .stdin(Stdio::piped())
            .spawn()
            .context("setpriv")?;
        let listener = Self(child);
        wait_for("the listener", || fs::read(&notes).is_ok_and(|n| n.is_empty()).then_some(()))?;
        fs::set_permissions(site.run_dir(1), fs::Permissions::from_mode(0o755))?;
        Ok((listener, notes))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_a_stranger_is_told_nothing_and_taken_back() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let stranger = site.cluster.user(2).uid();
    signal(site.wait_for_noded(1)?, Signal::KILL)?;
    wait_for("its end", || site.noded_pid(1).is_none().then_some(()))?;
    let (_listener, notes) = Listener::start(&site, stranger, "stranger")?;
    let job = run(&site)?.job;
    let heard = fs::read_to_string(&notes)?;
    ensure!(heard.is_empty(), "the stranger was told {heard:?}");
    // The prolog found the stranger and started ct-noded, which took its place back.
    let owner = fs::metadata(site.run_dir(1).join("noded.sock"))?.uid();
    ensure!(owner != stranger, "the socket is still the stranger's");
    record(&site, job)?;
    one_record_each(&site)
}

#[test]
fn full_costs_a_job_less_than_a_second_in_all() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_report().start()?;
    let (usual, _) = median_of(3, || run(&site))?;
    signal(site.wait_for_noded(1)?, Signal::KILL)?;
    wait_for("its end", || site.noded_pid(1).is_none().then_some(()))?;
    // Root's, as ct-noded's own is, with nobody who accepts.
    let (listener, _) = Listener::start(&site, 0, "full")?;
    let marker = site.run_dir(1).join("noded.silent");
    let (delayed, jobs) = median_of(3, || {
        let _ = fs::remove_file(&marker);
        run(&site)
    })?;
    let delay = delayed.saturating_sub(usual);
    ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with a full socket");
    ensure!(marker.exists(), "nobody waited");
    drop(listener);
    // Nobody listens any more: the next hook starts ct-noded, which forgets the silence.
    let job = run(&site)?.job;
    record(&site, job)?;
    ensure!(!marker.exists(), "the silence is remembered for ever");
    // Of the others it has what their epilogs left for it.
    for job in jobs {
        let record = record(&site, job)?;
        ensure!(record["end_reason"] == "failed" && record["coverage"] == 0.0, "{record:#}");
        ensure!(warns(&record, "no hook told of it before its end"), "{record:#}");
    }
    one_record_each(&site)
}
