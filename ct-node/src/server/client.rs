//! One connection.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ct_core::protocol::{MAX_MESSAGE, Reply, to_line};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::Answer;
use crate::dispatch::Peer;
use crate::log_files::N_HANDLES;

/// Bytes of replies a peer may leave unread.
const MAX_UNREAD: usize = 4 * MAX_MESSAGE;

pub(super) struct Client {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    handles: Vec<OwnedFd>,
    output: Vec<u8>,
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

    /// Reads what is there, answers whole lines, writes what can be written.
    pub(super) fn turn(&mut self, answer: Answer<'_>) {
        let is_at_end = match self.receive() {
            Ok(n) => n == 0,
            Err(e) => e.kind() != io::ErrorKind::WouldBlock,
        };
        while let Some(end) = self.input.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let handles = std::mem::take(&mut self.handles);
            let reply = answer(self.peer, &line[..end], handles);
            self.output.extend_from_slice(reply.as_bytes());
        }
        if self.input.len() >= MAX_MESSAGE {
            self.refuse("message is longer than 64 KiB");
        }
        self.send();
        self.is_closed |= is_at_end || self.output.len() > MAX_UNREAD;
    }

    fn refuse(&mut self, message: &str) {
        let reply = Reply::Error { message: message.to_owned() };
        self.output.extend_from_slice(to_line(&reply).unwrap_or_default().as_bytes());
        self.send();
        self.is_closed = true;
    }

    fn receive(&mut self) -> io::Result<usize> {
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
