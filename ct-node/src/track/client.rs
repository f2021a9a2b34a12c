//! One request to ct-noded and its reply.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ct_core::protocol::{
    JOB_ID_ENV, MAX_MESSAGE, Reply, Request, SOCKET_ENV, parse_reply, to_line,
};
use rustix::net::{
    self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt,
};

use super::silence::Silence;

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
        let answer = self.exchange(request, if silence.is_known() { BRIEF } else { PATIENCE });
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

    fn exchange(&self, request: &Request, patience: Duration) -> io::Result<Vec<u8>> {
        let end = Instant::now() + patience;
        let stream = connect(&self.socket, patience)?;
        trust(&stream, &self.socket)?;
        (&stream).write_all(to_line(request)?.as_bytes())?;
        read_line(&stream, end)
    }
}

/// Reads a line, however it comes, by a time: one that answers a byte now and then is silent, too.
fn read_line(mut stream: &UnixStream, end: Instant) -> io::Result<Vec<u8>> {
    let (mut line, mut buffer) = (Vec::new(), [0_u8; 4096]);
    while !line.ends_with(b"\n") {
        if line.len() > MAX_MESSAGE {
            return Err(io::Error::new(ErrorKind::InvalidData, "its reply is longer than 64 KiB"));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => line.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(line)
}

/// Connects within a time: where the socket's backlog is full, connect(2) waits as sending does.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// ct-noded listens as root, or as the service user, whose directory it is, where it had to listen
/// anew; `ct-track run` listens as ourselves. What anybody else says is not printed in the job's output,
/// and ends no job.
fn trust(stream: &UnixStream, socket: &Path) -> io::Result<()> {
    let listener = sockopt::socket_peercred(stream)?.uid.as_raw();
    let own = rustix::process::geteuid().as_raw();
    let service = socket.parent().map(std::fs::metadata).transpose()?.map_or(0, |m| m.uid());
    if ![0, own, service].contains(&listener) {
        let socket = socket.display();
        let text = format!(
            "{socket} belongs to uid {listener}, expected root, uid {own} or uid {service}; not used"
        );
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(send: impl FnOnce(UnixStream) + Send + 'static) -> io::Result<Vec<u8>> {
        let (own, others) = UnixStream::pair().unwrap();
        let sending = std::thread::spawn(move || send(others));
        let line = read_line(&own, Instant::now() + Duration::from_millis(300));
        drop(own);
        sending.join().unwrap();
        line
    }

    #[test]
    fn a_reply_is_a_whole_line_in_time_however_it_is_cut() {
        let line = read(|mut to| {
            for byte in b"{}\n" {
                to.write_all(&[*byte]).unwrap();
            }
        });
        assert_eq!(line.unwrap(), b"{}\n");
        let cut = read(|mut to| to.write_all(b"{").unwrap());
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let endless = read(|mut to| while to.write_all(&[b'x'; 4096]).is_ok() {});
        assert_eq!(endless.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_byte_now_and_then_is_no_answer() {
        let late = read(|mut to| {
            while to.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(matches!(late.unwrap_err().kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
    }
}
