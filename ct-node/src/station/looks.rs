//! Samples that are due while nobody waits for what they say: looked at in time, and split together.
//!
//! Most of what a wake-up costs is code that is not in the caches any more: to split ten samples in a
//! row costs little more than to split one. What is read, and when, is the same.

use std::time::{Duration, Instant};

use ct_core::job::Job;
use ct_core::sample::Moment;
use ct_core::sampler::{Look, now};

use super::Station;
use super::activity::CpuTimes;

/// Longest time in which looks are only kept, with what wake-ups may be late; a daemon that is killed
/// meanwhile books it as a gap.
const HOLD: Duration = Duration::from_millis(10_500);
/// Age from which a job is left alone: much is found out about one that has just begun.
const CALM: Duration = Duration::from_secs(10);
/// Most looks that are kept.
pub(super) const MOST_LOOKS: usize = 32;

/// What there was to read at one instant.
#[derive(Debug)]
pub(super) struct NodeLook {
    meters: Look,
    times: CpuTimes,
}

impl Station {
    /// A sample is due: it is made, or only looked at and kept. Returns whether all are made.
    pub fn tick(&mut self) -> bool {
        if self.calm_for().is_zero() {
            self.sample();
            return true;
        }
        self.hold()
    }

    /// While it is calm and nothing happens but that time passes, up to `until`: looks where it is time
    /// to, and says how long it is until the next look; nothing where something is to be seen to.
    pub fn hold_on(&mut self, until: Instant) -> Option<Duration> {
        if Instant::now() >= until {
            return None;
        }
        let wait = self.next_sample_in();
        if !wait.is_zero() {
            return Some(wait);
        }
        if self.hold() {
            return None;
        }
        self.looked_at().map(|at| self.next_sample_after(&at))
    }

    /// Looks, and keeps that, unless something in it is to be seen to at once.
    fn hold(&mut self) -> bool {
        let look = self.look();
        let is_whole = look.meters.is_whole() && look.times.is_whole();
        self.looks.push(look);
        if is_whole && self.looks.len() < MOST_LOOKS {
            return false;
        }
        self.take_looks();
        true
    }

    /// Reads meters and control groups.
    pub(super) fn look(&mut self) -> NodeLook {
        NodeLook { meters: self.sampler.look(), times: self.look_at_activity() }
    }

    /// When meters were last read.
    pub(super) fn looked_at(&self) -> Option<Moment> {
        self.looks.last().map(|look| look.meters.at).or(self.sampler.last_at())
    }

    /// Makes the samples of all looks that were kept.
    pub(super) fn take_looks(&mut self) {
        for look in std::mem::take(&mut self.looks) {
            self.take(look);
        }
    }

    /// Makes a sample of a look: charges the jobs.
    pub(super) fn take(&mut self, look: NodeLook) {
        if let Some(interval) = self.sampler.take(look.meters) {
            self.charge(&interval, look.times);
            self.gone.clear();
        }
        for job in self.jobs.values_mut() {
            let room = super::MOST_WARNINGS.saturating_sub(job.warnings.len());
            job.warnings.extend(self.sampler.failures().iter().take(room).cloned());
        }
    }

    /// How long nothing will depend on what the next samples say, if nothing happens; the last one that
    /// was made is never long ago.
    pub fn calm_for(&self) -> Duration {
        let is_searching = self.sampler.is_searching() || self.is_looking_for_gpus();
        let is_calm = |job: &Job| is_alone(job) && job.elapsed() >= CALM;
        let has_only_calm_jobs = !self.jobs.is_empty() && self.jobs.values().all(is_calm);
        // Whether idle power may be learned is known at the instant only.
        let is_known = self.unseen.is_empty() && !is_searching;
        // What ended is soon to be written, but for a command's own station, which keeps it.
        let is_written = self.is_local || (self.ended.is_empty() && self.books.lines.is_empty());
        if !(is_known && is_written && has_only_calm_jobs && self.accounts.is_none()) {
            return Duration::ZERO;
        }
        let age = self.sampled_at.map_or(HOLD, |last| now().since(&last));
        // By the next look it would be too old, where looks are far apart.
        HOLD.saturating_sub(age).saturating_sub(self.interval())
    }
}

/// Whether nobody but its owner, on request, looks at a job: no other node, no budget, no question.
pub(super) fn is_alone(job: &Job) -> bool {
    let is_on_one_node = job.facts.n_nodes.unwrap_or(1) <= 1;
    is_on_one_node && job.settings.budget.is_none() && job.waits_since().is_none()
}
