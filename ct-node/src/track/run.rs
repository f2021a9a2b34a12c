//! `ct-track run -- CMD`: measures a command and keeps its exit status.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
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
            let status = child.status();
            spawned(&child, status)
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
    if status.is_err() {
        // The epoch that was begun is none: the next one begins it anew.
        return spawned(&child, status);
    }
    match tracker.ask(&Request::EpochEnd { job_id }) {
        // The command's status is ours, whatever comes of a question.
        Ok(reply) => drop(confirm::follow(tracker, reply)),
        Err(e) => say(&format!("not marked as an epoch: {e:#}")),
    }
    spawned(&child, status)
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

/// The command's exit status as ours; where it cannot be run 127 or 126, as a shell has it.
pub(super) fn spawned(command: &Command, status: io::Result<ExitStatus>) -> ExitCode {
    match status {
        Ok(status) => exit_code(status),
        Err(e) => {
            let program = command.get_program();
            say(&format!("cannot run {program:?}: {}", cause(Path::new(program), &e)));
            ExitCode::from(if e.kind() == ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// Why a program cannot be run, as far as the kernel's word tells.
fn cause(program: &Path, error: &io::Error) -> String {
    let is_path = program.components().count() > 1 || program.has_root();
    match error.kind() {
        ErrorKind::NotFound if !is_path => "no directory of PATH has it".to_owned(),
        ErrorKind::NotFound if program.exists() => {
            "the interpreter that its first line, or the program itself, names is not there"
                .to_owned()
        }
        ErrorKind::PermissionDenied if is_path && program.is_dir() => {
            "it is a directory".to_owned()
        }
        ErrorKind::PermissionDenied => "permission denied; is it executable (chmod +x)?".to_owned(),
        _ if error.raw_os_error() == Some(nix::libc::ENOEXEC) => {
            "it is no program; a script begins with a line such as #!/bin/sh".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The exit code of a status: 128 + N for a command that died of signal N, as a shell has it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(1);
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}
