//! The files below `live`, on a thread of their own: written, read, and removed some time after their
//! job, unless its next run writes them again.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use ct_core::ledger::LIVE_RECORD;
use serde_json::Value;

use super::LiveNode;
use crate::noded::state::replace;

/// How long a node's file outlives its job.
const KEPT_FOR: Duration = Duration::from_secs(120);

/// What the thread is asked to do.
pub(super) enum Command {
    Write {
        path: PathBuf,
        text: String,
    },
    Remove {
        path: PathBuf,
    },
    /// Removes what an earlier life of this node's has left of jobs that do not run.
    Sweep {
        dir: PathBuf,
        node: String,
        running: BTreeSet<u32>,
    },
    Read {
        dir: PathBuf,
        nodes: Vec<String>,
        reply: SyncSender<HashMap<String, LiveNode>>,
    },
}

/// Does what is asked until nobody is left who could ask.
pub(super) fn work(inbox: &Receiver<Command>) {
    let mut files = Files::default();
    loop {
        let pause =
            if files.to_remove.is_empty() { Duration::from_secs(3600) } else { KEPT_FOR / 4 };
        match inbox.recv_timeout(pause) {
            Ok(command) => files.take(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        files.remove_old();
    }
}

/// What is still to be done to them.
#[derive(Default)]
struct Files {
    /// Those of jobs that are over, and since when.
    to_remove: Vec<(Instant, PathBuf)>,
    has_failed: bool,
}

impl Files {
    fn take(&mut self, command: Command) {
        match command {
            Command::Write { path, text } => self.write(&path, &text),
            Command::Read { dir, nodes, reply } => {
                // Nobody waits for an answer that comes late.
                let _ = reply.try_send(read(&dir, &nodes));
            }
            Command::Remove { path } => self.to_remove.push((Instant::now(), path)),
            Command::Sweep { dir, node, running } => {
                let left = left_behind(&dir, &node, &running);
                self.to_remove.extend(left.into_iter().map(|path| (Instant::now(), path)));
            }
        }
    }

    fn write(&mut self, path: &Path, text: &str) {
        // That of a run that is over is the next run's now.
        self.to_remove.retain(|(_, other)| other != path);
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = parent.and_then(|()| replace(path, text.as_bytes()));
        if let Err(e) = &written
            && !self.has_failed
        {
            log::warn!(
                "cannot write {}: {e}; jobs over several nodes show this node only in the ledger",
                path.display()
            );
        }
        self.has_failed = written.is_err();
    }

    fn remove_old(&mut self) {
        self.to_remove.retain(|(since, path)| since.elapsed() < KEPT_FOR || !remove(path));
    }
}

/// Whether the file is gone; where the ledger cannot be written it is tried again.
fn remove(path: &Path) -> bool {
    let is_gone = |result: io::Result<()>| {
        result.map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |()| true)
    };
    // One that was not finished, as the file system was full, goes with it.
    let is_removed =
        is_gone(fs::remove_file(path.with_extension("tmp"))) & is_gone(fs::remove_file(path));
    // The last node of the job removes the directory; before that it is not empty.
    let _ = path.parent().map(fs::remove_dir);
    is_removed
}

/// Files of this node's below `live`, of jobs that do not run on it.
fn left_behind(dir: &Path, node: &str, running: &BTreeSet<u32>) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for job in fs::read_dir(dir).into_iter().flatten().flatten() {
        let id = job.file_name().to_str().and_then(|name| name.parse().ok());
        if id.is_none_or(|id| running.contains(&id)) {
            continue;
        }
        let (own, record) = (job.path().join(format!("{node}.json")), job.path().join(LIVE_RECORD));
        let is_empty = fs::read_dir(job.path()).is_ok_and(|mut files| files.next().is_none());
        if own.exists() || is_empty {
            left.push(own.clone());
        }
        let unfinished = [own.with_extension("tmp"), record.with_extension("tmp")];
        left.extend(unfinished.into_iter().filter(|path| path.exists()));
        if is_record_of(&record, node) {
            left.push(record);
        }
    }
    left
}

fn is_record_of(path: &Path, node: &str) -> bool {
    let record = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    record.is_some_and(|record| record["node"] == node)
}

pub(super) fn read(dir: &Path, nodes: &[String]) -> HashMap<String, LiveNode> {
    let read = |name: &String| {
        let text = fs::read_to_string(dir.join(format!("{name}.json"))).ok()?;
        Some((name.clone(), serde_json::from_str(&text).ok()?))
    };
    nodes.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_life_left_of_jobs_that_are_over_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["1", "2", "3", "4", "aside"] {
            fs::create_dir(path(name)).unwrap();
        }
        for (name, text) in [
            ("1/n1.json", "{}"),
            ("1/n2.json", "{}"),
            ("1/n1.tmp", "{"),
            ("1/.record.json", r#"{"node":"n1"}"#),
            ("2/n1.json", "{}"),
            ("3/.record.json", r#"{"node":"n2"}"#),
            ("aside/n1.json", "{}"),
        ] {
            fs::write(path(name), text).unwrap();
        }
        // Job 2 runs; job 4 has an empty directory.
        let mut left = left_behind(dir.path(), "n1", &BTreeSet::from([2]));
        left.sort();
        let expected = ["1/.record.json", "1/n1.json", "1/n1.tmp", "4/n1.json"];
        assert_eq!(left, expected.map(path));
        assert!(left.iter().all(|path| remove(path)));
        assert!(path("1/n2.json").exists() && !path("4").exists());
    }

    #[test]
    fn a_file_that_the_next_run_of_its_job_writes_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::default();
        let (kept, gone) = (dir.path().join("1/n1.json"), dir.path().join("2/n1.json"));
        let write = |path: &PathBuf| Command::Write { path: path.clone(), text: "{}".to_owned() };
        for path in [&kept, &gone] {
            files.take(write(path));
            files.take(Command::Remove { path: path.clone() });
        }
        // Job 1 was sent back and runs again.
        files.take(write(&kept));
        for (since, _) in &mut files.to_remove {
            *since -= 2 * KEPT_FOR;
        }
        files.remove_old();
        assert!(kept.exists() && !gone.exists());
        // It ends once more, while the file system is full: a file is not finished.
        files.take(Command::Remove { path: kept.clone() });
        fs::write(kept.with_extension("tmp"), "{").unwrap();
        files.remove_old();
        assert!(kept.exists());
        files.to_remove[0].0 -= 2 * KEPT_FOR;
        files.remove_old();
        assert!(!kept.parent().unwrap().exists() && files.to_remove.is_empty());
    }
}
