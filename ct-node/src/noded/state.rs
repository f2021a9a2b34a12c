//! What survives the daemon: running jobs, ended jobs without a record, the last sample.
//!
//! Files are replaced atomically. After a crash or restart on the same boot, jobs are taken up and
//! the gap is booked from the counters; after a reboot they are lost, and closed at their last
//! known instant.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum JobState {
    Running(Job),
    Ended(Ended),
}

/// The same, to be written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum JobStateRef<'a> {
    Running(&'a Job),
    Ended(&'a Ended),
}

/// Least time between two saves that no start or end of a job asks for.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Saving takes at most one part in so many of the daemon's time.
const TIME_SHARE: u32 = 20;

/// The state directory.
pub(super) struct StateDir {
    dir: PathBuf,
    boot_id: String,
    has_failed: bool,
    saved: Option<Saved>,
}

/// The last save: when, how long it took, and of which jobs.
struct Saved {
    at: Instant,
    took: Duration,
    jobs: Vec<(u32, u32)>,
}

impl StateDir {
    pub(super) fn new(dir: &Path) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            boot_id: boot_id.trim().to_owned(),
            has_failed: false,
            saved: None,
        }
    }

    /// Writes down everything if a job came or went, or enough time has passed; the counters and
    /// every job are of the same instant, so that a gap can be booked from them.
    pub(super) fn save_if_due(&mut self, station: &Station) {
        let jobs: Vec<(u32, u32)> =
            station.jobs().values().map(|j| (j.facts.job_id, j.restart)).collect();
        let is_due = self.saved.as_ref().is_none_or(|saved| {
            saved.jobs != jobs || saved.at.elapsed() >= LEAST_PAUSE.max(saved.took * TIME_SHARE)
        });
        if is_due {
            self.save(station);
        }
    }

    /// Writes down everything; says once when it cannot.
    pub(super) fn save(&mut self, station: &Station) {
        let start = Instant::now();
        let result = self.try_save(station);
        if let Err(e) = &result
            && !self.has_failed
        {
            let dir = self.dir.display();
            log::error!("cannot keep state in {dir}: {e}; a restart would lose running jobs");
        }
        self.has_failed = result.is_err();
        let jobs = station.jobs().values().map(|j| (j.facts.job_id, j.restart)).collect();
        self.saved = Some(Saved { at: Instant::now(), took: start.elapsed(), jobs });
    }

    fn try_save(&self, station: &Station) -> io::Result<()> {
        if let Some(last) = station.sampler().last_sample() {
            let state = NodeState { boot_id: self.boot_id.clone(), last };
            replace(&self.dir.join("node.json"), &serde_json::to_vec(&state)?)?;
        }
        for job in station.jobs().values() {
            let state = JobStateRef::Running(job);
            replace(&self.job_file(job), &serde_json::to_vec(&state)?)?;
        }
        Ok(())
    }

    /// Writes down an ended job.
    pub(super) fn save_ended(&self, ended: &Ended) {
        let state = JobStateRef::Ended(ended);
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
