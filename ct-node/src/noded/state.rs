//! What survives the daemon: running jobs with the last sample, and ended jobs without a record.
//!
//! Running jobs and the counters they were charged up to are one file, replaced in one step: a gap
//! is booked from the counters, so the two must be of the same instant whenever we die. After a
//! crash or restart on the same boot, jobs are taken up; after a reboot they are lost, and closed at
//! their last known instant.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ct_core::job::Job;
use ct_core::sampler::LastSample;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::closing::is_gone;
use crate::station::{Ended, Station};

/// Name of the file of the running jobs, in `jobs`; ended jobs have a file each.
const RUNNING: &str = "running.json";

#[derive(Deserialize)]
struct Running {
    boot_id: String,
    last: LastSample,
    jobs: Vec<Job>,
}

/// The same, to be written.
#[derive(Serialize)]
struct RunningRef<'a> {
    boot_id: &'a str,
    last: LastSample,
    jobs: Vec<&'a Job>,
}

/// Least time between two saves that no start or end of a job asks for.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// The same where jobs have but drawn more: their meters would tell after a crash, too.
const LONG_PAUSE: Duration = Duration::from_secs(10);
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
    marks: usize,
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
            let pause = if saved.marks == marks(station) { LONG_PAUSE } else { LEAST_PAUSE };
            saved.jobs != jobs || saved.at.elapsed() >= pause.max(saved.took * TIME_SHARE)
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
        let marks = marks(station);
        self.saved = Some(Saved { at: Instant::now(), took: start.elapsed(), jobs, marks });
    }

    fn try_save(&self, station: &Station) -> io::Result<()> {
        let Some(last) = station.sampler().last_sample() else { return Ok(()) };
        let jobs = station.jobs().values().collect();
        let running = RunningRef { boot_id: &self.boot_id, last, jobs };
        replace(&self.dir.join("jobs").join(RUNNING), &serde_json::to_vec(&running)?)
    }

    /// Writes down an ended job.
    pub(super) fn save_ended(&self, ended: &Ended) {
        let saved = serde_json::to_vec(ended)
            .map_err(io::Error::from)
            .and_then(|json| replace(&self.ended_file(&ended.job), &json));
        if let Err(e) = saved {
            log::error!("job {}: its end is not kept: {e}", ended.job.facts.job_id);
        }
    }

    /// The file of an ended job, until its record is in the ledger.
    pub(super) fn ended_file(&self, job: &Job) -> PathBuf {
        self.dir.join("jobs").join(format!("{}.{}.json", job.facts.job_id, job.restart))
    }

    /// Takes up what an earlier life left.
    pub(super) fn restore(&self, station: &mut Station) {
        self.restore_ended(station);
        let path = self.dir.join("jobs").join(RUNNING);
        let Some(running) = read::<Running>(&path) else { return };
        let is_ended = |job: &Job| self.ended_file(job).exists();
        let jobs: Vec<Job> = running.jobs.into_iter().filter(|job| !is_ended(job)).collect();
        if running.boot_id != self.boot_id {
            // Another boot: they went down with the node.
            let lost = |job| Ended { job, wait_status: None, was_told: false };
            station.ended_mut().extend(jobs.into_iter().map(lost));
            return;
        }
        if jobs.is_empty() {
            return;
        }
        log::info!("{} running jobs taken up", jobs.len());
        let cgroupfs = station.config().path.cgroupfs.clone();
        let (gone, alive): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| is_gone(job, &cgroupfs));
        station.resume(&running.last);
        for mut job in alive {
            let warning = "ct-noded was restarted; the gap is booked from the counters";
            job.warnings.insert(warning.to_owned());
            station.restore(job);
        }
        for job in gone {
            station.restore_without_gap(job);
        }
    }

    fn restore_ended(&self, station: &mut Station) {
        let Ok(entries) = fs::read_dir(self.dir.join("jobs")) else { return };
        for path in entries.flatten().map(|e| e.path()) {
            let is_ended =
                path.extension().is_some_and(|e| e == "json") && !path.ends_with(RUNNING);
            if is_ended {
                station.ended_mut().extend(read::<Ended>(&path));
            }
        }
    }
}

