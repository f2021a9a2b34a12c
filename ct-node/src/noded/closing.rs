//! From a job's end to its record: how it ended is asked, then the record is written.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ct_core::job::Job;
use ct_core::record::{EndReason, NodeRecord};
use ct_core::source::cgroup;

use super::book::{Book, Entry, Run};
use super::slurmctld::{Asker, Fate, Question, Told};
use super::state::StateDir;
use super::which_run::{Which, which};
use crate::log_files::LogFiles;
use crate::station::{Ended, Station, is_alive};

/// How long the controller may take to say how a job ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a job's cgroup and slurmstepds may be gone before slurmctld is asked about it.
const GONE_FOR: Duration = Duration::from_secs(30);
/// Longest time between two questions about one of which slurmctld says that it runs: an allocation
/// without a step.
const MOST_PAUSE: Duration = Duration::from_secs(600);
/// How long they may be gone before the job is closed without slurmctld's word.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long slurmctld may say that a job is still being ended: epilogs take their time.
const MOST_COMPLETING: Duration = Duration::from_secs(600);
/// How long a slurmctld that is away is waited for: what it has not heard of it cannot have forgotten.
const MOST_AWAY: Duration = Duration::from_secs(3600);
/// Time between two questions then.
const AWAY_PAUSE: Duration = Duration::from_secs(10);
/// Time between two questions where the client fails.
const FAILED_PAUSE: Duration = Duration::from_secs(3);
/// Part of a second that each node of a job adds to the time over which its nodes ask.
const SPREAD_PER_NODE: Duration = Duration::from_millis(5);

/// A job whose end is asked for: since when, and when slurmctld last said anything of it.
struct Waiting {
    since: Instant,
    heard: Instant,
}

/// Jobs whose end is being found out.
pub(super) struct Closing {
    asker: Asker,
    book: Book,
    since: HashMap<(u32, u32), Waiting>,
    /// What was answered of jobs whose end could not be kept yet.
    answered: HashMap<(u32, u32), Option<(EndReason, Told)>>,
    /// Lines of the node that could not be kept yet.
    lines: Vec<NodeRecord>,
    gone_since: HashMap<u32, Instant>,
    asked_at: HashMap<u32, Instant>,
}

impl Closing {
    pub(super) fn new(station: &mut Station, wake: UnixStream) -> std::io::Result<Self> {
        let asker = Asker::spawn(wake, station.config().ledger.cluster.as_deref())?;
        station.name_cluster_by(asker.cluster());
        Ok(Self {
            asker,
            book: Book::open(station.config().ledger.dir.clone(), station.node().to_owned())?,
            since: HashMap::new(),
            answered: HashMap::new(),
            lines: Vec::new(),
            gone_since: HashMap::new(),
            asked_at: HashMap::new(),
        })
    }

    /// Takes up newly ended jobs, lines of the node, answers, and jobs that nobody answered for.
    pub(super) fn turn(
        &mut self,
        station: &mut Station,
        logs: &mut LogFiles,
        state: &mut StateDir,
    ) {
        let waiting: HashSet<_> = station.ended().iter().map(|ended| key(&ended.job)).collect();
        // A run that begins may show that the end before it was another's: see `count_ends_before`.
        self.since.retain(|key, _| waiting.contains(key));
        self.answered.retain(|key, _| waiting.contains(key));
        self.take_up(station, state);
        if !state.is_awaited() {
            for (key, told) in std::mem::take(&mut self.answered) {
                self.close(key, told, station, logs, state);
            }
        }
        let answers: Vec<_> = self.asker.answers().collect();
        for answer in answers {
            let key = (answer.job_id, answer.restart);
            if self.since.contains_key(&key) {
                self.hear_of_ended(key, answer.fate, station, logs, state);
            } else {
                self.hear_of_running(key, answer.fate, station, state);
            }
        }
        let is_late = |waiting: &Waiting| waiting.heard.elapsed() > PATIENCE;
        let unanswered = self.since.iter().filter(|(key, _)| !self.answered.contains_key(key));
        let late: Vec<_> = unanswered.filter(|(_, w)| is_late(w)).map(|(key, _)| *key).collect();
        for key in late {
            self.close(key, None, station, logs, state);
        }
    }

