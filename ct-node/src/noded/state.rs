//! What survives the daemon: running jobs with the last sample and the node's books, ended jobs and
//! lines of the node that are not in the ledger yet, and the idle power learned.
//!
//! Running jobs, the node's open line and the counters they were charged up to are one file,
//! replaced in one step: a gap is booked from the counters, so all must be of the same instant
//! whenever we die. What ended has a file of its own, written before the first save without it, and
//! with that save's number: one that is ahead of the running jobs is dropped, as they still hold it.
//! After a crash or restart on the same boot, jobs are taken up; after a reboot they are lost, and
//! closed at their last known instant.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ct_core::job::Job;
use ct_core::option::EpochBy;
use ct_core::record::NodeRecord;
use ct_core::sampler::LastSample;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::closing::is_gone;
use crate::station::{Books, Ended, Station};

/// Name of the file of the running jobs, in `jobs`; ended jobs have a file each.
const RUNNING: &str = "running.json";
/// Name of the file of the learned idle power.
const BASELINE: &str = "baseline.json";
/// Ending of the file of a node's line.
const LINE: &str = "line";

#[derive(Deserialize)]
struct Running {
    boot_id: String,
    #[serde(default)]
    seq: u64,
    last: LastSample,
    jobs: Vec<Job>,
    #[serde(default)]
    books: Books,
    #[serde(default)]
    sent_back: BTreeMap<u32, u32>,
}

/// The same, to be written.
#[derive(Serialize)]
struct RunningRef<'a> {
    boot_id: &'a str,
    seq: u64,
    last: LastSample,
    jobs: Vec<&'a Job>,
    books: &'a Books,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sent_back: &'a BTreeMap<u32, u32>,
}

/// A line of the node on its way to the ledger.
#[derive(Serialize, Deserialize)]
struct KeptLine {
    seq: u64,
    record: NodeRecord,
}

/// Least time between two saves that no start or end of a job asks for.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// The same where jobs have but drawn more: their meters would tell after a crash, too. With the turns
/// of the daemon it is ten seconds.
const LONG_PAUSE: Duration = Duration::from_secs(9);
/// Saving takes at most one part in so many of the daemon's time.
const TIME_SHARE: u32 = 20;
/// How long what ended waits for a state directory that cannot be written, as it may be again soon:
/// in the ledger before it is kept, it would be there twice if we were killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two saves of the learned idle power.
const BASELINE_PAUSE: Duration = Duration::from_secs(300);

/// The state directory.
pub(super) struct StateDir {
    dir: PathBuf,
    boot_id: String,
    /// Since when it cannot be written.
    failing_since: Option<Instant>,
    saved: Option<Saved>,
    /// The number of the last save.
    seq: u64,
    /// When the learned idle power was saved last, from how many samples, and of how many devices it
    /// was known then.
    baseline_saved: (Instant, u64, usize),
}

/// Which run of which job, and whether a step has told where its processes are: without that a job
/// cannot be found again.
type JobMark = (u32, u32, bool);

/// The last save: when, how long it took, and of which jobs.
struct Saved {
    at: Instant,
    took: Duration,
    jobs: Vec<JobMark>,
    marks: usize,
}

impl StateDir {
    pub(super) fn new(dir: &Path, procfs: &Path) -> Self {
        let boot_id = fs::read_to_string(procfs.join("sys/kernel/random/boot_id"));
        let boot_id = boot_id.unwrap_or_default();
        Self {
            dir: dir.to_owned(),
            boot_id: boot_id.trim().to_owned(),
            failing_since: None,
            saved: None,
            seq: 0,
            baseline_saved: (Instant::now(), 0, 0),
        }
    }

    /// Whether more is known of the jobs than was written down, beside what they drew.
    pub(super) fn is_behind(&self, station: &Station) -> bool {
        let is_failing = self.failing_since.is_some();
        is_failing || self.saved.as_ref().is_none_or(|saved| saved.marks != marks(station))
    }

    /// Whether it could not be written last, and may be soon: what ended waits for that.
    pub(super) fn is_awaited(&self) -> bool {
        self.failing_since.is_some_and(|since| since.elapsed() < PATIENCE)
    }

    /// Notes that it cannot be written; whether that is new.
    fn fail(&mut self) -> bool {
        let is_new = self.failing_since.is_none();
        self.failing_since.get_or_insert_with(Instant::now);
        is_new
    }

