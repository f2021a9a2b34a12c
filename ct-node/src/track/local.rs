//! Measures a command in this process: a station of one job, with a socket for its epoch marks.

mod files;
mod machine;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use ct_core::config::{Config, Policy};
use ct_core::job::Job;
use ct_core::option::{EpochBy, OptionSet};
use ct_core::protocol::{JOB_ID_ENV, Reply, SOCKET_ENV, SOCKET_NAME, parse_request, to_line};
use ct_core::record::{BudgetAction, EndReason};
use ct_core::sampler::Sampler;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGTERM};

use super::client::say;
use super::place;
use super::run::spawned;
use crate::dispatch::{Desk, Peer, take_epochs};
use crate::ending::signal_tree;
use crate::log_files::LogFiles;
use crate::outputs::Outputs;
use crate::series_watch::SeriesWatch;
use crate::server::Server;
use crate::station::Station;

/// Time between two looks at a command that is being ended.
const ENDING: Duration = Duration::from_millis(200);

/// A command's meters, logs and socket. Its logs are begun with it, so that a command that cannot be
/// run leaves none.
pub(super) struct Local {
    station: Station,
    logs: LogFiles,
    outputs: Outputs,
    /// Readable when something was found in the command's output.
    found: UnixStream,
    /// Whether the command's output goes through us.
    is_passed_on: bool,
    ending: Option<Instant>,
    server: Server,
    socket_dir: PathBuf,
    job_id: u32,
}

impl Local {
    /// Opens the meters and the socket.
    pub(super) fn start(set: &OptionSet, config: Option<&Path>) -> anyhow::Result<Self> {
        let mut config = Config::load(config)?;
        // The command has the whole machine, as upstream has it: nobody else is accounted.
        config.attribution.policy = Policy::Allocated;
        config.ledger.cluster = Some("local".to_owned());
        let sampler = Sampler::open(&config);
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let job_id = std::process::id();
        let watch = SeriesWatch::start(&config.carbon)?;
        let guessed = place::guess(&config.carbon);
        let mut facts = machine::facts(job_id, &sampler);
        facts.option = Some(set.to_text());
        let mut station = Station::new(config, node, sampler);
        station.watch_series(watch);
        if let Some(fixed) = guessed {
            station.fall_back_on(fixed);
        }
        station.start_local(facts, set);
        let socket_dir = files::make_socket_dir(job_id)?;
        let server = Server::bind(&socket_dir.join(SOCKET_NAME))?;
        let (found, wake) = UnixStream::pair()?;
        found.set_nonblocking(true)?;
        Ok(Self {
            station,
            logs: LogFiles::default(),
            outputs: Outputs::waking(wake),
            found,
            is_passed_on: false,
            ending: None,
            server,
            socket_dir,
            job_id,
        })
    }

    /// Begins the logs; where there is no place for them, what is said to the command's owner is said
    /// all the same.
    fn begin_logs(&mut self) {
        let text = self.station.begin_logs(self.job_id).unwrap_or_default();
        eprint_text(&text);
        if let Err(e) = self.open_logs() {
            say(&format!(
                "no logs and no record are written: {e:#}; name a directory that you can write with \
                 --log_dir DIR; the command is run and measured all the same"
            ));
        }
        self.flush();
    }

    fn open_logs(&mut self) -> anyhow::Result<()> {
        let wanted = self.station.wanted_logs(self.job_id).context("no working directory")?;
        let handles = files::open(&wanted)?;
        Ok(self.logs.attach(self.job_id, geteuid().as_raw(), handles)?)
    }

    fn flush(&mut self) {
        for job in self.station.jobs_mut() {
            self.logs.flush(job);
        }
    }

