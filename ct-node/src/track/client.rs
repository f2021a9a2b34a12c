//! One request to ct-noded and its reply.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use ct_core::protocol::{
    JOB_ID_ENV, MAX_MESSAGE, Reply, Request, SOCKET_ENV, parse_reply, to_line,
};

/// How long ct-noded may take: a meter may take 2 s, and another event may be before ours.
const PATIENCE: Duration = Duration::from_secs(10);

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
        let stream = UnixStream::connect(&self.socket).with_context(where_)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all(to_line(request)?.as_bytes()).with_context(where_)?;
        let mut line = Vec::new();
        BufReader::new(stream.take(MAX_MESSAGE as u64))
            .read_until(b'\n', &mut line)
            .with_context(where_)?;
        match parse_reply(&line).with_context(where_)? {
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
