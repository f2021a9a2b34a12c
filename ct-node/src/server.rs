//! The socket: connections, lines, file handles, and the peer's credentials.
//!
//! One thread, one poll. A message is at most 64 KiB; a peer that sends more, or too much at once,
//! is cut off, and costs nobody else anything.

mod client;
mod doze;
mod slack;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dispatch::Peer;
use crate::pace::{Limit, Paces};
use client::Client;
use doze::doze;
use slack::with_slack;

/// Connections at the same time, of everybody.
const MAX_CLIENTS: usize = 512;
/// Connections at the same time, of one user who is not root.
const MAX_CLIENTS_PER_UID: usize = 64;
/// Messages of one user who is not root; those beyond wait, and cost nobody else anything.
const MESSAGES: Limit = Limit { burst: 2000.0, per_second: 1000.0 };
/// Connections that are taken at one turn: whoever connects without end gets no longer turn.
const MAX_ACCEPTED: usize = 64;

/// After this time connections that went quiet are looked for.
const MOST_WAIT: Duration = Duration::from_secs(60);
/// Pause after a connection could not be taken, for want of descriptors.
const DEAF_FOR: Duration = Duration::from_millis(100);

/// A listening socket and its connections.
pub struct Server {
    listener: UnixListener,
    clients: Vec<Client>,
    /// Set when no connection could be taken: the listener stays readable meanwhile.
    deaf_until: Option<Instant>,
    messages: Paces,
}

/// What can be read from.
pub struct Ready {
    listener: bool,
    others: Vec<bool>,
    /// Their places among the clients.
    clients: Vec<usize>,
}

impl Ready {
    fn nothing(n_others: usize) -> Self {
        Self { listener: false, others: vec![false; n_others], clients: Vec::new() }
    }
}

/// What one line asks for, to be answered by one line.
pub type Answer<'a> = &'a mut dyn FnMut(Peer, &[u8], Vec<OwnedFd>) -> String;
/// A file to wait for, and what for.
type Wanted<'a> = (BorrowedFd<'a>, PollFlags);
/// Asked each time that a wait was in vain: how long to wait on, or nothing where there is more to do.
pub type InVain<'a> = &'a mut dyn FnMut() -> Option<Duration>;