    /// Runs the command to its end.
    pub(super) fn run(mut self, mut command: Command) -> ExitCode {
        command.env(SOCKET_ENV, self.socket_dir.join(SOCKET_NAME));
        command.env(JOB_ID_ENV, self.job_id.to_string());
        let signals = match catch_signals() {
            Ok(signals) => signals,
            Err(e) => {
                say(&format!("not measured: cannot catch signals: {e}"));
                let status = command.status();
                return spawned(&command, status);
            }
        };
        let pattern = self.pattern();
        let follows = pattern.as_ref().is_some_and(|pattern| self.follow_own_output(pattern));
        self.is_passed_on = pattern.is_some() && !follows;
        if self.is_passed_on {
            command.stdout(Stdio::piped());
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                let _ = fs::remove_dir_all(&self.socket_dir);
                return spawned(&command, Err(e));
            }
        };
        self.begin_logs();
        if let Some(job) = self.station.job_mut(self.job_id) {
            // The root of its processes.
            job.stepd_pids.insert(child.id());
        }
        if let (Some(pattern), Some(pipe)) = (&pattern, child.stdout.take())
            && let Err(e) = self.outputs.pass_on(self.job_id, pattern, pipe.into())
        {
            say(&format!("epochs are not counted: {e}"));
        }
        let status = self.serve(&mut child, &signals);
        self.finish(status.as_ref().ok().copied());
        spawned(&command, status)
    }

    /// The line that begins an epoch, where lines do.
    fn pattern(&self) -> Option<String> {
        let settings = &self.station.jobs().get(&self.job_id)?.settings;
        let is_asked_for = settings.epoch_by == EpochBy::Pattern;
        is_asked_for.then(|| settings.epoch_pattern.clone())
    }

    /// Follows our standard output, which is the command's too, where it is a file.
    fn follow_own_output(&mut self, pattern: &str) -> bool {
        let Ok(file) = File::open("/proc/self/fd/1") else { return false };
        let is_file = file.metadata().is_ok_and(|m| m.is_file());
        is_file && self.outputs.follow(self.job_id, pattern, vec![file.into()], None).is_ok()
    }

    /// Ends the command where its owner said no, or its budget is passed.
    fn end_if_wanted(&mut self, child: &Child) {
        let uid = geteuid().as_raw();
        let grace = Duration::from_secs_f64(self.station.config().track.stop_grace_s);
        let Some(job) = self.station.job_mut(self.job_id).filter(|job| job.is_to_end()) else {
            return;
        };
        match self.ending {
            None => {
                signal_tree(uid, child.id(), rustix::process::Signal::TERM);
                job.note_end(BudgetAction::Terminated);
                self.ending = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= grace => {
                if signal_tree(uid, child.id(), rustix::process::Signal::KILL) > 0 {
                    job.note_end(BudgetAction::Killed);
                }
            }
            Some(_) => {}
        }
    }

    /// Answers marks and samples until the command ends.
    fn serve(&mut self, child: &mut Child, signals: &Signals) -> std::io::Result<ExitStatus> {
        let mut may_have_ended = true;
        loop {
            if std::mem::take(&mut may_have_ended)
                && let Some(status) = child.try_wait()?
            {
                return Ok(status);
            }
            self.end_if_wanted(child);
            let timeout = self.station.next_sample_in();
            let timeout = if self.ending.is_some() { timeout.min(ENDING) } else { timeout };
            let is_ending = self.ending.is_some();
            let calm_for = if is_ending { Duration::ZERO } else { self.station.calm_for() };
            let calm_until = Instant::now() + calm_for;
            let others = [signals.child.as_fd(), signals.end.as_fd(), self.found.as_fd()];
            let mut in_vain = || self.station.hold_on(calm_until);
            let ready = self.server.wait(timeout, &others, &mut in_vain)?;
            let (station, logs, outputs) = (&mut self.station, &mut self.logs, &mut self.outputs);
            let owner = geteuid().as_raw();
            let mut answer = |peer: Peer, line: &[u8], fds: Vec<OwnedFd>| {
                let mut desk = Desk {
                    station: &mut *station,
                    logs: &mut *logs,
                    outputs: &mut *outputs,
                    owner,
                    gives_way: false,
                };
                let reply = match parse_request(line) {
                    Ok(request) => desk.answer(peer, request, fds),
                    Err(e) => Reply::Error { message: e.to_string() },
                };
                to_line(&reply).unwrap_or_default()
            };
            let ready = self.server.answer(ready, &mut answer);
            if ready[0] {
                drain(&signals.child);
                may_have_ended = true;
            }
            if ready[1] {
                drain(&signals.end);
                // Whoever asks us to end means the command; ctrl-C has reached it already.
                let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if ready[2] {
                drain(&self.found);
                take_epochs(&mut self.station, &mut self.logs, &self.outputs);
                let unsaid = self.station.job_mut(self.job_id).map(Job::take_unsaid);
                eprint_text(&unsaid.unwrap_or_default());
            }
            if self.station.next_sample_in().is_zero() {
                self.station.tick();
            }
            self.flush();
        }
    }

    /// Closing block, logs, record.
    fn finish(&mut self, status: Option<ExitStatus>) {
        let reason = match status {
            Some(status) if status.success() => EndReason::Completed,
            _ => EndReason::Failed,
        };
        let labels = if self.pattern().is_none() {
            Vec::new()
        } else if self.is_passed_on {
            let (labels, pipe) = self.outputs.drain(self.job_id);
            if let Some(pipe) = pipe {
                leave_to_cat(pipe);
            }
            labels
        } else {
            self.outputs.finish(self.job_id).labels
        };
        self.station.output_began_epochs(self.job_id, &labels);
        let text = self.station.step_end(self.job_id, "batch");
        eprint_text(&text);
        self.station.job_end(self.job_id, status.map(|s| i32::from(!s.success())), true);
        for mut ended in std::mem::take(self.station.ended_mut()) {
            let record = ended.job.record(reason, self.station.context());
            self.logs.flush(&mut ended.job);
            let line = record.to_line().unwrap_or_default();
            if let Some(thread) = self.logs.finish(self.job_id, line) {
                // A thread that panicked has written what it could.
                let _ = thread.join();
            }
        }
        let _ = fs::remove_dir_all(&self.socket_dir);
    }
}

/// Leaves a pipe that the command's children still write to to a process of its own: they go on, and
/// so does whoever reads what they print, but the command is over.
fn leave_to_cat(pipe: OwnedFd) {
    let cat = Command::new("cat").stdin(pipe).stderr(Stdio::null()).spawn();
    if let Err(e) = cat {
        say(&format!("the output of the command's children ends here: cannot run cat: {e}"));
    }
}

struct Signals {
    child: UnixStream,
    end: UnixStream,
}

fn catch_signals() -> std::io::Result<Signals> {
    let (child, on_child) = UnixStream::pair()?;
    let (end, on_end) = UnixStream::pair()?;
    child.set_nonblocking(true)?;
    end.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, on_child)?;
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, on_end.try_clone()?)?;
    }
    // Ctrl-C and others go to the command, too; SIGTERM and SIGHUP wake us as well.
    super::run::outlive_signals();
    Ok(Signals { child, end })
}

fn drain(mut pipe: &UnixStream) {
    let mut bytes = [0_u8; 64];
    while matches!(pipe.read(&mut bytes), Ok(n) if n > 0) {}
}

/// The blocks go to standard error: standard output is the command's own.
fn eprint_text(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
