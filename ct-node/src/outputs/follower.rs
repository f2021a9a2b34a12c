//! The thread that reads one job's output, and prints into it.
//!
//! A bounded part of a file four times a second, and at its end what is left, to a bound as well; or
//! a pipe, which is passed on to our own standard output.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::Found;
use super::scanner::{Label, Scanner};

/// Time between two looks at a file.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Bytes that are read of a file at one look.
const MOST_PER_TURN: u64 = 256 << 10;
/// Bytes that are read at its end: what was written since the last look, or since a restart.
const MOST_AT_END: u64 = 64 << 20;
/// Epochs that one look may find, the last ones: a program's epochs take longer, and each is work for
/// the daemon.
const MOST_LABELS: usize = 64;
/// The same at the end, where what is found may be of hours.
const MOST_LABELS_AT_END: usize = 10_000;
/// A file that is further ahead is read on from here before its end: lines are left out.
const MOST_BEHIND: u64 = 64 << 20;
/// Lines of our own that are known again when they are read.
const MOST_OWN_LINES: usize = 256;

/// What a thread is told.
pub(super) enum Command {
    /// Print into the output.
    Print(String),
    /// Read to the end, tell what is found, and end.
    Finish(SyncSender<Found>),
}

impl Command {
    /// The text that was to be printed.
    pub(super) fn text(self) -> String {
        match self {
            Self::Print(text) => text,
            Self::Finish(_) => String::new(),
        }
    }
}

/// When a thread last had its file's answer.
pub(super) struct Beat(Mutex<Instant>);

impl Default for Beat {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Beat {
    fn strike(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Time since then.
    pub(super) fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// How much one look may read and find.
#[derive(Clone, Copy)]
struct Bounds {
    bytes: u64,
    labels: usize,
}

const A_TURN: Bounds = Bounds { bytes: MOST_PER_TURN, labels: MOST_LABELS };
const THE_END: Bounds = Bounds { bytes: MOST_AT_END, labels: MOST_LABELS_AT_END };

/// One job's output, on its thread.
pub(super) struct Follower {
    job_id: u32,
    scanner: Scanner,
    inbox: Receiver<Command>,
    outbox: Sender<Found>,
    wake: Option<UnixStream>,
    pub(super) beat: Arc<Beat>,
}

impl Follower {
    pub(super) fn new(
        job_id: u32,
        scanner: Scanner,
        inbox: Receiver<Command>,
        outbox: Sender<Found>,
        wake: Option<UnixStream>,
    ) -> Self {
        Self { job_id, scanner, inbox, outbox, wake, beat: Arc::default() }
    }

    /// Follows a file until it is told to finish, or let go.
    pub(super) fn follow(&mut self, file: &File, mut at: u64, mut printer: Option<File>) {
        loop {
            let found = self.turn(file, &mut at, A_TURN);
            self.tell(found);
            self.beat.strike();
            match self.inbox.recv_timeout(PAUSE) {
                Ok(Command::Print(text)) => self.print(printer.as_mut(), &text),
                Ok(Command::Finish(reply)) => {
                    let mut found = self.turn(file, &mut at, THE_END);
                    found.labels.extend(self.scanner.end_line());
                    let _ = reply.send(found);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads what is new, up to a bound.
    fn turn(&mut self, file: &File, at: &mut u64, most: Bounds) -> Found {
        let mut found = Found { job_id: self.job_id, ..Found::default() };
        let Ok(len) = file.metadata().map(|m| m.len()) else { return found };
        // Cut off, as rotation by copying does: what comes is new.
        if len < *at {
            *at = 0;
        }
        if len - *at > MOST_BEHIND {
            found.is_behind = true;
            *at = len - MOST_PER_TURN;
        }
        let end = len.min(*at + most.bytes);
        let mut buffer = vec![0; 64 * 1024];
        while *at < end {
            match file.read_at(&mut buffer, *at) {
                Ok(n) if n > 0 => {
                    found.labels.extend(self.scanner.take(&buffer[..n]));
                    if found.labels.len() > most.labels {
                        found.labels.drain(..found.labels.len() - most.labels);
                        found.is_behind = true;
                    }
                    *at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        found.at = *at - self.scanner.n_pending();
        found
    }

    /// Prints into the file its program writes to; our own lines begin no epoch.
    fn print(&mut self, printer: Option<&mut File>, text: &str) {
        self.scanner.leave_out(text);
        let printed = printer.map(|file| file.write_all(text.as_bytes()));
        if !matches!(printed, Some(Ok(()))) {
            let unsaid = text.to_owned();
            self.tell(Found { job_id: self.job_id, unsaid, ..Found::default() });
        }
    }

    /// Passes a pipe on until its end, or until `ended` says that its command is over and it is empty:
    /// the pipe, where others hold its other end.
    pub(super) fn pass_on(&mut self, pipe: OwnedFd, ended: &UnixStream) -> Option<OwnedFd> {
        let mut pipe = File::from(pipe);
        let mut buffer = vec![0; 64 * 1024];
        let mut is_open = true;
        let is_at_end = loop {
            if !has_more(&pipe, ended) {
                break false;
            }
            match pipe.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    let mut out = io::stdout().lock();
                    // Where nobody reads any more the command goes on all the same.
                    is_open =
                        is_open && out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_ok();
                    drop(out);
                    let labels = self.scanner.take(&buffer[..n]);
                    self.tell_labels(labels);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break true,
            }
        };
        let last = self.scanner.end_line();
        self.tell_labels(last.into_iter().collect());
        (!is_at_end).then(|| pipe.into())
    }

    fn tell_labels(&mut self, labels: Vec<Label>) {
        self.tell(Found { job_id: self.job_id, labels, ..Found::default() });
    }

    fn tell(&mut self, found: Found) {
        if found.labels.is_empty() && !found.is_behind && found.unsaid.is_empty() {
            return;
        }
        let _ = self.outbox.send(found);
        if let Some(wake) = &mut self.wake {
            let _ = wake.write(&[0]);
        }
    }
}

/// Waits until a pipe has something to read, its end included; false where it has nothing and the
/// command is over.
fn has_more(pipe: &File, ended: &UnixStream) -> bool {
    loop {
        let mut fds = [PollFd::new(pipe, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) if !fds[0].revents().is_empty() => return true,
            Ok(_) if !fds[1].revents().is_empty() => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Reading tells what is wrong.
            Err(_) => return true,
        }
    }
}

/// Lines that were printed by ourselves and are still to be read.
#[derive(Default)]
pub(super) struct OwnLines(VecDeque<Vec<u8>>);

impl OwnLines {
    pub(super) fn add(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.is_empty());
        self.0.extend(lines.map(|line| line.as_bytes().to_vec()));
        let n_beyond = self.0.len().saturating_sub(MOST_OWN_LINES);
        self.0.drain(..n_beyond);
    }

    /// Takes the next of ours out of a line; it may stand behind text of the program's that had no
    /// end.
    pub(super) fn take_from(&mut self, line: &mut Vec<u8>) {
        if let Some(own) = self.0.front().filter(|own| line.ends_with(own)) {
            line.truncate(line.len() - own.len());
            self.0.pop_front();
        }
    }
}
