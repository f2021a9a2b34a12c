//! Follows the output files of jobs with `epoch_by:pattern`, and prints blocks into them.
//!
//! Each file is the one the job's user opened; no path is opened here. A user's file system may hang,
//! so each has a thread of its own (`follower`); nobody waits for one that has stopped answering.

mod follower;
mod scanner;

pub use scanner::{Label, PatternError, compile};

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use follower::{Beat, Command, Follower};
use rustix::fs::OFlags;
use scanner::Scanner;

/// How long the end of a step waits for the end of its output.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// A thread that has not looked at its file for so long is not waited for: its file system hangs.
const SILENCE: Duration = Duration::from_secs(1);

/// Why an output file is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The expression is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Too few or too many handles.
    #[error("{seen} file handles came along, expected the output file, to read and to print into")]
    Count {
        /// How many came.
        seen: usize,
    },
    /// Not a file, or not opened for reading.
    #[error("the output is {seen}, expected one regular file, opened for reading and for writing")]
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

/// What was found in the output of one job.
#[derive(Debug, Default)]
pub struct Found {
    /// The job.
    pub job_id: u32,
    /// Labels of the lines that begin epochs, oldest first.
    pub labels: Vec<Label>,
    /// Where to read on once these are taken: after the last whole line.
    pub at: u64,
    /// Whether lines were left out, as there were too many.
    pub is_behind: bool,
    /// Text that could not be printed.
    pub unsaid: String,
}

/// A thread that reads an output.
struct Handle {
    commands: Sender<Command>,
    beat: Arc<Beat>,
    /// The answer to what it was told last: to read to the end.
    last: Option<Receiver<Found>>,
    can_print: bool,
    /// Ends a thread that waits at a pipe.
    end_of_pipe: Option<UnixStream>,
    thread: JoinHandle<Option<OwnedFd>>,
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

