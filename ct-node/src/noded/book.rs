//! Appends records to the ledger, on a thread: the ledger may lie on a file system that hangs.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ct_core::ledger::writer::{append, has_run};

/// Time until a ledger that cannot be written is tried again; twice as long after each time in vain.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such time.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A record on its way to the ledger.
pub(super) struct Entry {
    pub(super) line: String,
    /// An instant of the month whose file it goes to.
    pub(super) month_of: DateTime<Utc>,
    /// Removed once the line is in the ledger; until then a restart would write it again.
    pub(super) state_file: PathBuf,
    /// With a line of this run in the ledger already, this one is not written.
    pub(super) unless_run: Option<Run>,
}

/// A run of a job, and when another line of it may have been closed.
pub(super) struct Run {
    pub(super) job_id: u32,
    pub(super) restart: u32,
    pub(super) closed_within: RangeInclusive<DateTime<Utc>>,
}

enum Command {
    Enter(Entry),
    /// Says when all before it was tried.
    Flush(SyncSender<()>),
}

/// The thread that writes.
pub(super) struct Book {
    commands: Sender<Command>,
}

impl Book {
    pub(super) fn open(dir: PathBuf, node: String) -> std::io::Result<Self> {
        let (commands, inbox) = channel();
        thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write(&dir, &node, &inbox))?;
        Ok(Self { commands })
    }

    pub(super) fn enter(&self, entry: Entry) {
        if self.commands.send(Command::Enter(entry)).is_err() {
            log::error!("the ledger's thread is gone; the record stays in the state directory");
        }
    }

    /// Waits until everything entered was written or could not be, but no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, answer) = sync_channel(1);
        if self.commands.send(Command::Flush(done)).is_ok() {
            // Whatever is not written by then is in the state directory.
            let _ = answer.recv_timeout(patience);
        }
    }
}

/// Whether a state file is gone.
fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            log::debug!("cannot remove {}: {e}", path.display());
            false
        }
        _ => true,
    }
}

fn enter(dir: &Path, node: &str, entry: &Entry) -> io::Result<()> {
    if let Some(run) = &entry.unless_run
        && has_run(dir, node, &run.closed_within, run.job_id, run.restart)?
    {
        return Ok(());
    }
    append(dir, node, entry.month_of, &entry.line)
}

fn write(dir: &Path, node: &str, inbox: &Receiver<Command>) {
    let mut waiting: Vec<Entry> = Vec::new();
    // Files of what is in the ledger, in a state directory that cannot be written at present.
    let mut unremoved: Vec<PathBuf> = Vec::new();
    let mut has_failed = false;
    let mut retry = FIRST_RETRY;
    loop {
        let has_work = !waiting.is_empty() || !unremoved.is_empty();
        let pause = if has_work { retry } else { Duration::from_secs(3600) };
        match inbox.recv_timeout(pause) {
            Ok(Command::Enter(entry)) => waiting.push(entry),
            Ok(Command::Flush(done)) => {
                // Nobody waits any more where the answer came too late.
                let _ = done.send(());
                continue;
            }
            Err(RecvTimeoutError::Timeout) => retry = (2 * retry).min(LAST_RETRY),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        unremoved.retain(|path| !remove(path));
        while let Some(entry) = waiting.first() {
            if let Err(e) = enter(dir, node, entry) {
                if !std::mem::replace(&mut has_failed, true) {
                    let dir = dir.display();
                    log::error!(
                        "cannot write to the ledger {dir}: {e}; records wait in the state directory"
                    );
                }
                break;
            }
            retry = FIRST_RETRY;
            if std::mem::replace(&mut has_failed, false) {
                log::info!("the ledger can be written again");
            }
            let entry = waiting.remove(0);
            if !remove(&entry.state_file) {
                unremoved.push(entry.state_file);
            }
        }
    }
}
