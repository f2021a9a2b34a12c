//! What a job asks of its tracker, and what it is told.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ct_core::protocol::{JOB_ID_ENV, Reply, Request, SOCKET_ENV, parse_reply};

use super::silence::Silence;
use crate::exchange::exchange;

/// How long ct-noded may take. A mark whose answer comes later is taken all the same; a job is not to
/// wait for it.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long it may take once it was silent, until it answers again: programs mark in loops.
const BRIEF: Duration = Duration::from_millis(20);

/// The tracker of this job, as its environment names it.
pub(super) struct Tracker {
    pub(super) socket: PathBuf,
    pub(super) job_id: u32,
}

impl Tracker {
    /// The tracker around this process, if the environment names one.
    pub(super) fn around() -> Option<Self> {
        let socket = env::var_os(SOCKET_ENV).filter(|s| !s.is_empty())?.into();
        let job_id = env::var(JOB_ID_ENV).ok()?.parse().ok()?;
        Some(Self { socket, job_id })
    }

    /// Asks, and waits for the reply.
    pub(super) fn ask(&self, request: &Request) -> anyhow::Result<Reply> {
        let where_ = || format!("ct-noded at {} does not answer", self.socket.display());
        let silence = Silence::of(self);
        let patience = if silence.is_known() { BRIEF } else { PATIENCE };
        let answer = exchange(&self.socket, request, patience);
        match &answer {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                silence.remember();
            }
            Err(_) => {}
            Ok(_) => silence.forget(),
        }
        match parse_reply(&answer.with_context(where_)?).with_context(where_)? {
            Reply::Error { message } => bail!("{message}"),
            reply => Ok(reply),
        }
    }
}

/// Says something to whoever runs us.
pub(super) fn say(message: &str) {
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr(), "ct-track: {message}");
}

/// Prints text for the job's output.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
