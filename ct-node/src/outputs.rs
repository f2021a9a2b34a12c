//! Follows the output files of jobs with `epoch_by:pattern`.
//!
//! Each file is the one the job's user opened; no path is opened here. A user's file system may hang,
//! so each is read on a thread of its own: a bounded part of it four times a second. What it prints
//! at the end of its job is read to a bound as well.

mod scanner;

pub use scanner::{Label, PatternError, compile};

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::OFlags;
use scanner::Scanner;

/// Time between two looks at a file.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes that are read of a file at one look.
const MOST_PER_TURN: u64 = 256 << 10;
/// Epochs that one look may find, the last ones: a program's epochs take longer, and each is work for
/// the daemon.
const MOST_LABELS: usize = 64;
/// A file that is further ahead is read on from here before its end: lines are left out.
const MOST_BEHIND: u64 = 64 << 20;
/// How long the end of a job waits for the end of its output.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why an output file is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The expression is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Too few or too many handles.
    #[error("{seen} file handles came along, expected 1: the output file")]
    Count {
        /// How many came.
        seen: usize,
    },
    /// Not a file, or not opened for reading.
    #[error("the output is {seen}, expected a regular file opened for reading")]
    Kind {
        /// What it is instead.
        seen: &'static str,
    },
    /// The kernel would not tell, or no thread could be started.
    #[error("the output cannot be followed: {source}")]
    Io {
        /// Why.
        #[from]
        source: io::Error,
    },
}

/// Lines that begin epochs, of one job, and what is to be said of its output.
pub struct Found {
    /// The job.
    pub job_id: u32,
    /// The lines' labels, oldest first.
    pub labels: Vec<Label>,
    /// Whether lines were left out, as there were too many.
    pub is_behind: bool,
}

/// A thread that reads an output.
struct Handle {
    commands: Sender<SyncSender<Vec<Label>>>,
    thread: JoinHandle<()>,
}

/// The output files of this node's jobs.
pub struct Outputs {
    followers: HashMap<u32, Handle>,
    outbox: Sender<Found>,
    found: Receiver<Found>,
    wake: Option<UnixStream>,
}

impl Default for Outputs {
    fn default() -> Self {
        let (outbox, found) = channel();
        Self { followers: HashMap::new(), outbox, found, wake: None }
    }
}

impl Outputs {
    /// Writes a byte to `wake` whenever something was found.
    #[must_use]
    pub fn waking(wake: UnixStream) -> Self {
        Self { wake: Some(wake), ..Self::default() }
    }

    /// Follows a file from its present end.
    ///
    /// # Errors
    ///
    /// [`FollowError`]; the job then has no epochs.
    pub fn follow(
        &mut self,
        job_id: u32,
        pattern: &str,
        fds: Vec<OwnedFd>,
    ) -> Result<(), FollowError> {
        let scanner = Scanner::new(compile(pattern)?);
        let seen = fds.len();
        let Ok([fd]) = <[OwnedFd; 1]>::try_from(fds) else {
            return Err(FollowError::Count { seen });
        };
        let file = File::from(fd);
        let at = check(&file)?;
        let source = Source::File { file, at };
        self.spawn(job_id, source, scanner)
    }

    /// Passes a pipe on to our own standard output and reads it meanwhile.
    ///
    /// # Errors
    ///
    /// [`FollowError`].
    pub fn pass_on(
        &mut self,
        job_id: u32,
        pattern: &str,
        pipe: OwnedFd,
    ) -> Result<(), FollowError> {
        let scanner = Scanner::new(compile(pattern)?);
        self.spawn(job_id, Source::Pipe(File::from(pipe)), scanner)
    }

    fn spawn(&mut self, job_id: u32, source: Source, scanner: Scanner) -> Result<(), FollowError> {
        let (commands, inbox) = channel();
        let wake = self.wake.as_ref().map(UnixStream::try_clone).transpose()?;
        let outbox = self.outbox.clone();
        let mut follower = Follower { job_id, scanner, inbox, outbox, wake };
        let thread = thread::Builder::new()
            .name(format!("output-{job_id}"))
            .stack_size(256 * 1024)
            .spawn(move || match source {
                Source::File { file, at } => follower.follow(&file, at),
                Source::Pipe(pipe) => follower.pass_on(pipe),
            })?;
        self.followers.insert(job_id, Handle { commands, thread });
        Ok(())
    }

    /// What was found since the last time.
    pub fn found(&self) -> Vec<Found> {
        self.found.try_iter().collect()
    }

