//! A stand-in for ct-noded: notes what it is asked, answers as it was told to.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use ct_core::protocol::{self, OpenLogs, Reply, Request, SOCKET_NAME};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A daemon of one test; its thread ends with the test program.
pub(crate) struct FakeDaemon {
    requests: Arc<Mutex<Vec<Request>>>,
    _listener: Option<UnixListener>,
}

#[derive(Default)]
struct Answers {
    is_tracking: bool,
    wants_all: bool,
    n_logs: u32,
}

impl FakeDaemon {
    /// Answers; with `is_tracking` it wants logs, and loses them once.
    pub(crate) fn start(dir: &Path, is_tracking: bool) -> Self {
        Self::answering(dir, Answers { is_tracking, ..Answers::default() })
    }

    /// Wants logs, the first task's output, and a watcher beside it.
    pub(crate) fn wanting_all(dir: &Path) -> Self {
        Self::answering(dir, Answers { is_tracking: true, wants_all: true, n_logs: 0 })
    }

    fn answering(dir: &Path, mut answers: Answers) -> Self {
        let listener = UnixListener::bind(dir.join(SOCKET_NAME)).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&stream.unwrap(), &mut answers, &notes);
            }
        });
        Self { requests, _listener: None }
    }

    /// Listens and never answers, as a stopped process does.
    pub(crate) fn silent(dir: &Path) -> Self {
        let listener = UnixListener::bind(dir.join(SOCKET_NAME)).unwrap();
        Self { requests: Arc::default(), _listener: Some(listener) }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// The operation of a request, as the protocol names it.
pub(crate) fn name(request: &Request) -> &'static str {
    match request {
        Request::Ping {} => "ping",
        Request::JobStart(_) => "job_start",
        Request::StepStart { .. } => "step_start",
        Request::Logs { .. } => "logs",
        Request::StepEnd { .. } => "step_end",
        Request::JobEnd(_) => "job_end",
        Request::Status { .. } => "status",
        Request::Output { .. } => "output",
        _ => "other",
    }
}

fn serve(stream: &UnixStream, answers: &mut Answers, notes: &Mutex<Vec<Request>>) {
    let mut pending = Vec::new();
    let mut handles = Vec::new();
    while receive(stream, &mut pending, &mut handles) > 0 {
        while let Some(end) = pending.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let request = protocol::parse_request(&line).unwrap();
            notes.lock().unwrap().push(request.clone());
            let reply = answers.answer(&request, std::mem::take(&mut handles));
            let mut to = stream;
            to.write_all(protocol::to_line(&reply).unwrap().as_bytes()).unwrap();
        }
    }
}

fn receive(stream: &UnixStream, bytes: &mut Vec<u8>, handles: &mut Vec<OwnedFd>) -> usize {
    let mut buffer = [0_u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let n =
        recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_or(0, |r| r.bytes);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            handles.extend(passed);
        }
    }
    bytes.extend_from_slice(&buffer[..n]);
    n
}

impl Answers {
    fn answer(&mut self, request: &Request, handles: Vec<OwnedFd>) -> Reply {
        match request {
            Request::Ping {} => Reply::Pong { version: "0".to_owned(), pid: 1 },
            Request::JobStart(_) => Reply::Started {
                tracked: true,
                open_logs: None,
                wants_output: false,
                wants_watch: false,
            },
            Request::StepStart { .. } => {
                let names = vec!["42.log".to_owned(), "42.json".to_owned()];
                let open_logs =
                    self.is_tracking.then(|| OpenLogs { dir: "carbontracker".into(), names });
                Reply::Started {
                    tracked: self.is_tracking,
                    open_logs,
                    wants_output: self.wants_all,
                    wants_watch: self.wants_all,
                }
            }
            Request::Output { .. } => {
                // One to read from, and one to print into.
                let [output, print] = <[OwnedFd; 2]>::try_from(handles).unwrap();
                writeln!(File::from(print), "printed").unwrap();
                let mut text = String::new();
                File::from(output).read_to_string(&mut text).unwrap();
                assert!(text.ends_with("printed\n"), "{text}");
                Reply::Ok {}
            }
            Request::Logs { .. } => {
                assert_eq!(handles.len(), 2);
                self.n_logs += 1;
                for handle in handles {
                    writeln!(File::from(handle), "{}", self.n_logs).unwrap();
                }
                Reply::Ok {}
            }
            Request::StepEnd { .. } => Reply::Text {
                text: "Actual consumption:\n100 %s %n of it\n".to_owned(),
                need_logs: self.n_logs == 1,
                confirm: None,
                end: false,
            },
            _ => Reply::Ok {},
        }
    }
}