    /// Keeps what ended in files of its own, and only then goes on with it: what cannot be kept waits.
    fn take_up(&mut self, station: &mut Station, state: &mut StateDir) {
        let is_new = |ended: &Ended| !ended.is_kept() || !self.since.contains_key(&key(&ended.job));
        let n_new = station.ended().iter().filter(|e| is_new(e)).count();
        self.lines.append(station.lines_mut());
        if n_new == 0 && self.lines.is_empty() {
            return;
        }
        for ended in station.ended_mut().iter_mut().filter(|e| is_new(e)) {
            state.save_ended(ended);
        }
        let files: Vec<_> = self.lines.iter().map(|line| state.save_line(line)).collect();
        state.save(station);
        if !state.is_awaited() {
            for (line, state_file) in std::mem::take(&mut self.lines).into_iter().zip(files) {
                self.enter_line(line, state_file);
            }
        }
        for ended in station.ended() {
            let key = key(&ended.job);
            if self.since.contains_key(&key) {
                continue;
            }
            let now = Instant::now();
            self.since.insert(key, Waiting { since: now, heard: now });
            let after = first_question(&ended.job);
            self.asker.ask(Question { job_id: key.0, restart: key.1, after });
        }
    }

    fn enter_line(&self, line: NodeRecord, state_file: PathBuf) {
        match line.to_line() {
            // A line is within one hour, but its end may be the stroke of the next month.
            Ok(text) => {
                let month_of = line.start;
                self.book.enter(Entry { line: text, month_of, state_file, unless_run: None });
            }
            Err(e) => log::error!("line of the node not written: {e}"),
        }
    }

    /// Lines of the node that an earlier life could not write.
    pub(super) fn enter_kept(&self, state: &StateDir) {
        for (line, state_file) in state.kept_lines() {
            self.enter_line(line, state_file);
        }
    }

    /// Waits until what was entered is in the ledger, but no longer than this.
    pub(super) fn finish(&self, patience: Duration) {
        self.book.flush(patience);
    }

    /// Whether some job waits for its record.
    pub(super) fn is_busy(&self) -> bool {
        !self.since.is_empty() || !self.lines.is_empty()
    }

    /// Finds out of which run an end is that came without a start, before it is closed.
    fn hear_of_ended(
        &mut self,
        key: (u32, u32),
        fate: Fate,
        station: &mut Station,
        logs: &mut LogFiles,
        state: &mut StateDir,
    ) {
        let is_it = |ended: &&Ended| self::key(&ended.job) == key && ended.is_end_only;
        let Some(ended) = station.ended().iter().find(is_it) else {
            self.hear(key, fate, station, logs, state);
            return;
        };
        // Ours may be the host's name, and the hook's is slurmd's.
        let node = ended.job.facts.node.as_deref().unwrap_or(station.node());
        match which(key.1, ended.job.last.wall, node, fate) {
            Which::Counted(fate) => self.hear(key, fate, station, logs, state),
            Which::Before(told) if !station.has_ended(key.0, key.1 - 1) => {
                let run = self.count_anew(key, station, state);
                self.close(run, Some((EndReason::Requeued, told)), station, logs, state);
            }
            // That run was closed without a hook's word, and this is the hook.
            Which::Before(_) | Which::Known => self.drop_ended(key, station, state),
        }
    }

    /// An end is of the run before the one that its hook counted; which that is.
    fn count_anew(
        &mut self,
        key: (u32, u32),
        station: &mut Station,
        state: &mut StateDir,
    ) -> (u32, u32) {
        let run = (key.0, key.1 - 1);
        let is_it = |ended: &&mut Ended| self::key(&ended.job) == key;
        if let Some(ended) = station.ended_mut().iter_mut().find(is_it) {
            ended.job.restart = run.1;
            state.save_ended(ended);
        }
        state.save(station);
        run
    }

