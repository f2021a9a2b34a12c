//! One connection.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ct_core::protocol::{Inbox, MAX_MESSAGE, MOST_HANDLES, Reply, to_line};
use rustix::event::PollFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Answer, Wanted};
use crate::dispatch::Peer;

/// After this time without a line a connection is closed: places are few.
const QUIET_FOR: Duration = Duration::from_secs(30);
/// How long after its connection or its last line one of root's may be a hook that has more to say: a
/// hook has half a second altogether.
const HOOK_SPEAKS_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of replies a peer may leave unread.
const MAX_UNREAD: usize = 4 * MAX_MESSAGE;

pub(super) struct Client {
    stream: UnixStream,
    peer: Peer,
    inbox: Inbox<OwnedFd>,
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
            inbox: Inbox::default(),
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

    pub(super) fn wanted(&self) -> Wanted<'_> {
        let writing = if self.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        (self.stream.as_fd(), PollFlags::IN | writing)
    }

    /// Whether a whole line waits to be answered.
    pub(super) fn has_line(&self) -> bool {
        !self.is_closed && self.inbox.has_line()
    }

    /// Whether it may be one of Slurm's hooks that is still to be heard; one of root's that says
    /// nothing is none.
    pub(super) fn is_hook(&self) -> bool {
        let may_speak = || self.last_line.elapsed() < HOOK_SPEAKS_WITHIN;
        self.peer.uid == 0 && !self.is_closed && (self.has_line() || may_speak())
    }

    /// Reads what is there, unless enough waits already.
    pub(super) fn receive(&mut self) {
        // All of it: a long line must not be overtaken by a short one that was told after it.
        while !self.inbox.is_full() {
            match self.read() {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                _ => {
                    self.is_at_end = true;
                    break;
                }
            }
        }
        if self.inbox.is_too_long() {
            self.refuse("message is longer than 64 KiB");
        }
    }

    /// Answers one line, if a whole one is there, and writes what can be written.
    pub(super) fn answer_one(&mut self, answer: Answer<'_>) {
        let line = if self.is_closed { None } else { self.inbox.take_line() };
        match line {
            Some((line, handles)) => {
                let reply = answer(self.peer, &line, handles);
                self.output.extend_from_slice(reply.as_bytes());
                self.last_line = Instant::now();
            }
            _ => {
                self.is_closed |= self.is_at_end || self.last_line.elapsed() > QUIET_FOR;
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
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDLES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg(&self.stream, &mut parts, &mut control, flags)?;
        // What there is no room for the kernel closes.
        let handles = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(handles) => handles.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let handles: Vec<OwnedFd> = handles.collect();
        self.inbox.push(&buffer[..received.bytes], handles);
        Ok(received.bytes)
    }

    /// Writes what can be written.
    pub(super) fn send(&mut self) {
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

#[cfg(test)]
mod laws;

#[cfg(test)]
mod tests {
    use super::*;

    /// One of a user's, that connected or spoke last so long ago.
    fn client(uid: u32, quiet_for: Duration) -> (UnixStream, Client) {
        let (peer, own) = UnixStream::pair().unwrap();
        let mut client = Client::new(own).unwrap();
        client.peer.uid = uid;
        client.last_line -= quiet_for;
        (peer, client)
    }

    #[test]
    fn one_of_roots_that_says_nothing_is_no_hook_for_long_and_is_closed_at_last() {
        let mut no_answer = |_: Peer, _: &[u8], _: Vec<OwnedFd>| String::new();
        let (_peer, mut fresh) = client(0, Duration::ZERO);
        assert!(fresh.is_hook());
        fresh.answer_one(&mut no_answer);
        assert!(!fresh.is_closed());
        let (mut peer, mut quiet) = client(0, 2 * HOOK_SPEAKS_WITHIN);
        assert!(!quiet.is_hook());
        quiet.answer_one(&mut no_answer);
        assert!(!quiet.is_closed());
        // Half a line is nothing, and a whole one is to be heard however late it came.
        peer.write_all(b"{").unwrap();
        quiet.receive();
        assert!(!quiet.is_hook());
        peer.write_all(b"}\n").unwrap();
        quiet.receive();
        assert!(quiet.is_hook());
        for uid in [0, 1000] {
            let (_peer, mut silent) = client(uid, 2 * QUIET_FOR);
            silent.answer_one(&mut no_answer);
            assert!(silent.is_closed(), "uid {uid}");
        }
        let (_peer, of_user) = client(1000, Duration::ZERO);
        assert!(!of_user.is_hook());
    }
}
