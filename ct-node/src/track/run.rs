//! `ct-track run -- CMD`: measures a command and keeps its exit status.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ct_core::option::OptionSet;
use ct_core::protocol::Request;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::client::{Tracker, say};
use super::confirm;
use super::local::Local;

/// Runs the command: as one epoch of a job that is tracked, else measured in this process.
pub(super) fn run(set: &OptionSet, config: Option<&Path>, command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else { return ExitCode::from(2) };
    let mut child = Command::new(program);
    child.args(args);
    if let Some(tracker) = Tracker::around().filter(|t| t.ask(&Request::Ping {}).is_ok()) {
        if set.keys().next().is_some() || config.is_some() {
            say("options of run are not used: the job around is tracked, with those of its \
                 --carbontracker option");
        }
        return run_in_job(&tracker, child);
    }
    match Local::start(set, config) {
        Ok(local) => local.run(child),
        Err(e) => {
            say(&format!("not measured: {e:#}"));
            spawned(child.status())
        }
    }
}

/// In a job, meters and their attribution are ct-noded's: the command is an epoch of the job.
fn run_in_job(tracker: &Tracker, mut child: Command) -> ExitCode {
    let job_id = tracker.job_id;
    outlive_signals();
    if let Err(e) = tracker.ask(&Request::EpochStart { job_id }) {
        say(&format!("not marked as an epoch: {e:#}"));
    }
    let status = child.status();
    match tracker.ask(&Request::EpochEnd { job_id }) {
        // The command's status is ours, whatever comes of a question.
        Ok(reply) => drop(confirm::follow(tracker, reply)),
        Err(e) => say(&format!("not marked as an epoch: {e:#}")),
    }
    spawned(status)
}

/// Signals that Slurm sends to every process of a step are the command's: we wait for what it makes
/// of them. A handler, which exec takes away again, rather than "ignored", which the command would
/// inherit.
pub(super) fn outlive_signals() {
    let heard = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM] {
        // One that cannot be caught ends us, as before.
        let _ = signal_hook::flag::register(signal, Arc::clone(&heard));
    }
}

/// The command's exit status as ours; 127 where it cannot be run, as a shell has it.
pub(super) fn spawned(status: std::io::Result<ExitStatus>) -> ExitCode {
    match status {
        Ok(status) => exit_code(status),
        Err(e) => {
            say(&format!("cannot run the command: {e}"));
            ExitCode::from(if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// The exit code of a status: 128 + N for a command that died of signal N, as a shell has it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