    /// Reads a job's output to its end and lets it go: what was found and not yet told.
    pub fn finish(&mut self, job_id: u32) -> Vec<Label> {
        let Some(handle) = self.followers.remove(&job_id) else { return Vec::new() };
        let (reply, answer) = sync_channel(1);
        let last = match handle.commands.send(reply) {
            Ok(()) => answer.recv_timeout(LAST_WORDS).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        // What it told before it answered waits still.
        let (own, others): (Vec<Found>, Vec<Found>) =
            self.found.try_iter().partition(|found| found.job_id == job_id);
        for found in others {
            let _ = self.outbox.send(found);
        }
        own.into_iter().flat_map(|found| found.labels).chain(last).collect()
    }

    /// Waits until a pipe has been passed on to its end: nothing of the command's output is lost.
    pub fn drain(&mut self, job_id: u32) -> Vec<Label> {
        let Some(handle) = self.followers.remove(&job_id) else { return Vec::new() };
        drop(handle.commands);
        // A thread that panicked has passed on what it could.
        let _ = handle.thread.join();
        let of_job = self.found.try_iter().filter(|found| found.job_id == job_id);
        of_job.flat_map(|found| found.labels).collect()
    }

    /// Lets a job's output go.
    pub fn forget(&mut self, job_id: u32) {
        self.followers.remove(&job_id);
    }
}

/// Its length, where it is a file that can be read.
fn check(file: &File) -> Result<u64, FollowError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FollowError::Kind { seen: "not a regular file" });
    }
    let mode = rustix::fs::fcntl_getfl(file).map_err(io::Error::from)? & OFlags::RWMODE;
    if mode == OFlags::WRONLY {
        return Err(FollowError::Kind { seen: "opened for writing only" });
    }
    Ok(metadata.len())
}

enum Source {
    File { file: File, at: u64 },
    Pipe(File),
}

struct Follower {
    job_id: u32,
    scanner: Scanner,
    inbox: Receiver<SyncSender<Vec<Label>>>,
    outbox: Sender<Found>,
    wake: Option<UnixStream>,
}

impl Follower {
    fn follow(&mut self, file: &File, mut at: u64) {
        loop {
            let (labels, is_behind) = self.turn(file, &mut at);
            self.tell(labels, is_behind);
            match self.inbox.recv_timeout(PAUSE) {
                Ok(reply) => {
                    let (mut labels, _) = self.turn(file, &mut at);
                    labels.extend(self.scanner.end_line());
                    let _ = reply.send(labels);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads what is new, up to a bound; whether lines were left out.
    fn turn(&mut self, file: &File, at: &mut u64) -> (Vec<Label>, bool) {
        let Ok(len) = file.metadata().map(|m| m.len()) else { return (Vec::new(), false) };
        // Cut off, as rotation by copying does: what comes is new.
        if len < *at {
            *at = 0;
        }
        let mut is_behind = len - *at > MOST_BEHIND;
        if is_behind {
            *at = len - MOST_PER_TURN;
        }
        let end = len.min(*at + MOST_PER_TURN);
        let (mut labels, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while *at < end {
            match file.read_at(&mut buffer, *at) {
                Ok(n) if n > 0 => {
                    labels.extend(self.scanner.take(&buffer[..n]));
                    if labels.len() > MOST_LABELS {
                        labels.drain(..labels.len() - MOST_LABELS);
                        is_behind = true;
                    }
                    *at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        (labels, is_behind)
    }

    fn pass_on(&mut self, mut pipe: File) {
        let mut buffer = vec![0; 64 * 1024];
        let mut is_open = true;
        loop {
            match pipe.read(&mut buffer) {
                Ok(n) if n > 0 => {
                    let mut out = io::stdout().lock();
                    // Where nobody reads any more the command goes on all the same.
                    is_open =
                        is_open && out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_ok();
                    drop(out);
                    let labels = self.scanner.take(&buffer[..n]);
                    self.tell(labels, false);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        let last = self.scanner.end_line();
        self.tell(last.into_iter().collect(), false);
    }

    fn tell(&mut self, labels: Vec<Label>, is_behind: bool) {
        if labels.is_empty() && !is_behind {
            return;
        }
        let _ = self.outbox.send(Found { job_id: self.job_id, labels, is_behind });
        if let Some(wake) = &mut self.wake {
            let _ = wake.write(&[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn labels(outputs: &Outputs, n: usize) -> Vec<Label> {
        let mut labels = Vec::new();
        for _ in 0..100 {
            labels.extend(outputs.found().into_iter().flat_map(|f| f.labels));
            if labels.len() >= n {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        labels
    }

    #[test]
    fn a_growing_file_is_followed_from_its_end_through_a_cut_to_its_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "Epoch 7\n").unwrap();
        let mut outputs = Outputs::default();
        outputs.follow(1, "Epoch ([0-9]+)", vec![File::open(&path).unwrap().into()]).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(b"Epoch 8\nEpo").unwrap();
        assert_eq!(labels(&outputs, 1), [Some("8".to_owned())]);
        writer.write_all(b"ch 9\n").unwrap();
        assert_eq!(labels(&outputs, 1), [Some("9".to_owned())]);
        writer.set_len(0).unwrap();
        thread::sleep(2 * PAUSE);
        writer.write_all(b"Epoch 10\nEpoch 11").unwrap();
        assert_eq!(outputs.finish(1), [Some("10".to_owned()), Some("11".to_owned())]);
        assert!(outputs.finish(1).is_empty());
    }

    #[test]
    fn what_is_no_file_to_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::default();
        let mut refusal = |fds| outputs.follow(1, "E", fds).unwrap_err().to_string();
        assert!(refusal(Vec::new()).contains("0 file handles"));
        let (pipe, _end) = UnixStream::pair().unwrap();
        assert!(refusal(vec![OwnedFd::from(pipe)]).contains("not a regular file"));
        let writing = File::create(dir.path().join("x")).unwrap();
        assert!(refusal(vec![writing.into()]).contains("for writing only"));
    }
}