/// Reads a state file; what is not understood is set aside and said.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read_to_string(path).ok()?;
    match serde_json::from_str(&text) {
        Ok(value) => Some(value),
        Err(e) => {
            log::error!("state file {} is not understood, set aside: {e}", path.display());
            let _ = fs::rename(path, path.with_extension("broken"));
            None
        }
    }
}

/// A number that rises with what is known of the jobs beside their energy: steps, cgroups, epochs,
/// logs, warnings.
fn marks(station: &Station) -> usize {
    let of_job = |job: &Job| {
        let states = [job.cgroup.is_some(), job.is_log_open(), job.has_batch_step];
        let epochs = 2 * job.epochs().len() + usize::from(job.is_epoch_running());
        let n_states = states.into_iter().filter(|is_so| *is_so).count();
        job.stepd_pids.len() + job.warnings.len() + epochs + n_states
    };
    station.jobs().values().map(of_job).sum()
}

/// Replaces a file in one step; a reader sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use ct_core::config::Config;
    use ct_core::protocol::JobFacts;
    use ct_core::sampler::Sampler;

    use super::*;

    fn station() -> Station {
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        Station::new(Config::default(), "n1".to_owned(), sampler)
    }

    fn start(station: &mut Station, job_id: u32) {
        station.job_start(JobFacts { job_id, uid: 1000, ..JobFacts::default() });
    }

    fn state_dir(dir: &Path) -> StateDir {
        fs::create_dir_all(dir.join("jobs")).unwrap();
        StateDir::new(dir)
    }

    #[test]
    fn running_jobs_are_taken_up_and_ended_ones_are_not_run_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = state_dir(dir.path());
        let mut first = station();
        start(&mut first, 1);
        start(&mut first, 2);
        state.save_if_due(&first);
        // The daemon dies after the end of job 2 was written down, and before the others were.
        first.job_end(2, Some(0), true);
        state.save_ended(&first.ended()[0]);
        let mut second = station();
        state_dir(dir.path()).restore(&mut second);
        assert_eq!(second.jobs().keys().collect::<Vec<_>>(), [&1]);
        assert_eq!(second.ended().len(), 1);
        assert_eq!(second.ended()[0].job.facts.job_id, 2);
        // Its processes are gone: the gap is not its own.
        let warnings = &second.jobs()[&1].warnings;
        assert!(warnings.iter().any(|w| w.contains("not charged")), "{warnings:?}");
    }

    #[test]
    fn jobs_of_another_boot_are_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = state_dir(dir.path());
        state.boot_id = "another boot".to_owned();
        let mut first = station();
        start(&mut first, 1);
        state.save(&first);
        let mut second = station();
        state_dir(dir.path()).restore(&mut second);
        assert!(second.jobs().is_empty());
        assert!(!second.ended()[0].was_told);
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let state = state_dir(dir.path());
        fs::write(dir.path().join("jobs/running.json"), "{\"boot").unwrap();
        let mut station = station();
        state.restore(&mut station);
        assert!(station.jobs().is_empty());
        assert!(dir.path().join("jobs/running.broken").exists());
    }

    #[test]
    fn saves_are_spread_unless_a_job_comes_or_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = state_dir(dir.path());
        let file = dir.path().join("jobs/running.json");
        let mut station = station();
        start(&mut station, 1);
        state.save_if_due(&station);
        fs::remove_file(&file).unwrap();
        state.save_if_due(&station);
        assert!(!file.exists(), "saved again within a second");
        start(&mut station, 2);
        state.save_if_due(&station);
        assert!(file.exists(), "a new job was not saved");
        fs::remove_file(&file).unwrap();
        let saved = state.saved.as_mut().unwrap();
        saved.at = saved.at.checked_sub(LEAST_PAUSE).unwrap();
        state.save_if_due(&station);
        assert!(!file.exists(), "saved though jobs have but drawn more");
        station.epoch_start(2);
        state.save_if_due(&station);
        assert!(file.exists(), "the mark of an epoch was not saved");
    }
}
