//! One connection.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ct_core::protocol::{MAX_MESSAGE, Reply, to_line};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Answer;
use crate::dispatch::Peer;
use crate::log_files::N_HANDLES;

/// After this time without a line a user's connection is closed: places are few.
const QUIET_FOR: Duration = Duration::from_secs(30);
/// Bytes of replies a peer may leave unread.
const MAX_UNREAD: usize = 4 * MAX_MESSAGE;

pub(super) struct Client {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    handles: Vec<OwnedFd>,
    output: Vec<u8>,
    last_line: Instant,
    is_at_end: bool,
    is_closed: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let cred = rustix::net::sockopt::socket_peercred(&stream)?;
        let peer = Peer { uid: cred.uid.as_raw(), pid: cred.pid.as_raw_nonzero().get() };
        Ok(Self {
            stream,
            peer,
            input: Vec::new(),
            handles: Vec::new(),
            output: Vec::new(),
            last_line: Instant::now(),
            is_at_end: false,
            is_closed: false,
        })
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let writing = if self.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN | writing)
    }

    /// Whether a whole line waits to be answered.
    pub(super) fn has_line(&self) -> bool {
        !self.is_closed && self.input.contains(&b'\n')
    }

    /// Reads what is there, unless enough waits already.
    pub(super) fn receive(&mut self) {
        if self.input.len() >= MAX_MESSAGE && self.has_line() {
            return;
        }
        match self.read() {
            Ok(0) => self.is_at_end = true,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.is_at_end = true,
        }
        if self.input.len() >= MAX_MESSAGE && !self.has_line() {
            self.refuse("message is longer than 64 KiB");
        }
    }

    /// Answers one line, if a whole one is there, and writes what can be written.
    pub(super) fn answer_one(&mut self, answer: Answer<'_>) {
        match self.input.iter().position(|b| *b == b'\n') {
            Some(end) if !self.is_closed => {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                let handles = std::mem::take(&mut self.handles);
                let reply = answer(self.peer, &line[..end], handles);
                self.output.extend_from_slice(reply.as_bytes());
                self.last_line = Instant::now();
            }
            _ => {
                let is_quiet = self.peer.uid != 0 && self.last_line.elapsed() > QUIET_FOR;
                self.is_closed |= self.is_at_end || is_quiet;
            }
        }
        self.send();
        self.is_closed |= self.output.len() > MAX_UNREAD;
    }

    fn refuse(&mut self, message: &str) {
        let reply = Reply::Error { message: message.to_owned() };
        self.output.extend_from_slice(to_line(&reply).unwrap_or_default().as_bytes());
        self.send();
        self.is_closed = true;
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0_u8; 16 * 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * N_HANDLES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(&self.stream, &mut parts, &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(handles) = message {
                self.handles.extend(handles);
            }
        }
        // A peer that sends handles without end keeps only its first ones open here.
        self.handles.truncate(2 * N_HANDLES);
        self.input.extend_from_slice(&buffer[..received.bytes]);
        Ok(received.bytes)
    }

    fn send(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) if n > 0 => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What a peer sent beyond its last answered line is read off, so that it sees our last
        // words rather than a reset.
        let mut rest = [0_u8; 4096];
        for _ in 0..MAX_MESSAGE / rest.len() {
            if !matches!(self.stream.read(&mut rest), Ok(n) if n > 0) {
                return;
            }
        }
    }
}
