//! Plugin and ct-noded of two protocols: one of them was upgraded while jobs run.
//!
//! Both are the real ones. ct-noded has a run directory of its own, and what passes between them goes
//! through this test, which makes one side's words those of a later version.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ct_tests::site::{wait_for, wait_for_long};
use ct_tests::{JobId, Site, artifact, e2e_is_possible};
use serde_json::Value;

use crate::outcome::{ended, one_record_each_but, record, submit, wait_for_file, warns};

/// Who speaks the later version.
const NOBODY: u8 = 0;
const THE_PLUGIN: u8 = 1;
const THE_DAEMON: u8 = 2;
/// Nobody, but what the plugin says of a job's end has a form that ct-noded does not know.
const ENDS_OF_ANOTHER_FORM: u8 = 3;

/// How long a job whose end nobody told may take to be found: half a minute, and the looks before it.
const UNTIL_FOUND: Duration = Duration::from_secs(120);

/// Stands before a node's ct-noded, which ends with it.
struct Between {
    who: Arc<AtomicU8>,
    noded: Child,
}

impl Between {
    /// Starts ct-noded with another run directory, and listens where the plugin looks for it.
    fn start(site: &Site) -> Result<Self> {
        let dir = site.cluster.dir().join("ct/run-behind");
        let config = site.cluster.dir().join("ct/behind.toml");
        let text = fs::read_to_string(site.config())?;
        let own = site.run_dir(1).with_file_name("%n").display().to_string();
        ensure!(text.contains(&own), "{own} is not in {text}");
        fs::write(&config, text.replace(&own, &dir.display().to_string()))?;
        let noded = spawn_noded(site, &config)?;
        let real = dir.join("noded.sock");
        wait_for("ct-noded to listen", || UnixStream::connect(&real).ok())?;
        let who = Arc::new(AtomicU8::new(NOBODY));
        listen(site, real, &who)?;
        Ok(Self { who, noded })
    }

    fn let_speak(&self, who: u8) {
        self.who.store(who, Ordering::Relaxed);
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.noded.kill();
        let _ = self.noded.wait();
    }
}

fn spawn_noded(site: &Site, config: &Path) -> Result<Child> {
    let program = artifact::built("ct-node", "ct-noded")?;
    let mut command = Command::new(&program);
    command.arg("--daemon").arg("--config").arg(config).args(["--node", &site.cluster.node(1)]);
    command.env("SLURM_CONF", site.cluster.slurm_conf());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| program.display().to_string())
}

fn listen(site: &Site, real: PathBuf, who: &Arc<AtomicU8>) -> Result<()> {
    let socket = site.run_dir(1).join("noded.sock");
    fs::create_dir_all(site.run_dir(1))?;
    let listener = UnixListener::bind(&socket)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    let shared = Arc::clone(who);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (real, who) = (real.clone(), Arc::clone(&shared));
            // Either side may hang up at any time.
            thread::spawn(move || {
                UnixStream::connect(&real).ok().and_then(|noded| pass(&client, &noded, &who))
            });
        }
    });
    Ok(())
}

/// Passes requests and replies on, line by line; handles are lost on the way.
fn pass(client: &UnixStream, noded: &UnixStream, who: &AtomicU8) -> Option<()> {
    let (mut requests, mut replies) = (BufReader::new(client), BufReader::new(noded));
    loop {
        pass_line(&mut requests, noded, |line| match who.load(Ordering::Relaxed) {
            THE_PLUGIN => later(line),
            ENDS_OF_ANOTHER_FORM => {
                line.replace("\"op\":\"job_end\"", "\"news\":[1],\"op\":\"job_end\"")
            }
            _ => line,
        })?;
        pass_line(&mut replies, client, |line| match who.load(Ordering::Relaxed) {
            THE_DAEMON => later(line),
            _ => line,
        })?;
    }
}

fn pass_line(
    from: &mut impl BufRead,
    mut to: &UnixStream,
    change: impl FnOnce(String) -> String,
) -> Option<()> {
    let mut line = String::new();
    from.read_line(&mut line).ok().filter(|n| *n > 0)?;
    to.write_all(change(line).as_bytes()).ok()
}

/// A later version has a later number, and what this one does not know.
fn later(line: String) -> String {
    line.replacen('{', "{\"news\":[1],", 1).replace("\"v\":1", "\"v\":2")
}

fn record_in_time(site: &Site, job: JobId) -> Result<Value> {
    wait_for_long(UNTIL_FOUND, &format!("the record of job {job}"), || {
        let is_there = |line: &Value| line["job_id"] == job.as_u32();
        site.ledger_lines().ok()?.iter().any(is_there).then_some(())
    })?;
    let record = record(site, job)?;
    ensure!(record["end_reason"] == "failed", "{record:#}");
    Ok(record)
}

#[test]
fn of_another_protocol_cost_the_measurement_and_nothing_else() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().without_noded().without_report().start()?;
    let between = Between::start(&site)?;
    // Handles are lost on the way: a job without logs of its own.
    let usual = submit(&site, "on", "echo hello; exit 3")?;
    ensure!(ended(&site, usual, 3)?.starts_with("hello\n"));
    record_in_time(&site, usual)?;
    let mut whole = Vec::new();
    for who in [THE_PLUGIN, THE_DAEMON] {
        between.let_speak(who);
        let job = submit(&site, "on", "echo hello; exit 3")?;
        // As without the plugin: not a word of ours in its output.
        let out = ended(&site, job, 3)?;
        ensure!(out == "hello\n", "who {who}: {out}");
        whole.push(job);
    }
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    ensure!(log.contains("has protocol version"), "{log}");
    // What a later plugin says is not understood: no record. What a later ct-noded answers is not,
    // either, but it has understood.
    ensure!(!site.ledger_text()?.contains(&format!("\"job_id\":{},", whole[0])));
    record_in_time(&site, whole[1])?;
    // The plugin was upgraded before a job's start, and taken back before its end.
    between.let_speak(THE_PLUGIN);
    let late = submit(&site, "on", "touch late; sleep 2; echo hello; exit 3")?;
    wait_for_file(&site, "late")?;
    between.let_speak(NOBODY);
    ensure!(ended(&site, late, 3)?.starts_with("hello\n"));
    let seen = record_in_time(&site, late)?;
    ensure!(seen["coverage"] == 0.0 || seen["elapsed_s"].as_f64() < Some(2.0), "{seen:#}");
    // One is upgraded while a job runs: the end is not understood, or its answer is not.
    let mut jobs = Vec::new();
    for who in [THE_DAEMON, ENDS_OF_ANOTHER_FORM, THE_PLUGIN] {
        between.let_speak(NOBODY);
        let file = format!("runs{who}");
        let job = submit(&site, "on", &format!("touch {file}; sleep 1; echo hello; exit 3"))?;
        wait_for_file(&site, &file)?;
        between.let_speak(who);
        ensure!(ended(&site, job, 3)?.starts_with("hello\n"));
        jobs.push((who, job));
    }
    for (who, job) in &jobs {
        let seen = record_in_time(&site, *job)?;
        // Once its processes are gone for half a minute slurmctld is asked.
        ensure!(warns(&seen, "its end was not told") == (*who != THE_DAEMON), "{who}: {seen:#}");
    }
    // An end that is not understood is refused, which slurmd's log says once of each job.
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    let (_, of_another_form) = jobs[1];
    let refusal =
        format!("ct: job_script: job {of_another_form}: ct-noded refuses: message is not");
    ensure!(log.matches(&refusal).count() == 1, "{refusal}: {log}");
    one_record_each_but(&site, &whole[..1])
}