    /// Follows a file from `at`, or from its present end: its handle for reading, and where text is to
    /// be printed into it the one that its program writes to.
    ///
    /// # Errors
    ///
    /// [`FollowError`]; the job then has no epochs.
    pub fn follow(
        &mut self,
        job_id: u32,
        pattern: &str,
        fds: Vec<OwnedFd>,
        at: Option<u64>,
    ) -> Result<(), FollowError> {
        let scanner = Scanner::new(compile(pattern)?);
        let mut files = fds.into_iter().map(File::from).collect::<Vec<_>>().into_iter();
        let (file, printer) = match (files.next(), files.next(), files.len()) {
            (Some(file), printer, 0) => (file, printer),
            (file, printer, n) => {
                let seen = n + usize::from(file.is_some()) + usize::from(printer.is_some());
                return Err(FollowError::Count { seen });
            }
        };
        let end = check(&file, printer.as_ref())?;
        let at = at.filter(|at| *at <= end).unwrap_or(end);
        self.spawn(job_id, scanner, printer.is_some(), move |follower| {
            follower.follow(&file, at, printer);
            None
        })
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
        let (end, ended) = UnixStream::pair()?;
        self.spawn(job_id, scanner, false, move |follower| follower.pass_on(pipe, &ended))?;
        // Dropped with the handle, it ends the thread.
        if let Some(handle) = self.followers.get_mut(&job_id) {
            handle.end_of_pipe = Some(end);
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        job_id: u32,
        scanner: Scanner,
        can_print: bool,
        work: impl FnOnce(&mut Follower) -> Option<OwnedFd> + Send + 'static,
    ) -> Result<(), FollowError> {
        let (commands, inbox) = channel();
        let wake = self.wake.as_ref().map(UnixStream::try_clone).transpose()?;
        let beat = Arc::new(Beat::default());
        let mut follower = Follower::new(job_id, scanner, inbox, self.outbox.clone(), wake);
        follower.beat = Arc::clone(&beat);
        let thread = thread::Builder::new()
            .name(format!("output-{job_id}"))
            .stack_size(256 * 1024)
            .spawn(move || work(&mut follower))?;
        let handle = Handle { commands, beat, last: None, can_print, thread, end_of_pipe: None };
        self.followers.insert(job_id, handle);
        Ok(())
    }

    /// What was found since the last time.
    pub fn found(&self) -> Vec<Found> {
        self.found.try_iter().collect()
    }

    /// Whether a job's output is read.
    pub fn has(&self, job_id: u32) -> bool {
        self.followers.contains_key(&job_id)
    }

    /// Prints text into a job's output, where that can be done; else it is given back.
    ///
    /// # Errors
    ///
    /// The text.
    pub fn print(&self, job_id: u32, text: String) -> Result<(), String> {
        let Some(handle) = self.followers.get(&job_id).filter(|h| h.can_print && h.last.is_none())
        else {
            return Err(text);
        };
        match handle.commands.send(Command::Print(text)) {
            Ok(()) => Ok(()),
            Err(unsent) => Err(unsent.0.text()),
        }
    }

    /// Has a job's output read to its end, and waits for nothing.
    pub fn begin_to_finish(&mut self, job_id: u32) {
        if let Some(handle) = self.followers.get_mut(&job_id).filter(|h| h.last.is_none()) {
            let (reply, answer): (SyncSender<Found>, _) = sync_channel(1);
            // A thread that is gone has told what it found.
            let _ = handle.commands.send(Command::Finish(reply));
            handle.last = Some(answer);
        }
    }

    /// Reads a job's output to its end and lets it go: what was found and not yet told.
    pub fn finish(&mut self, job_id: u32) -> Found {
        self.begin_to_finish(job_id);
        let Some(handle) = self.followers.remove(&job_id) else { return Found::default() };
        let patience = if handle.beat.age() < SILENCE { LAST_WORDS } else { Duration::ZERO };
        let last = handle.last.and_then(|answer| answer.recv_timeout(patience).ok());
        let mut all = self.found_of(job_id);
        all.is_behind |= last.is_none();
        join(all, last.unwrap_or_default())
    }

    /// Takes what a command printed until its end, and gives back the pipe where others still hold it.
    pub fn drain(&mut self, job_id: u32) -> (Vec<Label>, Option<OwnedFd>) {
        let Some(handle) = self.followers.remove(&job_id) else { return (Vec::new(), None) };
        drop((handle.commands, handle.end_of_pipe));
        // A thread that panicked has passed on what it could.
        let pipe = handle.thread.join().ok().flatten();
        (self.found_of(job_id).labels, pipe)
    }

    /// What a job's thread has told and nobody has taken yet.
    fn found_of(&self, job_id: u32) -> Found {
        let (own, others): (Vec<Found>, Vec<Found>) =
            self.found.try_iter().partition(|found| found.job_id == job_id);
        for found in others {
            let _ = self.outbox.send(found);
        }
        own.into_iter().fold(Found { job_id, ..Found::default() }, join)
    }

    /// Lets a job's output go.
    pub fn forget(&mut self, job_id: u32) {
        self.followers.remove(&job_id);
    }
}

/// Two findings of one job, one after the other.
fn join(mut first: Found, second: Found) -> Found {
    first.labels.extend(second.labels);
    first.at = first.at.max(second.at);
    first.is_behind |= second.is_behind;
    first.unsaid.push_str(&second.unsaid);
    first
}

/// Its length, where it is a file that can be read, and where the other one is the same file and can
/// be written to.
fn check(file: &File, printer: Option<&File>) -> Result<u64, FollowError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FollowError::Kind { seen: "not a regular file" });
    }
    if mode_of(file)? == OFlags::WRONLY {
        return Err(FollowError::Kind { seen: "opened for writing only" });
    }
    if let Some(printer) = printer {
        let other = printer.metadata()?;
        if (other.dev(), other.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(FollowError::Kind { seen: "two files" });
        }
        if mode_of(printer)? == OFlags::RDONLY {
            return Err(FollowError::Kind { seen: "opened for reading only, twice" });
        }
    }
    Ok(metadata.len())
}

fn mode_of(file: &File) -> io::Result<OFlags> {
    Ok(rustix::fs::fcntl_getfl(file).map_err(io::Error::from)? & OFlags::RWMODE)
}

#[cfg(test)]
mod tests;
