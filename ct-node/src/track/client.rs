//! What a job asks of its tracker, and what it is told.

use std::env;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ct_core::protocol::{JOB_ID_ENV, Reply, Request, SOCKET_ENV, parse_reply};

use super::silence::Silence;
use crate::exchange::exchange;

/// How long ct-noded may take to answer a question.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long it may take to answer a mark. One whose answer comes later is taken all the same; with what
/// hooks wait for, a job is to lose no more than a second.
const PATIENCE_OF_A_MARK: Duration = Duration::from_millis(300);
/// How long it may take once it was silent, where it is looked whether it answers again.
const BRIEF: Duration = Duration::from_millis(15);

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
        let patience = if Silence::of(self).is_known() { BRIEF } else { PATIENCE };
        self.ask_within(request, patience)
    }

    /// Marks something, and waits for the reply: once where ct-noded is silent, as programs mark in loops.
    pub(super) fn mark(&self, request: &Request) -> anyhow::Result<Reply> {
        let silence = Silence::of(self);
        let patience = match silence.is_known() {
            false => PATIENCE_OF_A_MARK,
            true if silence.is_time_to_look() => BRIEF,
            // It is told, and reads it when it runs again.
            true => Duration::ZERO,
        };
        self.ask_within(request, patience)
    }

    fn ask_within(&self, request: &Request, patience: Duration) -> anyhow::Result<Reply> {
        let where_ = || format!("ct-noded at {} does not answer", self.socket.display());
        let silence = Silence::of(self);
        let answer = exchange(&self.socket, request, patience);
        match &answer {
            // Who does not wait has learned nothing.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !patience.is_zero() {
                    silence.remember();
                }
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
