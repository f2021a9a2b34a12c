//! Appends to users' log files, through handles that the users themselves opened.
//!
//! No path of a user's is ever opened here. A user's file system may hang (NFS, FUSE), so each job's
//! files are written by a thread of their own with a bounded queue: what does not fit is dropped
//! and said, measuring goes on.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use ct_core::job::Job;
use ct_core::log::writer::LogText;
use rustix::fs::OFlags;

/// Number of handles: standard, output and error log, record.
pub const N_HANDLES: usize = 4;
/// Messages that may wait for a file system.
const QUEUE: usize = 256;
/// Bytes of log text a job may have waiting for handles.
const MAX_PENDING: usize = 256 * 1024;

enum Message {
    Text(LogText),
    Record(String),
}

/// Why handles are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// Too few or too many.
    #[error("{seen} file handles came along, expected {N_HANDLES}: three logs and the record")]
    Count {
        /// How many came.
        seen: usize,
    },
    /// Not a file, somebody else's, or not opened for appending.
    #[error("file handle {index} is {seen}, expected a regular file of uid {uid} opened O_APPEND")]
    Kind {
        /// Which of them.
        index: usize,
        /// What it is instead.
        seen: String,
        /// The job's owner.
        uid: u32,
    },
    /// The kernel would not tell, or no thread could be started.
    #[error("file handles cannot be used: {source}")]
    Io {
        /// Why.
        #[from]
        source: std::io::Error,
    },
}

struct Writer {
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// The open logs of this node's jobs, by job id.
#[derive(Default)]
pub struct LogFiles {
    writers: HashMap<u32, Writer>,
}

impl LogFiles {
    /// Takes the handles for a job of `uid`'s.
    ///
    /// # Errors
    ///
    /// [`HandleError`]; the job then has no logs.
    pub fn attach(&mut self, job_id: u32, uid: u32, fds: Vec<OwnedFd>) -> Result<(), HandleError> {
        if fds.len() != N_HANDLES {
            return Err(HandleError::Count { seen: fds.len() });
        }
        let files: Vec<File> = fds.into_iter().map(File::from).collect();
        for (index, file) in files.iter().enumerate() {
            check(file, uid).map_err(|seen| HandleError::Kind { index, seen, uid })?;
        }
        let (messages, receiver) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name(format!("logs-{job_id}"))
            .stack_size(64 * 1024)
            .spawn(move || write(&files, &receiver, job_id))?;
        self.writers.insert(job_id, Writer { messages, thread });
        Ok(())
    }

    /// Whether a job's handles are here.
    pub fn has(&self, job_id: u32) -> bool {
        self.writers.contains_key(&job_id)
    }

    /// Hands a job's waiting text to its writer; without one it goes on waiting, up to a bound.
    pub fn flush(&mut self, job: &mut Job) {
        let Some(writer) = self.writers.get(&job.facts.job_id) else {
            if job.log.len() > MAX_PENDING {
                job.log = LogText::default();
                job.warnings.insert("log text was dropped: no open log files".to_owned());
            }
            return;
        };
        if job.log.is_empty() {
            return;
        }
        let text = std::mem::take(&mut job.log);
        if let Err(TrySendError::Full(_)) = writer.messages.try_send(Message::Text(text)) {
            job.warnings.insert("log text was dropped: the file system is too slow".to_owned());
        }
    }

