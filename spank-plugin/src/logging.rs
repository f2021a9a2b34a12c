//! What is said, and to whom.
//!
//! [`Log`] goes to slurmd's log: in slurmstepd that is `slurm_info`, as `slurm_error` would appear
//! in the job's output. [`say`] and [`refuse`] go to the user. Each kind of line is said once per
//! process. Standard output is never written: in the extern step it is a pipe of slurmd's.

use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicU32, Ordering};

use ct_core::text::printable;

use crate::spank::{self, Context};
use crate::sys;

/// Kinds of lines; each is said once per process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A panic, caught.
    Panic,
    /// A wrong argument in plugstack.conf.
    Argument,
    /// A configuration that cannot be read.
    Config,
    /// ct-noded started, or not.
    Start,
    /// ct-noded not there.
    Absent,
    /// ct-noded not answering, or a request refused.
    Request,
    /// Log files that cannot be opened.
    Logs,
    /// A job's end that cannot be kept for a ct-noded to come.
    Untold,
}

static SAID: AtomicU32 = AtomicU32::new(0);

fn first(kind: Kind) -> bool {
    let bit = 1_u32 << kind as u32;
    SAID.fetch_or(bit, Ordering::Relaxed) & bit == 0
}

/// Slurmd's log, with the context and the job before each line.
#[derive(Debug)]
pub(crate) struct Log {
    context: &'static str,
    job: Option<String>,
}

impl Log {
    /// The log of slurmd itself.
    pub(crate) fn of_slurmd() -> Self {
        Self { context: "slurmd", job: None }
    }

    /// The log of a job's prolog or epilog.
    pub(crate) fn of_job_script(job: u32) -> Self {
        Self { context: "job_script", job: Some(job.to_string()) }
    }

    /// The log of a step's slurmstepd.
    pub(crate) fn of_step(job: u32, step: &str) -> Self {
        Self { context: "remote", job: Some(format!("{job}.{step}")) }
    }

    /// Says what happened.
    pub(crate) fn info(&self, kind: Kind, text: &str) {
        if first(kind) {
            print(sys::slurm_info(), &self.line(text));
        }
    }

    /// Says what went wrong: nothing is measured, or less than could be.
    pub(crate) fn error(&self, kind: Kind, text: &str) {
        let printer = if self.context == "remote" { sys::slurm_info() } else { sys::slurm_error() };
        if first(kind) {
            print(printer, &self.line(text));
        }
    }

    fn line(&self, text: &str) -> String {
        match &self.job {
            Some(job) => format!("ct: {}: job {job}: {}", self.context, printable(text)),
            None => format!("ct: {}: {}", self.context, printable(text)),
        }
    }
}

/// Says that a hook panicked, to slurmd's log.
pub(crate) fn panicked(hook: &str, message: &str) {
    if first(Kind::Panic) {
        // On a user's terminal nothing is said unless it was asked for: `srun -v`.
        let is_local = spank::context() == Context::Local;
        let printer = if is_local { sys::slurm_verbose() } else { sys::slurm_info() };
        print(printer, &format!("ct: {hook}: panic, please report: {message}"));
    }
}

/// Prints to the user, line by line and unprefixed: the terminal, `slurm-%j.out` or srun's stderr.
pub(crate) fn say(text: &str) {
    for line in text.lines() {
        print(sys::slurm_spank_log(), line);
    }
}

/// Tells the user on the terminal why the command is refused.
pub(crate) fn refuse(text: &str) {
    print(sys::slurm_error(), text);
}

fn print(printer: Option<unsafe extern "C" fn(*const c_char, ...)>, line: &str) {
    let (Some(printer), Ok(line)) = (printer, CString::new(line.replace('\0', ""))) else {
        return;
    };
    // SAFETY: the format is constant and takes one string; both end in NUL and outlive the call,
    // and Slurm's log functions copy what they print.
    unsafe { printer(c"%s".as_ptr(), line.as_ptr()) };
}