    fn hear(
        &mut self,
        key: (u32, u32),
        fate: Fate,
        station: &mut Station,
        logs: &mut LogFiles,
        state: &StateDir,
    ) {
        match fate {
            Fate::Ended(reason, told) => {
                self.close(key, Some((reason, told)), station, logs, state);
            }
            Fate::Unknown | Fate::NeverWas | Fate::NoAnswer => {
                self.close(key, None, station, logs, state);
            }
            Fate::Failed => {
                self.asker.ask(Question { job_id: key.0, restart: key.1, after: FAILED_PAUSE });
            }
            Fate::Away => {
                // It is for all of them, whose questions wait behind this one's.
                let now = Instant::now();
                for waiting in self.since.values_mut().filter(|w| w.since.elapsed() < MOST_AWAY) {
                    waiting.heard = now;
                }
                self.asker.ask(Question { job_id: key.0, restart: key.1, after: AWAY_PAUSE });
            }
            Fate::Alive(_) | Fate::Ending => {
                let Some(closing) = self.since.get_mut(&key) else { return };
                let waited = closing.since.elapsed();
                if waited < MOST_COMPLETING {
                    closing.heard = Instant::now();
                }
                let after = waited.clamp(Duration::from_millis(250), Duration::from_secs(5));
                self.asker.ask(Question { job_id: key.0, restart: key.1, after });
            }
        }
    }

    fn close(
        &mut self,
        key: (u32, u32),
        told: Option<(EndReason, Told)>,
        station: &mut Station,
        logs: &mut LogFiles,
        state: &StateDir,
    ) {
        if state.is_awaited() {
            // The last save has it as running still; a record now would be one of two.
            self.answered.insert(key, told);
            return;
        }
        self.since.remove(&key);
        let Some(index) = station.ended_mut().iter().position(|e| self::key(&e.job) == key) else {
            return;
        };
        let mut ended = station.ended_mut().remove(index);
        if ended.is_end_only && told.is_none() && station.has_run_of(key.0) {
            // Nobody says that there was another run than the one that ended before.
            let _ = std::fs::remove_file(state.ended_file(&ended.job));
            return;
        }
        // An earlier life of ours may have seen its end.
        station.note_run(key.0, key.1);
        let reason = match told {
            Some((reason, told)) => {
                if let Some(start) = told.start.filter(|_| ended.is_end_only) {
                    ended.job.began_at(start);
                }
                take_over(&mut ended.job, told);
                reason
            }
            None => without_word(&ended),
        };
        if reason == EndReason::Requeued {
            station.note_sent_back(key.0, key.1);
        }
        let record = ended.job.record(reason, station.context());
        match record.to_line() {
            Ok(line) => {
                logs.flush(&mut ended.job);
                logs.finish(key.0, line.clone());
                let state_file = state.ended_file(&ended.job);
                // Another life of ours may have closed that run before its hook's word came.
                let unless_run = ended.is_end_only.then(|| Run {
                    job_id: key.0,
                    restart: key.1,
                    closed_within: closed_within(record.start, record.end),
                });
                self.book.enter(Entry { line, month_of: record.end, state_file, unless_run });
                log::info!(
                    "job {}: {} after {} s, {} J",
                    key.0,
                    reason.as_str(),
                    record.elapsed_s,
                    record.energy_j.total()
                );
            }
            Err(e) => log::error!("job {}: record not written: {e}", key.0),
        }
    }

    /// Forgets a job that ended before, and of which there is a record.
    fn drop_ended(&mut self, key: (u32, u32), station: &mut Station, state: &StateDir) {
        self.since.remove(&key);
        if let Some(index) = station.ended_mut().iter().position(|e| self::key(&e.job) == key) {
            let ended = station.ended_mut().remove(index);
            let _ = std::fs::remove_file(state.ended_file(&ended.job));
        }
    }

    /// Looks for jobs whose cgroup and slurmstepds are gone, and asks whether they still run.
    pub(super) fn look_for_lost(&mut self, station: &Station) {
        let cgroupfs = &station.config().path.cgroupfs;
        for (job_id, job) in station.jobs() {
            if !is_gone(job, cgroupfs) {
                self.gone_since.remove(job_id);
                self.asked_at.remove(job_id);
                continue;
            }
            let since = *self.gone_since.entry(*job_id).or_insert_with(Instant::now);
            let asked = self.asked_at.get(job_id).map_or(since, |at| *at);
            // As long again as it has been gone when it was asked about last.
            let pause = asked.duration_since(since).clamp(GONE_FOR, MOST_PAUSE);
            if asked.elapsed() >= pause {
                self.asked_at.insert(*job_id, Instant::now());
                let (job_id, restart) = key(job);
                self.asker.ask(Question { job_id, restart, after: Duration::ZERO });
            }
        }
        self.gone_since.retain(|job_id, _| station.jobs().contains_key(job_id));
        self.asked_at.retain(|job_id, _| station.jobs().contains_key(job_id));
    }

