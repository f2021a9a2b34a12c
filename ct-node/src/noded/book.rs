//! Appends records to the ledger, on a thread: the ledger may lie on a file system that hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ct_core::ledger::writer::append;

/// Time between two attempts at a ledger that cannot be written.
const RETRY: Duration = Duration::from_secs(10);

/// A record on its way to the ledger.
pub(super) struct Entry {
    pub(super) line: String,
    pub(super) end: DateTime<Utc>,
    /// Removed once the line is in the ledger; until then a restart would write it again.
    pub(super) state_file: PathBuf,
}

/// The thread that writes.
pub(super) struct Book {
    entries: Sender<Entry>,
}

impl Book {
    pub(super) fn open(dir: PathBuf, node: String) -> std::io::Result<Self> {
        let (entries, inbox) = channel();
        thread::Builder::new()
            .name("ledger".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || write(&dir, &node, &inbox))?;
        Ok(Self { entries })
    }

    pub(super) fn enter(&self, entry: Entry) {
        if self.entries.send(entry).is_err() {
            log::error!("the ledger's thread is gone; the record stays in the state directory");
        }
    }
}

fn write(dir: &Path, node: &str, inbox: &Receiver<Entry>) {
    let mut waiting: Vec<Entry> = Vec::new();
    let mut has_failed = false;
    loop {
        let pause = if waiting.is_empty() { Duration::from_secs(3600) } else { RETRY };
        match inbox.recv_timeout(pause) {
            Ok(entry) => waiting.push(entry),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(entry) = waiting.first() {
            if let Err(e) = append(dir, node, entry.end, &entry.line) {
                if !std::mem::replace(&mut has_failed, true) {
                    let dir = dir.display();
                    log::error!(
                        "cannot write to the ledger {dir}: {e}; records wait in the state directory"
                    );
                }
                break;
            }
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
