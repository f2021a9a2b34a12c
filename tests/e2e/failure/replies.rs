//! Replies that are cut off at every byte, garbled, late, endless, or do not come: hooks and ct-track go
//! on within their patience.
//!
//! A listener of root's stands in ct-noded's place, so that it is believed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ct_core::protocol::{OpenLogs, Reply, Request, parse_request, to_line};
use ct_tests::{Cluster, Site, e2e_is_possible};

use crate::cost::{add_next_to_nothing, median, srun};
use crate::outcome::{MOST_DELAY, median_of, nodes_are_up, run};

/// Jobs of which the one in the middle counts.
const RUNS: usize = 5;
/// How long a mark may take where nothing answers, beside one that is answered.
const MOST_OF_A_MARK: Duration = Duration::from_millis(300);
/// What the machine may add to that.
const SLACK: Duration = Duration::from_millis(200);

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As ct-noded does.
    Well,
    /// Each reply is cut off a byte later than the one before, and the connection closed.
    Cut,
    /// Every third byte is another.
    Garbled,
    /// The words of a ct-noded that has gone mad: replies to other questions.
    Confused,
    /// The connection is closed before anything is read.
    Closed,
    /// A byte now and then.
    Drip,
    /// It begins, and never ends.
    Endless,
    /// Nothing.
    Nothing,
}

/// Listens in ct-noded's place until it is dropped.
struct Listener {
    manner: Arc<Mutex<Manner>>,
    cuts: Arc<Mutex<Cuts>>,
}

/// By length of the reply: where the next one of it is cut off.
type Cuts = BTreeMap<usize, usize>;

impl Listener {
    fn start(site: &Site, logs: &Path) -> Result<Self> {
        let dir = site.run_dir(1);
        fs::create_dir_all(&dir)?;
        let socket = dir.join("noded.sock");
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        let (manner, cuts) = (Arc::new(Mutex::new(Manner::Well)), Arc::default());
        let (how, all_cuts, logs) = (Arc::clone(&manner), Arc::clone(&cuts), logs.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let manner = how.lock().map_or(Manner::Closed, |manner| *manner);
                let (cuts, logs) = (Arc::clone(&all_cuts), logs.clone());
                // Hooks hang up at any time.
                thread::spawn(move || answer(&client, manner, &cuts, &logs));
            }
        });
        Ok(Self { manner, cuts })
    }

    /// Whether replies of each length were cut off at each byte.
    fn has_cut_all(&self) -> Result<bool> {
        let cuts = self.cuts.lock().ok().context("the listener's thread")?;
        Ok(cuts.len() >= 3 && cuts.iter().all(|(length, n)| n >= length))
    }

    fn answer(&self, manner: Manner) -> Result<()> {
        *self.manner.lock().ok().context("the listener's thread")? = manner;
        Ok(())
    }
}

fn answer(client: &UnixStream, manner: Manner, cuts: &Mutex<Cuts>, logs: &Path) -> Option<()> {
    if manner == Manner::Closed {
        return None;
    }
    let mut requests = BufReader::new(client);
    let mut to = client;
    loop {
        let mut line = Vec::new();
        requests.read_until(b'\n', &mut line).ok().filter(|n| *n > 0)?;
        let request = parse_request(&line).ok()?;
        let reply = to_line(&reply(&request, manner, logs)).ok()?;
        let bytes = reply.as_bytes();
        match manner {
            Manner::Well | Manner::Confused => to.write_all(bytes).ok()?,
            Manner::Cut => {
                let n = next_cut(cuts, bytes.len())?;
                to.write_all(&bytes[..n]).ok()?;
                return None;
            }
            Manner::Garbled => {
                let garble = |(i, b): (usize, &u8)| if i % 3 == 0 { b ^ 0x55 } else { *b };
                to.write_all(&bytes.iter().enumerate().map(garble).collect::<Vec<_>>()).ok()?;
                to.write_all(b"\n").ok()?;
            }
            Manner::Drip => {
                for byte in bytes {
                    to.write_all(&[*byte]).ok()?;
                    thread::sleep(Duration::from_millis(100));
                }
            }
            Manner::Endless => loop {
                to.write_all(&[b' '; 4096]).ok()?;
            },
            Manner::Nothing => thread::sleep(Duration::from_secs(20)),
            Manner::Closed => return None,
        }
    }
}

fn next_cut(cuts: &Mutex<Cuts>, length: usize) -> Option<usize> {
    let mut cuts = cuts.lock().ok()?;
    let next = cuts.entry(length).or_default();
    *next += 1;
    Some((*next - 1) % length)
}

fn reply(request: &Request, manner: Manner, logs: &Path) -> Reply {
    if manner == Manner::Confused {
        return match request {
            Request::StepStart { .. } => Reply::text("not what was asked\n".to_owned()),
            Request::StepEnd { .. } => Reply::Ok {},
            _ => Reply::Pong { version: "?".to_owned(), pid: 1 },
        };
    }
    match request {
        Request::StepStart { .. } => {
            let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
            let open_logs = Some(OpenLogs { dir: logs.to_owned(), names });
            Reply::Started { tracked: true, open_logs, wants_output: true, wants_watch: false }
        }
        Request::JobStart(_) => Reply::Started {
            tracked: true,
            open_logs: None,
            wants_output: false,
            wants_watch: false,
        },
        Request::StepEnd { .. } | Request::Logs { .. } => Reply::text(String::new()),
        Request::EpochStart { .. } | Request::EpochEnd { .. } => Reply::text("said\n".to_owned()),
        _ => Reply::Ok {},
    }
}

