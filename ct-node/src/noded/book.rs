//! Appends records to the ledger, on a thread: the ledger may lie on a file system that hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ct_core::ledger::writer::append;

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

fn write(dir: &Path, node: &str, inbox: &Receiver<Command>) {
    let mut waiting: Vec<Entry> = Vec::new();
    let mut has_failed = false;
    let mut retry = FIRST_RETRY;
    loop {
        let pause = if waiting.is_empty() { Duration::from_secs(3600) } else { retry };
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
        while let Some(entry) = waiting.first() {
            if let Err(e) = append(dir, node, entry.month_of, &entry.line) {
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
            if let Err(e) = fs::remove_file(&entry.state_file)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                log::warn!("cannot remove {}: {e}", entry.state_file.display());
            }
            waiting.remove(0);
        }
    }
}
