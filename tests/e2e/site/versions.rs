//! Plugin and ct-noded of two protocols: one of them was upgraded while jobs run.
//!
//! Both are the real ones; what passes between them goes through this test, which makes one side's
//! words those of a later version.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use ct_tests::{JobId, Site, e2e_is_possible};

use crate::slurm_faults::{
    ended_as, expect, nodes_are_up, one_record_each, output, submit, wait_for_file,
};

/// Who speaks the later version.
const NOBODY: u8 = 0;
const THE_PLUGIN: u8 = 1;
const THE_DAEMON: u8 = 2;

/// Stands before a node's ct-noded.
struct Between(Arc<AtomicU8>);

impl Between {
    fn start(site: &Site) -> Result<Self> {
        let socket = site.run_dir(1).join("noded.sock");
        let real = site.run_dir(1).join("real.sock");
        fs::rename(&socket, &real)?;
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        let who = Arc::new(AtomicU8::new(NOBODY));
        let shared = Arc::clone(&who);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (real, who) = (real.clone(), Arc::clone(&shared));
                thread::spawn(move || {
                    // Either side may hang up at any time.
                    let _ = UnixStream::connect(&real).map(|noded| pass(&client, &noded, &who));
                });
            }
        });
        Ok(Self(who))
    }

    fn let_speak(&self, who: u8) {
        self.0.store(who, Ordering::Relaxed);
    }
}

/// Passes requests and replies on, line by line; handles are lost on the way.
fn pass(client: &UnixStream, noded: &UnixStream, who: &AtomicU8) -> Option<()> {
    let (mut requests, mut replies) = (BufReader::new(client), BufReader::new(noded));
    loop {
        pass_line(&mut requests, noded, who.load(Ordering::Relaxed) == THE_PLUGIN)?;
        pass_line(&mut replies, client, who.load(Ordering::Relaxed) == THE_DAEMON)?;
    }
}

fn pass_line(from: &mut impl BufRead, mut to: &UnixStream, is_later: bool) -> Option<()> {
    let mut line = String::new();
    from.read_line(&mut line).ok().filter(|n| *n > 0)?;
    if is_later {
        // A later version has a later number, and what this one does not know.
        line = line.replacen('{', "{\"news\":[1],", 1).replace("\"v\":1", "\"v\":2");
    }
    to.write_all(line.as_bytes()).ok()
}

/// Waits for a job that prints one line and fails with 3, and returns what is in its output.
fn ended(site: &Site, job: JobId) -> Result<String> {
    expect(site, job, "FAILED", "3:0")?;
    nodes_are_up(site)?;
    output(site, job)
}

#[test]
fn of_another_protocol_cost_the_measurement_and_nothing_else() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().start()?;
    let between = Between::start(&site)?;
    // Handles are lost on the way: a job without logs of its own.
    let usual = submit(&site, "on", "echo hello; exit 3")?;
    ensure!(ended(&site, usual)?.starts_with("hello\n"));
    ended_as(&site, usual, &["failed"])?;
    for who in [THE_PLUGIN, THE_DAEMON] {
        between.let_speak(who);
        let job = submit(&site, "on", "echo hello; exit 3")?;
        // As without the plugin: not a word of ours in its output.
        let out = ended(&site, job)?;
        ensure!(out == "hello\n", "who {who}: {out}");
    }
    let log = fs::read_to_string(site.cluster.slurmd_log(1))?;
    ensure!(log.contains("has protocol version"), "{log}");
    // One is upgraded while a job runs.
    for who in [THE_DAEMON, THE_PLUGIN] {
        between.let_speak(NOBODY);
        let file = format!("runs{who}");
        let job = submit(&site, "on", &format!("touch {file}; sleep 1; echo hello; exit 3"))?;
        wait_for_file(&site, &file)?;
        between.let_speak(who);
        ensure!(ended(&site, job)?.starts_with("hello\n"));
        if who == THE_PLUGIN {
            // Its end was told in words that ct-noded does not know: once its processes are gone for
            // half a minute slurmctld is asked.
            thread::sleep(Duration::from_secs(45));
        }
        ended_as(&site, job, &["failed"])?;
    }
    one_record_each(&site)
}
