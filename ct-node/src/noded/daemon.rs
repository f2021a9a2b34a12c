//! The loop: requests, samples, answers, signals.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use ct_core::protocol::{Reply, Request, parse_request, to_line};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::closing::Closing;
use super::late::Late;
use super::live::Live;
use super::reload::Reload;
use super::run_dir::RunDir;
use super::running::Running;
use super::startup::Started;
use super::state::StateDir;
use super::unseen::Unseen;
use super::untold::Untold;
use crate::account_watch::AccountWatch;
use crate::dispatch::{Desk, Peer, take_epochs};
use crate::ending::Endings;
use crate::log_files::LogFiles;
use crate::outputs::Outputs;
use crate::series_watch::SeriesWatch;
use crate::server::Server;
use crate::station::{Ended, Station};

/// Longest time without a look for jobs that are gone.
const LOOK_FOR_LOST: Duration = Duration::from_secs(10);
/// Time in which a user's refused requests are logged once.
const REFUSALS: Duration = Duration::from_secs(60);
/// How long the end waits for the ledger.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Longest time between two turns of all that follows a sample, where it changed nothing but energies,
/// and between two looks for jobs that are gone, which are made together: what a wake-up costs is code
/// that is not in the caches. Less than ten seconds by what a wake-up may be late.
const QUIET: Duration = Duration::from_millis(9500);
/// Time between two looks at jobs whose end is being found out.
const CLOSING: Duration = Duration::from_millis(500);

struct Daemon {
    station: Station,
    logs: LogFiles,
    outputs: Outputs,
    endings: Endings,
    running: Running,
    unseen: Unseen,
    state: StateDir,
    closing: Closing,
    live: Live,
    owner: u32,
    reload: Reload,
    refused: HashMap<u32, (Instant, u32)>,
    run_dir: RunDir,
    late: Late,
    untold: Untold,
    /// Whether something was asked, answered or found since the last turn.
    is_eventful: bool,
    last_turn: Instant,
    gives_way: bool,
    /// Whether another is to take our place.
    is_over: bool,
}

/// Serves until SIGTERM or SIGINT; `file` is the configuration's.
pub(super) fn run(started: Started, file: Option<PathBuf>) -> anyhow::Result<()> {
    let Started { mut station, mut server, run_dir, owner, gives_way } = started;
    let (signals, signal_end) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGINT] {
        let end = signal_end.try_clone()?;
        signal_hook::low_level::pipe::register(signal, end).context("cannot catch signals")?;
    }
    let (wake, wake_end) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    let reload = Reload::listen(file, wake_end.try_clone()?).context("cannot catch SIGHUP")?;
    let config = station.config();
    let mut state = StateDir::new(&config.node.state_dir, &config.path.procfs);
    state.restore(&mut station);
    let outputs = Outputs::waking(wake_end.try_clone()?);
    let running = Running::spawn(wake_end.try_clone()?)?;
    let unseen = Unseen::spawn(station.node(), wake_end.try_clone()?)?;
    let closing = Closing::new(&mut station, wake_end)?;
    closing.enter_kept(&state);
    let live = Live::open(&mut station)?;
    super::gres::open(&mut station)?;
    station.watch_series(SeriesWatch::start(&station.config().carbon)?);
    station.watch_accounts(AccountWatch::start(station.config())?);
    let untold = Untold::open(&station.config().node.run_dir);
    let mut daemon = Daemon {
        station,
        logs: LogFiles::default(),
        outputs,
        endings: Endings::default(),
        running,
        unseen,
        state,
        closing,
        live,
        owner,
        reload,
        refused: HashMap::new(),
        run_dir,
        late: Late::default(),
        untold,
        is_eventful: true,
        last_turn: Instant::now(),
        gives_way,
        is_over: false,
    };
    // What an earlier life was told and did not read; what was told since may lie in the socket.
    if let Some(bound) = daemon.run_dir.bound_at() {
        daemon.hear_untold(Some(bound));
    }
    daemon.after_event();
    // A unit's `Type=notify`: what is ordered after it finds somebody who listens.
    if let Err(e) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        log::warn!("cannot tell systemd that it is ready: {e}");
    }
    daemon.serve(&mut server, &signals, &wake)
}

impl Daemon {
    fn serve(
        &mut self,
        server: &mut Server,
        signals: &UnixStream,
        mut wake: &UnixStream,
    ) -> anyhow::Result<()> {
        let mut last_look = Instant::now();
        // It is the same one for as long as we run.
        let watch = self.run_dir.fd().map(|fd| fd.try_clone_to_owned()).transpose()?;
        loop {
            let timeout = self.timeout(last_look);
            let calm_until = self.calm_until(last_look);
            let mut others = vec![signals.as_fd(), wake.as_fd()];
            others.extend(watch.as_ref().map(AsFd::as_fd));
            let mut in_vain = || self.station.hold_on(calm_until);
            let ready = server.wait(timeout, &others, &mut in_vain)?;
            let ready = server.answer(ready, &mut |peer, line, fds| self.answer(peer, line, fds));
            if ready[0] || self.is_over {
                self.end();
                return Ok(());
            }
            if ready[1] {
                let mut bytes = [0_u8; 64];
                while matches!(wake.read(&mut bytes), Ok(n) if n > 0) {}
                self.reload.turn();
                self.is_eventful = true;
            }
            if ready.get(2).copied().unwrap_or(true) {
                self.late.look(&self.run_dir);
                if let Err(e) = self.run_dir.look(server) {
                    if self.run_dir.is_replaced() {
                        // The books are the other's by now.
                        return Err(e);
                    }
                    self.end();
                    let what = "nobody can reach this ct-noded; another has to be started";
                    return Err(e.context(what));
                }
            }
            let is_turn_due = self.last_turn.min(last_look).elapsed() >= QUIET;
            if self.station.next_sample_in().is_zero() {
                self.unseen.look_if_due(&mut self.station);
                if is_turn_due {
                    self.station.sample();
                } else {
                    self.station.tick();
                }
            }
            if is_turn_due {
                last_look = Instant::now();
                self.closing.look_for_lost(&self.station);
                if !server.has_hooks() && !self.late.is_recent() {
                    self.hear_untold(None);
                }
            }
            if is_turn_due || !self.is_quiet() {
                self.turn(is_turn_due);
            }
        }
    }

