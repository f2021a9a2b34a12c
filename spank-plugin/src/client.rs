//! One connection to ct-noded, within a deadline.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use ct_core::protocol::{self, MAX_MESSAGE, Reply, Request};

use crate::os::{self, Deadline};
use crate::silence;
use crate::site::Service;

/// What a hook of root's may wait for ct-noded altogether. With what a hook of the user's and a mark of
/// `ct-track` may wait beside it, it is a second that a job loses at most where ct-noded is silent.
const PATIENCE_MS: u64 = 400;
/// The same of a hook that runs as the job's user: it comes moments after one that was answered, and
/// cannot leave a note for those that come after it.
const USERS_PATIENCE_MS: u64 = 150;

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Nobody listens.
    Absent { socket: PathBuf, source: io::Error },
    /// Somebody listens, and does not answer in time.
    Silent { socket: PathBuf },
    /// Ct-noded was known to be silent: its answer was not waited for.
    NotAwaited { socket: PathBuf },
    /// Somebody listens who is not ct-noded.
    Stranger { socket: PathBuf, uid: u32 },
    /// The connection failed.
    Broken { socket: PathBuf, source: io::Error },
    /// The request is too long to send, or the reply is not one.
    Message(String),
    /// ct-noded refuses.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { socket, source } => {
                let hint =
                    "hint: `ct-report check` on this node, or `journalctl -u ct-noded`, says why";
                write!(f, "ct-noded does not listen on {}: {source}; {hint}", socket.display())
            }
            Self::Silent { socket } => {
                let socket = socket.display();
                write!(f, "ct-noded does not answer on {socket} within {} ms", patience_ms())
            }
            Self::NotAwaited { socket } => {
                write!(f, "ct-noded does not answer on {} at present", socket.display())
            }
            Self::Stranger { socket, uid } => write!(
                f,
                "{} belongs to uid {uid}, expected root or the service user; not used",
                socket.display()
            ),
            Self::Broken { socket, source } => {
                write!(f, "connection to ct-noded on {} failed: {source}", socket.display())
            }
            Self::Message(text) => write!(f, "{text}"),
            Self::Refused(text) => write!(f, "ct-noded refuses: {text}"),
        }
    }
}

/// A connection whose other end is ct-noded.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    path: PathBuf,
    deadline: Deadline,
}

/// How long the running hook may wait: not at all where another hook has just waited in vain.
pub(crate) fn patience(service: &Service) -> Deadline {
    if silence::is_known(service) { Deadline::at_once() } else { in_full() }
}

/// The same where nobody listens, so that nobody can be silent either.
pub(crate) fn in_full() -> Deadline {
    Deadline::in_ms(patience_ms())
}

fn patience_ms() -> u64 {
    if os::effective_uid() == 0 { PATIENCE_MS } else { USERS_PATIENCE_MS }
}

impl Client {
    /// Connects and makes sure of who listens, before anything is sent.
    pub(crate) fn connect(service: &Service, deadline: Deadline) -> Result<Self, ClientError> {
        let path = service.socket.clone();
        let failed = |e| failure(&path, deadline, e);
        let socket = os::connect(&path, deadline).map_err(failed)?;
        let uid = os::peer_uid(&socket).map_err(failed)?;
        if !service.trusted.contains(&uid) {
            return Err(ClientError::Stranger { socket: path, uid });
        }
        Ok(Self { socket, path, deadline })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        self.ask_with(request, &[])
    }

    /// Sends a request with file handles and waits for its answer.
    pub(crate) fn ask_with(
        &self,
        request: &Request,
        handles: &[OwnedFd],
    ) -> Result<Reply, ClientError> {
        let line = protocol::to_line(request).map_err(|e| ClientError::Message(e.to_string()))?;
        if line.len() > MAX_MESSAGE {
            let len = line.len();
            let text = format!("request is {len} bytes long, expected at most {MAX_MESSAGE}");
            return Err(ClientError::Message(text));
        }
        let handles: Vec<RawFd> = handles.iter().map(AsRawFd::as_raw_fd).collect();
        os::send(&self.socket, line.as_bytes(), &handles, self.deadline)
            .map_err(|e| self.failure(e))?;
        let line = self.read_line()?;
        match protocol::parse_reply(&line) {
            Ok(Reply::Error { message }) => Err(ClientError::Refused(message)),
            Ok(reply) => Ok(reply),
            Err(e) => Err(ClientError::Message(format!("ct-noded's reply: {e}"))),
        }
    }

    fn read_line(&self) -> Result<Vec<u8>, ClientError> {
        let mut line = Vec::new();
        let mut buffer = [0_u8; 4096];
        while !line.ends_with(b"\n") {
            if line.len() > MAX_MESSAGE {
                let text = format!("ct-noded's reply is longer than {MAX_MESSAGE} bytes");
                return Err(ClientError::Message(text));
            }
            let n = os::receive(&self.socket, &mut buffer, self.deadline)
                .map_err(|e| self.failure(e))?;
            if n == 0 {
                return Err(self.failure(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            line.extend_from_slice(&buffer[..n]);
        }
        Ok(line)
    }

    fn failure(&self, source: io::Error) -> ClientError {
        failure(&self.path, self.deadline, source)
    }
}

fn failure(path: &std::path::Path, deadline: Deadline, source: io::Error) -> ClientError {
    let socket = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::Absent { socket, source }
        }
        io::ErrorKind::TimedOut if deadline.waits() => ClientError::Silent { socket },
        io::ErrorKind::TimedOut => ClientError::NotAwaited { socket },
        _ => ClientError::Broken { socket, source },
    }
}