    /// Writes the record and lets the files go once everything is written.
    ///
    /// Returns the thread that does so, for who has nothing else to do than to wait for it.
    pub fn finish(&mut self, job_id: u32, record: String) -> Option<JoinHandle<()>> {
        let writer = self.writers.remove(&job_id)?;
        if writer.messages.try_send(Message::Record(record)).is_err() {
            log::warn!("job {job_id}: record not written to the job's directory");
        }
        Some(writer.thread)
    }
}

fn check(file: &File, uid: u32) -> Result<(), String> {
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.uid() != uid {
        return Err(format!("a file of uid {}", metadata.uid()));
    }
    let flags = rustix::fs::fcntl_getfl(file).map_err(|e| e.to_string())?;
    let mode = flags & OFlags::RWMODE;
    if !flags.contains(OFlags::APPEND) || mode == OFlags::RDONLY {
        return Err("not opened for appending".to_owned());
    }
    Ok(())
}

fn write(files: &[File], messages: &Receiver<Message>, job_id: u32) {
    let append = |index: usize, text: &str| {
        if text.is_empty() {
            return;
        }
        if let Some(Err(e)) = files.get(index).map(|mut f| f.write_all(text.as_bytes())) {
            log::warn!("job {job_id}: cannot write its log: {e}");
        }
    };
    while let Ok(message) = messages.recv() {
        match message {
            Message::Text(text) => {
                append(0, &text.standard);
                append(1, &text.output);
                append(2, &text.error);
            }
            Message::Record(line) => append(3, &line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn open(dir: &std::path::Path) -> Vec<OwnedFd> {
        let open =
            |n: usize| OpenOptions::new().append(true).create(true).open(dir.join(n.to_string()));
        (0..N_HANDLES).map(|n| OwnedFd::from(open(n).unwrap())).collect()
    }

    #[test]
    fn records_are_written_through_the_handles() {
        let dir = tempfile::tempdir().unwrap();
        let uid = dir.path().metadata().unwrap().uid();
        let mut logs = LogFiles::default();
        logs.attach(1, uid, open(dir.path())).unwrap();
        assert!(logs.has(1));
        logs.finish(1, "{}\n".to_owned()).unwrap().join().unwrap();
        assert!(!logs.has(1));
        assert_eq!(std::fs::read_to_string(dir.path().join("3")).unwrap(), "{}\n");
    }

    fn job_with(bytes: usize) -> Job {
        let facts = ct_core::protocol::JobFacts { job_id: 1, ..Default::default() };
        let settings = ct_core::option::Settings::default();
        let mut job = Job::new(facts, true, settings, ct_core::sampler::now());
        job.log.standard = "x".repeat(bytes);
        job
    }

    #[test]
    fn text_without_files_waits_up_to_a_bound_and_is_then_dropped_and_said() {
        let mut logs = LogFiles::default();
        let mut job = job_with(MAX_PENDING);
        logs.flush(&mut job);
        assert_eq!((job.log.len(), job.warnings.len()), (MAX_PENDING, 0));
        job.log.standard.push('x');
        logs.flush(&mut job);
        assert!(job.log.is_empty());
        assert!(job.warnings.contains("log text was dropped: no open log files"));
    }

    #[test]
    fn text_for_a_file_system_that_hangs_waits_up_to_a_bound_and_is_then_dropped_and_said() {
        // Its thread is in a write that does not come back: it takes nothing more.
        let (messages, receiver) = sync_channel(QUEUE);
        let thread = thread::spawn(|| {});
        let mut logs = LogFiles { writers: HashMap::from([(1, Writer { messages, thread })]) };
        for _ in 0..QUEUE {
            let mut job = job_with(1);
            logs.flush(&mut job);
            assert!(job.log.is_empty() && job.warnings.is_empty());
        }
        let mut job = job_with(1);
        logs.flush(&mut job);
        assert!(job.log.is_empty());
        assert!(job.warnings.contains("log text was dropped: the file system is too slow"));
        assert_eq!(receiver.try_iter().count(), QUEUE);
    }

    #[test]
    fn handles_that_are_not_the_users_logs_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let uid = dir.path().metadata().unwrap().uid();
        let mut logs = LogFiles::default();
        let refusal =
            |logs: &mut LogFiles, uid, fds| logs.attach(1, uid, fds).unwrap_err().to_string();
        assert!(refusal(&mut logs, uid, Vec::new()).contains("0 file handles"));
        assert!(refusal(&mut logs, uid + 1, open(dir.path())).contains("a file of uid"));
        let replace = |with: OwnedFd| {
            let mut fds = open(dir.path());
            fds[2] = with;
            fds
        };
        let a_dir = OwnedFd::from(File::open(dir.path()).unwrap());
        assert!(refusal(&mut logs, uid, replace(a_dir)).contains("not a regular file"));
        let read_only = OwnedFd::from(File::open(dir.path().join("0")).unwrap());
        assert!(refusal(&mut logs, uid, replace(read_only)).contains("not opened for appending"));
        let truncating = OpenOptions::new().write(true).open(dir.path().join("0")).unwrap();
        assert!(refusal(&mut logs, uid, replace(truncating.into())).contains("handle 2"));
        assert!(!logs.has(1));
    }
}
