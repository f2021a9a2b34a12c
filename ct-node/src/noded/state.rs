//! What survives the daemon: running jobs, ended jobs without a record, the last sample.
//!
//! Files are replaced atomically. After a crash or restart on the same boot, jobs are taken up and
//! the gap is booked from the counters; after a reboot they are lost, and closed at their last
//! known instant.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ct_core::job::Job;
use ct_core::sampler::LastSample;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::station::{Ended, Station};

#[derive(Serialize, Deserialize)]
struct NodeState {
    boot_id: String,
    last: LastSample,
}

/// A job's file: where it stands.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobState {
    Running(Job),
    Ended(Ended),
}

/// The state directory.
pub(super) struct StateDir {
    dir: PathBuf,
    boot_id: String,
    has_failed: bool,
}

impl StateDir {
    pub(super) fn new(dir: &Path) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { dir: dir.to_owned(), boot_id: boot_id.trim().to_owned(), has_failed: false }
    }

    /// Writes down everything; says once when it cannot.
    pub(super) fn save(&mut self, station: &mut Station) {
        let result = self.try_save(station);
        if let Err(e) = &result
            && !self.has_failed
        {
            let dir = self.dir.display();
            log::error!("cannot keep state in {dir}: {e}; a restart would lose running jobs");
        }
        self.has_failed = result.is_err();
    }

    fn try_save(&self, station: &mut Station) -> io::Result<()> {
        if let Some(last) = station.sampler().last_sample() {
            let state = NodeState { boot_id: self.boot_id.clone(), last };
            replace(&self.dir.join("node.json"), &serde_json::to_vec(&state)?)?;
        }
        for job in station.jobs_mut() {
            let state = JobState::Running(job.clone());
            replace(&self.job_file(job), &serde_json::to_vec(&state)?)?;
        }
        Ok(())
    }

    /// Writes down an ended job.
    pub(super) fn save_ended(&self, ended: &Ended) {
        let state = JobState::Ended(ended.clone());
        let saved = serde_json::to_vec(&state)
            .map_err(io::Error::from)
            .and_then(|json| replace(&self.job_file(&ended.job), &json));
        if let Err(e) = saved {
            log::error!("job {}: its end is not kept: {e}", ended.job.facts.job_id);
        }
    }

    pub(super) fn job_file(&self, job: &Job) -> PathBuf {
        self.dir.join("jobs").join(format!("{}.{}.json", job.facts.job_id, job.restart))
    }

    /// Takes up what an earlier life left.
    pub(super) fn restore(&self, station: &mut Station) {
        let node: Option<NodeState> = read(&self.dir.join("node.json"));
        let node = node.filter(|n| n.boot_id == self.boot_id);
        let Ok(entries) = fs::read_dir(self.dir.join("jobs")) else { return };
        let mut n_running = 0;
        for path in entries.flatten().map(|e| e.path()) {
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            match read(&path) {
                Some(JobState::Running(mut job)) if node.is_some() => {
                    job.warnings.insert(
                        "ct-noded was restarted; the gap is booked from the counters".to_owned(),
                    );
                    station.restore(job);
                    n_running += 1;
                }
                Some(JobState::Running(job)) => {
                    // Another boot: the job went down with the node.
                    station.ended_mut().push(Ended { job, wait_status: None, was_told: false });
                }
                Some(JobState::Ended(ended)) => station.ended_mut().push(ended),
                None => {
                    log::error!("state file {} is not understood; set aside", path.display());
                    let _ = fs::rename(&path, path.with_extension("broken"));
                }
            }
        }
        if let Some(node) = node.filter(|_| n_running > 0) {
            log::info!("{n_running} running jobs taken up");
            station.resume(&node.last);
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Replaces a file in one step; a reader sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}