    /// Writes down everything if a job came or went, or enough time has passed; the counters and
    /// every job are of the same instant, so that a gap can be booked from them. A turn that time alone
    /// asks for is the last one for a while, and pauses no longer than an urgent one.
    pub(super) fn save_if_due(&mut self, station: &Station, is_turn_due: bool) {
        let jobs = job_marks(station);
        let is_due = self.saved.as_ref().is_none_or(|saved| {
            let is_behind = self.failing_since.is_some() || saved.marks != marks(station);
            let pause = if is_behind || is_turn_due { LEAST_PAUSE } else { LONG_PAUSE };
            saved.jobs != jobs || saved.at.elapsed() >= pause.max(saved.took * TIME_SHARE)
        });
        if is_due {
            self.save(station);
        }
        let n_known = station.baselines().0.n_known();
        if self.baseline_saved.0.elapsed() >= BASELINE_PAUSE || n_known > self.baseline_saved.2 {
            self.save_baselines(station);
        }
    }

    /// Writes down the learned idle power, where there is more of it.
    pub(super) fn save_baselines(&mut self, station: &Station) {
        let (baselines, n_learned) = station.baselines();
        if n_learned == self.baseline_saved.1 {
            return;
        }
        let path = self.dir.join(BASELINE);
        let saved = serde_json::to_vec(baselines)
            .map_err(io::Error::from)
            .and_then(|json| replace_durably(&path, &json));
        if let Err(e) = saved {
            log::warn!("cannot keep the learned idle power in {}: {e}", path.display());
        }
        self.baseline_saved = (Instant::now(), n_learned, baselines.n_known());
    }

    /// Writes down everything; says once when it cannot.
    pub(super) fn save(&mut self, station: &Station) {
        let start = Instant::now();
        self.seq += 1;
        match self.try_save(station) {
            Err(e) if self.fail() => {
                let dir = self.dir.display();
                log::error!("cannot keep state in {dir}: {e}; a restart would lose running jobs");
            }
            Err(_) => {}
            Ok(()) => self.failing_since = None,
        }
        let (jobs, marks) = (job_marks(station), marks(station));
        self.saved = Some(Saved { at: Instant::now(), took: start.elapsed(), jobs, marks });
    }

    fn try_save(&self, station: &Station) -> io::Result<()> {
        let Some(last) = station.sampler().last_sample() else { return Ok(()) };
        let jobs = station.jobs().values().collect();
        let (boot_id, books) = (self.boot_id.as_str(), station.books());
        let sent_back = station.sent_back();
        let running = RunningRef { boot_id, seq: self.seq, last, jobs, books, sent_back };
        replace_durably(&self.dir.join("jobs").join(RUNNING), &serde_json::to_vec(&running)?)
    }

    /// Writes down an ended job; the next save must be without it. Says once when it cannot: it is to
    /// be tried again.
    pub(super) fn save_ended(&mut self, ended: &mut Ended) {
        ended.seq = self.seq + 1;
        let saved = serde_json::to_vec(ended)
            .map_err(io::Error::from)
            .and_then(|json| replace_durably(&self.ended_file(&ended.job), &json));
        let Err(e) = saved else {
            let before = ended.kept_as.replace(ended.job.restart);
            if let Some(before) = before.filter(|before| *before != ended.job.restart) {
                let _ = fs::remove_file(self.run_file(ended.job.facts.job_id, before));
            }
            return;
        };
        if self.fail() {
            log::error!("job {}: its end is not kept yet: {e}", ended.job.facts.job_id);
        }
    }

    /// Writes down a line of the node and says where; the next save must be without it.
    pub(super) fn save_line(&mut self, line: &NodeRecord) -> PathBuf {
        let name = format!("node-{}.{LINE}", line.start.format("%Y%m%dT%H%M%S%.3f"));
        let path = self.dir.join("jobs").join(name);
        let kept = KeptLine { seq: self.seq + 1, record: line.clone() };
        let saved = serde_json::to_vec(&kept)
            .map_err(io::Error::from)
            .and_then(|json| replace_durably(&path, &json));
        if let Err(e) = saved
            && self.fail()
        {
            log::error!("the node's line of {} is not kept yet: {e}", line.start);
        }
        path
    }

    /// Lines of the node that wait for the ledger, with their files, oldest first.
    pub(super) fn kept_lines(&self) -> Vec<(NodeRecord, PathBuf)> {
        let lines = self.files(LINE).into_iter();
        lines.filter_map(|path| Some((read::<KeptLine>(&path)?.record, path))).collect()
    }

    /// The file of an ended job, until its record is in the ledger.
    pub(super) fn ended_file(&self, job: &Job) -> PathBuf {
        self.run_file(job.facts.job_id, job.restart)
    }

    fn run_file(&self, job_id: u32, restart: u32) -> PathBuf {
        self.dir.join("jobs").join(format!("{job_id}.{restart}.json"))
    }

