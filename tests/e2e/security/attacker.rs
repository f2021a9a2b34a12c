//! Threads and processes with another user's ids, and what they say to ct-noded.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use ct_core::protocol::{Reply, Request, parse_reply, to_line};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Does something on a thread that has become a user: its files are opened, its connections are made
/// with that user's ids, as the kernel checks them by thread.
pub(crate) fn as_user<T: Send>(uid: u32, body: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            become_user(uid);
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn become_user(uid: u32) {
    let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(group, group, group).unwrap();
    set_thread_res_uid(user, user, user).unwrap();
    assert_eq!(rustix::process::geteuid().as_raw(), uid);
}

/// Runs a program as a user, with nothing of ours but its arguments.
pub(crate) fn run_as(uid: u32, program: &str, args: &[&str]) -> Output {
    let id = uid.to_string();
    let ids = ["--reuid", &id, "--regid", &id, "--clear-groups", program];
    let command = ["60", "setpriv"].iter().chain(&ids).chain(args);
    Command::new("timeout").args(command).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap()
}

/// A connection to ct-noded with the ids of the thread that made it.
pub(crate) struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream().write_all(bytes)
    }

    pub(crate) fn reply(&mut self) -> Option<Reply> {
        self.line().map(|line| parse_reply(line.as_bytes()).unwrap())
    }

    /// The line of a reply, as it came.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).is_ok_and(|n| n > 0).then_some(line)
    }

    /// Sends a line, and gets the reply's as it came.
    pub(crate) fn ask_line(&mut self, line: &str) -> String {
        self.send(line.as_bytes()).unwrap();
        self.line().unwrap_or_else(|| panic!("no reply to {line}"))
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        self.ask_with(request, &[])
    }

    /// Asks with file handles beside the request.
    pub(crate) fn ask_with(&mut self, request: &Request, handles: &[BorrowedFd<'_>]) -> Reply {
        self.send_handles(to_line(request).unwrap().as_bytes(), handles).unwrap();
        self.reply().unwrap_or_else(|| panic!("no reply to {request:?}"))
    }

    /// Sends bytes with as many handles as the kernel lets through.
    pub(crate) fn send_handles(
        &self,
        bytes: &[u8],
        handles: &[BorrowedFd<'_>],
    ) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !handles.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(handles)));
        }
        sendmsg(self.stream(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// One request on a connection of its own, as a user.
pub(crate) fn ask_as(uid: u32, socket: &Path, request: &Request) -> Reply {
    as_user(uid, || Connection::open(socket).ask(request))
}

/// What was refused, and in which words.
#[track_caller]
pub(crate) fn refusal(reply: &Reply) -> &str {
    match reply {
        Reply::Error { message } => message,
        other => panic!("not refused: {other:?}"),
    }
}