/// A site where nobody but the listener answers.
fn site() -> Result<(Site, Listener)> {
    let site = Site::builder().without_noded().without_report().start()?;
    let logs = site.cluster.home(site.cluster.user(1)).join("ct");
    let listener = Listener::start(&site, &logs)?;
    Ok((site, listener))
}

#[test]
fn cut_off_at_every_byte_garbled_or_of_other_questions_cost_a_job_next_to_nothing() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let (site, listener) = site()?;
    let bare = Cluster::builder().start()?;
    let one = |manner: Manner| -> Result<Duration> {
        listener.answer(manner)?;
        srun(&site.cluster, &["--carbontracker=epochs:2"]).map(|(_, wall)| wall)
    };
    add_next_to_nothing(
        &mut || srun(&bare, &[]).map(|(_, wall)| wall),
        &mut [
            ("whole", &mut || one(Manner::Well)),
            ("cut", &mut || one(Manner::Cut)),
            ("garbled", &mut || one(Manner::Garbled)),
            ("confused", &mut || one(Manner::Confused)),
            ("closed", &mut || one(Manner::Closed)),
        ],
    )?;
    // Those to the start and end of a job and to the start of a step, each at every byte.
    listener.answer(Manner::Cut)?;
    while !listener.has_cut_all()? {
        run(&site)?;
    }
    nodes_are_up(&site)
}

#[test]
fn that_drip_never_end_or_never_come_cost_a_job_less_than_a_second_in_all() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let (site, listener) = site()?;
    let (usual, _) = median_of(RUNS, || run(&site))?;
    let marker = site.run_dir(1).join("noded.silent");
    for manner in [Manner::Drip, Manner::Nothing, Manner::Endless] {
        listener.answer(manner)?;
        let (delayed, _) = median_of(RUNS, || {
            let _ = fs::remove_file(&marker);
            run(&site)
        })?;
        let delay = delayed.saturating_sub(usual);
        ensure!(delay <= MOST_DELAY, "{usual:?} usually, {delayed:?} with {manner:?}");
        // What never ends is no silence: it is cut off at 64 KiB.
        ensure!(marker.exists() == (manner != Manner::Endless), "{manner:?}");
    }
    nodes_are_up(&site)
}

#[test]
fn of_any_manner_leave_ct_track_its_exit_status_and_its_patience() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let (site, listener) = site()?;
    let user = site.cluster.user(1);
    let (track, socket) = (site.bin("ct-track"), site.run_dir(1).join("noded.sock"));
    let (track, socket) = (track.display().to_string(), socket.display().to_string());
    let mark = |what: &str| -> Result<(String, Duration)> {
        let command = site.cluster.command(user, &track).args(&["epoch", what]);
        let command = command.env("CARBONTRACKER_SOCKET", &socket);
        let begun = Instant::now();
        let output = command.env("CARBONTRACKER_JOB_ID", "42").run()?.success();
        Ok((output.stdout_unchecked().to_owned(), begun.elapsed()))
    };
    ensure!(mark("end")?.0 == "said\n");
    let length = to_line(&reply(&Request::EpochEnd { job_id: 42 }, Manner::Well, Path::new("")))?;
    listener.answer(Manner::Cut)?;
    for _ in 0..length.len() {
        let (printed, _) = mark("end")?;
        ensure!(printed.is_empty(), "{printed:?} of a reply that was cut off");
    }
    let own_note = std::env::temp_dir().join(format!(".ct-track-{}-42.silent", user.uid()));
    let mut usual: Vec<Duration> = Vec::new();
    listener.answer(Manner::Well)?;
    for _ in 0..RUNS {
        usual.push(mark("start")?.1);
    }
    let usual = median(&mut usual);
    for manner in [
        Manner::Garbled,
        Manner::Confused,
        Manner::Closed,
        Manner::Drip,
        Manner::Endless,
        Manner::Nothing,
    ] {
        listener.answer(manner)?;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            // A mark that waited in vain remembers it.
            let _ = fs::remove_file(&own_note);
            let (printed, took) = mark("start")?;
            ensure!(printed.is_empty(), "{printed:?} of {manner:?}");
            times.push(took);
        }
        let took = median(&mut times);
        let most = usual + MOST_OF_A_MARK + SLACK;
        ensure!(took <= most, "a mark took {took:?} with {manner:?} replies, {usual:?} usually");
    }
    // The next ones are told, and wait for nothing.
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push(mark("start")?.1);
    }
    let took = median(&mut times);
    ensure!(took <= usual + SLACK, "a mark took {took:?} once it was known, {usual:?} usually");
    Ok(())
}