    /// Takes up what an earlier life left.
    pub(super) fn restore(&mut self, station: &mut Station) {
        // What was not finished when we died.
        for unfinished in self.files("tmp") {
            let _ = fs::remove_file(unfinished);
        }
        if let Some(baselines) = read(&self.dir.join(BASELINE)) {
            station.restore_baselines(baselines);
        }
        let running = read::<Running>(&self.dir.join("jobs").join(RUNNING));
        self.seq = running.as_ref().map_or(u64::MAX, |r| r.seq);
        let highest = self.drop_what_is_ahead();
        self.restore_ended(station);
        let Some(running) = running else {
            self.seq = highest;
            return;
        };
        let run = |job: &Job| (job.facts.job_id, job.restart);
        let whole = station.ended().iter().filter(|ended| !ended.is_end_only);
        let ended: HashSet<_> = whole.map(|ended| run(&ended.job)).collect();
        let mut jobs = running.jobs;
        jobs.retain(|job| !ended.contains(&run(job)));
        // An end without a start, which was counted as that of a run that goes on.
        jobs.iter().for_each(|job| station.count_ends_before(job.facts.job_id, job.restart));
        station.restore_books(running.books);
        station.restore_sent_back(running.sent_back);
        if running.boot_id == self.boot_id {
            restore_running(station, &running.last, jobs);
            return;
        }
        // Another boot: they went down with the node.
        station.close_line();
        let lost = |job| Ended::new(job, None, false);
        station.ended_mut().extend(jobs.into_iter().map(lost));
    }

    /// Removes ended jobs and lines that the running jobs and books, saved before, still hold; returns
    /// the highest number of the others.
    fn drop_what_is_ahead(&self) -> u64 {
        let mut highest = 0;
        let ended = self.files("json").into_iter().map(|p| (read::<Ended>(&p).map(|e| e.seq), p));
        let lines = self.files(LINE).into_iter().map(|p| (read::<KeptLine>(&p).map(|l| l.seq), p));
        for (seq, path) in ended.chain(lines) {
            if seq.is_some_and(|seq| seq > self.seq) {
                log::info!("{} is ahead of the running jobs; it is made again", path.display());
                let _ = fs::remove_file(&path);
            } else {
                highest = highest.max(seq.unwrap_or(0));
            }
        }
        highest
    }

    fn restore_ended(&self, station: &mut Station) {
        for mut ended in self.files("json").iter().filter_map(|path| read::<Ended>(path)) {
            ended.kept_as = Some(ended.job.restart);
            station.ended_mut().push(ended);
        }
    }

    /// Files of what ended, by their ending, in order.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.dir.join("jobs")) else { return Vec::new() };
        let is_wanted = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == ending) && !path.ends_with(RUNNING)
        };
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|e| e.path()).filter(is_wanted).collect();
        files.sort();
        files
    }
}

/// Goes on where an earlier life of the same boot ended: the gap is booked from the counters.
fn restore_running(station: &mut Station, last: &LastSample, jobs: Vec<Job>) {
    if !jobs.is_empty() {
        log::info!("{} running jobs taken up", jobs.len());
    }
    let cgroupfs = station.config().path.cgroupfs.clone();
    let (gone, alive): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| is_gone(job, &cgroupfs));
    station.resume(last);
    for mut job in alive {
        let warning = "ct-noded was restarted; the gap is booked from the counters";
        job.warnings.insert(warning.to_owned());
        if job.tracked && job.settings.epoch_by == EpochBy::Pattern {
            job.output_is_lost();
        }
        station.restore(job);
    }
    for job in gone {
        station.restore_gone(job);
    }
    station.sample();
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

fn job_marks(station: &Station) -> Vec<JobMark> {
    let mark = |job: &Job| (job.facts.job_id, job.restart, !job.stepd_pids.is_empty());
    station.jobs().values().map(mark).collect()
}

/// A number that rises with what is known of the jobs beside their energy: steps, cgroups, epochs,
/// logs, warnings, runs that were sent back.
fn marks(station: &Station) -> usize {
    let of_job = |job: &Job| {
        let states = [job.cgroup.is_some(), job.is_log_open(), job.has_batch_step];
        let epochs = 2 * job.epochs().len() + usize::from(job.is_epoch_running());
        let n_states = states.into_iter().filter(|is_so| *is_so).count();
        job.stepd_pids.len() + job.warnings.len() + epochs + n_states
    };
    station.jobs().values().map(of_job).sum::<usize>() + station.sent_back().len()
}

/// The same as [`replace`], and after a crash of the machine there is the old one or the new one.
fn replace_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, |file| file.write_all(bytes).and_then(|()| file.sync_data()))
}

/// Replaces a file in one step; a reader sees the old one or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, |file| file.write_all(bytes))
}

fn replace_by(path: &Path, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    let replaced = write(&mut file).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // On a full file system it would take the room of others.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

#[cfg(test)]
mod tests;