impl Server {
    /// Listens at `path`; the umask says who may connect.
    ///
    /// A socket left behind is replaced; the caller holds the lock that says nobody listens there.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new(), deaf_until: None, messages: Paces::new(MESSAGES) })
    }

    /// Listens at `path` anew; connections that there are go on.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub fn rebind(&mut self, path: &Path) -> io::Result<()> {
        self.listener = Self::bind(path)?.listener;
        Ok(())
    }

    /// Whether one of Slurm's hooks is still to be heard.
    pub fn has_hooks(&self) -> bool {
        self.clients.iter().any(Client::is_hook)
    }

    /// Waits up to `timeout` for a connection, a message, or one of `others` to become readable, and
    /// goes on where it was in vain and `in_vain` says for how long.
    ///
    /// # Errors
    ///
    /// Those of poll(2), but for an interruption.
    pub fn wait(
        &self,
        timeout: Duration,
        others: &[BorrowedFd<'_>],
        in_vain: InVain<'_>,
    ) -> io::Result<Ready> {
        let now = Instant::now();
        let waiting = self.clients.iter().filter(|c| c.has_line());
        let next = waiting.map(|c| self.held_back_for(c, now)).min();
        let timeout = timeout.min(next.unwrap_or(MOST_WAIT)).min(MOST_WAIT);
        let is_deaf = self.deaf_until.is_some_and(|until| now < until);
        let listening = if is_deaf { PollFlags::empty() } else { PollFlags::IN };
        let mut wanted = vec![(self.listener.as_fd(), listening)];
        wanted.extend(others.iter().map(|fd| (*fd, PollFlags::IN)));
        // One that is held back is not polled at all: it would be readable, or hung up, all the while.
        let is_heard = |index: &usize| self.held_back_for(&self.clients[*index], now).is_zero();
        let heard: Vec<usize> = (0..self.clients.len()).filter(is_heard).collect();
        wanted.extend(heard.iter().map(|index| self.clients[*index].wanted()));
        let mut fds: Vec<_> =
            wanted.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let mut polled = with_slack(timeout, || poll(&mut fds, Some(&timespec(timeout))));
        // What there is to wait for stays the same where nobody is held back.
        if polled == Ok(0) && next.is_none() && !is_deaf && doze(&wanted, in_vain) {
            polled = poll(&mut fds, Some(&timespec(Duration::ZERO)));
        }
        match polled {
            Ok(_) => {}
            // A signal: its pipe is readable at the next turn.
            Err(rustix::io::Errno::INTR) => return Ok(Ready::nothing(others.len())),
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (own, of_clients) = ready.split_at(1 + others.len());
        let clients = heard.into_iter().zip(of_clients).filter(|(_, is_ready)| **is_ready);
        Ok(Ready {
            listener: own[0],
            others: own[1..].to_vec(),
            clients: clients.map(|(index, _)| index).collect(),
        })
    }

    /// Answers what came. Returns which of the others are readable.
    pub fn answer(&mut self, ready: Ready, answer: Answer<'_>) -> Vec<bool> {
        let Ready { listener, others, clients } = ready;
        for index in clients {
            self.clients[index].receive();
        }
        // One line each, Slurm's hooks first: whoever sends a thousand waits for a thousand turns.
        self.clients.sort_by_key(|c| c.peer().uid != 0);
        let now = Instant::now();
        for client in &mut self.clients {
            let is_limited = client.peer().uid != 0 && client.has_line();
            if is_limited && !self.messages.take(client.peer().uid, now) {
                client.send();
            } else {
                client.answer_one(answer);
            }
        }
        self.clients.retain(|c| !c.is_closed());
        if listener {
            self.accept();
        }
        others
    }

    /// How long until a client's next line is answered: at once, unless its user sent too many.
    fn held_back_for(&self, client: &Client, now: Instant) -> Duration {
        match client.peer().uid {
            0 => Duration::ZERO,
            _ if !client.has_line() => Duration::ZERO,
            uid => self.messages.wait(uid, now),
        }
    }

    fn accept(&mut self) {
        for _ in 0..MAX_ACCEPTED {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.deaf_until = Some(Instant::now() + DEAF_FOR);
                    return;
                }
            };
            let Ok(client) = Client::new(stream) else { continue };
            let uid = client.peer().uid;
            let of_uid = self.clients.iter().filter(|c| c.peer().uid == uid).count();
            let is_full = self.clients.len() >= MAX_CLIENTS || of_uid >= MAX_CLIENTS_PER_UID;
            if uid == 0 || !is_full {
                self.clients.push(client);
            }
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

#[cfg(test)]
impl Server {
    /// Waits for a while, and answers what came.
    pub(crate) fn turn(&mut self, timeout: Duration, answer: Answer<'_>) {
        let ready = self.wait(timeout, &[], &mut || None).unwrap();
        self.answer(ready, answer);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;

    use ct_core::protocol::MAX_MESSAGE;

    use super::*;

    /// Answers each line by its length until nothing comes for a while.
    fn serve(server: &mut Server) -> usize {
        let mut n_lines = 0;
        let mut n_quiet = 0;
        while n_quiet < 5 {
            let before = n_lines;
            let mut answer = |_: Peer, line: &[u8], _: Vec<OwnedFd>| {
                n_lines += 1;
                format!("{}\n", line.len())
            };
            server.turn(Duration::from_millis(20), &mut answer);
            n_quiet = if n_lines == before { n_quiet + 1 } else { 0 };
        }
        n_lines
    }

    fn read_line(stream: &UnixStream) -> String {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    fn server() -> (tempfile::TempDir, std::path::PathBuf, Server) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noded.sock");
        let server = Server::bind(&path).unwrap();
        (dir, path, server)
    }

    #[test]
    fn a_socket_left_behind_is_replaced() {
        let (_dir, path, first) = server();
        drop(first);
        let _second = Server::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_flood_of_lines_is_answered_one_a_turn() {
        let (_dir, path, mut server) = server();
        let mut flood = UnixStream::connect(&path).unwrap();
        let mut other = UnixStream::connect(&path).unwrap();
        flood.write_all(&b"x\n".repeat(1000)).unwrap();
        other.write_all(b"yy\n").unwrap();
        let mut lines = Vec::new();
        for _ in 0..4 {
            let mut answer = |_: Peer, line: &[u8], _: Vec<OwnedFd>| {
                lines.push(line.len());
                String::new()
            };
            server.turn(Duration::from_millis(20), &mut answer);
        }
        assert!(lines.contains(&2), "{lines:?}");
        assert!(lines.len() <= 8, "{} lines in four turns", lines.len());
    }

    #[test]
    fn what_is_waited_for_ends_a_wait_that_was_in_vain_however_often_and_others_go_on() {
        let (_dir, path, server) = server();
        let (mut other, other_end) = UnixStream::pair().unwrap();
        let ms = Duration::from_millis;
        let mut n_asked = 0;
        let mut in_vain = || {
            n_asked += 1;
            (n_asked < 4).then_some(ms(5))
        };
        let ready = server.wait(ms(5), &[other_end.as_fd()], &mut in_vain).unwrap();
        assert_eq!((n_asked, ready.listener, ready.others), (4, false, vec![false]));

        // Somebody comes while nothing happens: ten seconds are not waited for.
        let mut peer = None;
        let mut in_vain = || {
            peer = Some(UnixStream::connect(&path).unwrap());
            Some(ms(10_000))
        };
        let ready = server.wait(ms(5), &[other_end.as_fd()], &mut in_vain).unwrap();
        assert_eq!((ready.listener, ready.others), (true, vec![false]));
        let mut server = server;
        server.accept();
        let mut in_vain = || {
            peer.as_mut().unwrap().write_all(b"abc\n").unwrap();
            Some(ms(10_000))
        };
        let ready = server.wait(ms(5), &[other_end.as_fd()], &mut in_vain).unwrap();
        assert_eq!((ready.clients, ready.others), (vec![0], vec![false]));
        server.clients.clear();
        // A signal comes while there is nothing.
        let mut signal = Some(other.try_clone().unwrap());
        let mut in_vain = || {
            if let Some(mut signal) = signal.take() {
                std::thread::spawn(move || {
                    std::thread::sleep(ms(50));
                    signal.write_all(b"x").unwrap();
                });
            }
            Some(ms(10_000))
        };
        let begun = Instant::now();
        let ready = server.wait(ms(5), &[other_end.as_fd()], &mut in_vain).unwrap();
        assert_eq!(ready.others, [true]);
        assert!(begun.elapsed() < ms(9_000), "{:?}", begun.elapsed());
        assert_eq!((&other_end).read(&mut [0]).unwrap(), 1);
        // What is there already is not waited for at all.
        other.write_all(b"x").unwrap();
        let mut in_vain = || panic!("it was there before");
        let ready = server.wait(ms(5), &[other_end.as_fd()], &mut in_vain).unwrap();
        assert_eq!(ready.others, [true]);
    }

    #[test]
    fn lines_are_answered_in_order_however_they_are_cut() {
        let (_dir, path, mut server) = server();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"ab\nabcd").unwrap();
        assert_eq!(serve(&mut server), 1);
        stream.write_all(b"ef\n").unwrap();
        assert_eq!(serve(&mut server), 1);
        assert_eq!(read_line(&stream), "2\n");
    }

    #[test]
    fn who_sends_too_much_is_cut_off_and_others_are_served() {
        let (_dir, path, mut server) = server();
        let mut hostile = UnixStream::connect(&path).unwrap();
        let mut honest = UnixStream::connect(&path).unwrap();
        hostile.set_nonblocking(true).unwrap();
        let _ = hostile.write(&vec![b'x'; 2 * MAX_MESSAGE]);
        serve(&mut server);
        honest.write_all(b"abc\n").unwrap();
        serve(&mut server);
        assert_eq!(read_line(&honest), "3\n");
        hostile.set_nonblocking(false).unwrap();
        assert!(read_line(&hostile).contains("longer than 64 KiB"));
        assert!(server.clients.len() <= 1);
    }
}