    /// Until when samples need only be looked at, if nothing else happens.
    fn calm_until(&self, last_look: Instant) -> Instant {
        let now = Instant::now();
        // Where the kernel does not tell of notes, they are looked for with every sample.
        if !self.is_quiet() || self.run_dir.fd().is_none() {
            return now;
        }
        (now + self.station.calm_for()).min(self.last_turn.min(last_look) + QUIET)
    }

    /// Takes up ends that hooks told and nobody answered for.
    fn hear_untold(&mut self, before: Option<SystemTime>) {
        if !self.untold.take(&mut self.station, before) {
            return;
        }
        self.after_event();
        if self.station.ended().iter().all(Ended::is_kept) {
            self.untold.remove_heard();
        }
    }

    /// Whether nothing has happened since the last turn but that jobs drew energy.
    fn is_quiet(&self) -> bool {
        let is_busy = self.closing.is_busy() || self.endings.is_busy();
        let has_question = self.running.is_due(&self.station);
        let is_idle = !self.is_eventful && !is_busy && !has_question;
        is_idle && self.station.is_quiet() && !self.state.is_behind(&self.station)
    }

    /// Ends the node's line and keeps everything: the ledger has what it takes in time, the state
    /// directory the rest.
    fn end(&mut self) {
        // A meter that does not answer would keep us; its energy is booked by the next life.
        if self.station.sampler().outages().next().is_none() {
            self.station.sample();
        }
        self.station.close_line();
        self.closing.turn(&mut self.station, &mut self.logs, &mut self.state);
        self.state.save(&self.station);
        self.state.save_baselines(&self.station);
        log::info!("asked to end; state is written");
        self.closing.finish(LAST_WORDS);
    }

    fn timeout(&self, last_look: Instant) -> Duration {
        let next = self.station.next_sample_in();
        let is_busy = self.closing.is_busy() || self.endings.is_busy();
        let next = if is_busy { next.min(CLOSING) } else { next };
        if self.station.jobs().is_empty() {
            return next;
        }
        let turn = self.last_turn.min(last_look) + LOOK_FOR_LOST;
        next.min(turn.saturating_duration_since(Instant::now()))
    }

    fn answer(&mut self, peer: Peer, line: &[u8], fds: Vec<OwnedFd>) -> String {
        self.late.look(&self.run_dir);
        self.is_eventful = true;
        let reply = match parse_request(line) {
            Ok(request) => {
                let end = match &request {
                    Request::JobEnd(end) => Some(end.clone()),
                    _ => None,
                };
                let mut desk = Desk {
                    station: &mut self.station,
                    logs: &mut self.logs,
                    outputs: &mut self.outputs,
                    owner: self.owner,
                    gives_way: self.gives_way,
                };
                let is_to_yield = matches!(request, Request::Yield {});
                let reply = desk.answer(peer, request, fds);
                if is_to_yield && reply == (Reply::Ok {}) {
                    log::info!("gives way to another ct-noded");
                    self.is_over = true;
                }
                if let Some(end) = end.filter(|_| reply == (Reply::Ok {})) {
                    self.untold.forget(&end);
                }
                reply
            }
            Err(e) => Reply::Error { message: format!("{:#}", anyhow::Error::from(e)) },
        };
        self.late.mark(&mut self.station);
        if let Reply::Error { message } = &reply {
            self.note_refusal(peer, message);
        }
        to_line(&reply).unwrap_or_default()
    }

    /// One line per user and minute, with the user's own text quoted: the log is not theirs to fill
    /// or to forge.
    fn note_refusal(&mut self, peer: Peer, message: &str) {
        let now = Instant::now();
        self.refused.retain(|_, (since, _)| now.duration_since(*since) < REFUSALS);
        let n = &mut self.refused.entry(peer.uid).or_insert((now, 0)).1;
        *n += 1;
        if *n == 1 {
            log::info!("uid {} pid {}: refused: {message:?}", peer.uid, peer.pid);
        }
    }

    fn after_event(&mut self) {
        self.turn(false);
    }

    /// All that follows an event, or a time without one.
    fn turn(&mut self, is_due: bool) {
        (self.is_eventful, self.last_turn) = (false, Instant::now());
        take_epochs(&mut self.station, &mut self.logs, &self.outputs);
        self.running.turn(&mut self.station);
        self.unseen.turn(&mut self.station);
        self.endings.turn(&mut self.station);
        self.closing.turn(&mut self.station, &mut self.logs, &mut self.state);
        self.live.publish(&self.station);
        self.state.save_if_due(&self.station, is_due);
    }
}