    /// A running job without processes: between two steps of an allocation, or never told to end.
    ///
    /// That slurmctld knows no such job may mean that it hides it from us (`PrivateData=jobs`), and
    /// no answer means nothing: then only time tells.
    fn hear_of_running(
        &mut self,
        (job_id, restart): (u32, u32),
        fate: Fate,
        station: &mut Station,
        state: &mut StateDir,
    ) {
        let is_this_run = station.jobs().get(&job_id).is_some_and(|job| job.restart == restart);
        let gone_for = self.gone_since.get(&job_id).map_or(Duration::ZERO, Instant::elapsed);
        let (is_over, end) = match fate {
            Fate::Ended(_, told) => (true, told.end),
            Fate::Alive(_) | Fate::Ending => (false, None),
            _ => (gone_for >= GIVEN_UP_AFTER, None),
        };
        if is_this_run && is_over {
            log::warn!("job {job_id}: its end was not told; closed");
            station.job_end(job_id, None, false);
            if let Some(ended) = station.ended_mut().last_mut() {
                ended.job.warnings.insert(not_told(end));
            }
            // The next save forgets that it ran.
            self.take_up(station, state);
        }
    }
}

fn key(job: &Job) -> (u32, u32) {
    (job.facts.job_id, job.restart)
}

/// The nodes of a large job do not ask at once.
fn first_question(job: &Job) -> Duration {
    let n_nodes = job.facts.n_nodes.unwrap_or(1);
    let phase = job.start.wall.timestamp_subsec_micros() % 1000;
    Duration::from_millis(200) + SPREAD_PER_NODE * n_nodes * phase / 1000
}

fn take_over(job: &mut Job, told: Told) {
    let facts = &mut job.facts;
    facts.user = told.user.or(facts.user.take());
    facts.account = told.account.or(facts.account.take());
    facts.partition = told.partition.or(facts.partition.take());
    facts.qos = told.qos.or(facts.qos.take());
    facts.job_name = told.job_name.or(facts.job_name.take());
}

/// What a record says where no hook told of the job's end.
fn not_told(end: Option<DateTime<Utc>>) -> String {
    let end = end.map(|end| end.to_rfc3339_opts(SecondsFormat::Secs, true));
    let by_slurm = end.map(|end| format!(", by Slurm at {end}")).unwrap_or_default();
    format!("its end was not told{by_slurm}: it was charged until it was found gone")
}

/// When an earlier life may have closed a run: as early as it began, or was last seen by a clock that
/// was off by a day; as late as now, when it was found gone.
fn closed_within(start: DateTime<Utc>, end: DateTime<Utc>) -> RangeInclusive<DateTime<Utc>> {
    start - TimeDelta::days(1)..=end.max(Utc::now()) + TimeDelta::days(1)
}

/// How the job ended as far as this node can tell by itself.
fn without_word(ended: &Ended) -> EndReason {
    match ended.wait_status {
        _ if !ended.was_told => EndReason::Lost,
        // A cancelled job has wait status 0 in the epilog, too: only a failure is sure.
        Some(status) if status & 0xff == 0 && status != 0 => EndReason::Failed,
        _ => EndReason::Unknown,
    }
}

/// Whether neither a process nor a cgroup of the job is left on this node.
pub(super) fn is_gone(job: &Job, cgroupfs: &Path) -> bool {
    let has_cgroup = job.cgroup.as_ref().is_some_and(|c| cgroup::exists(c, cgroupfs));
    !has_cgroup && !job.stepd_pids.iter().any(|pid| is_alive(*pid))
}

#[cfg(test)]
mod tests;
