//! Whose a device was while it did not answer.
//!
//! Its counter went on, and what it counted is known with its next answer, all at once. By then some
//! of the jobs that held and used it have ended and others have come; so their weights are kept
//! interval by interval. What an ended job would have been charged is nobody's, and no neighbour's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::weights::{DeviceWeights, Weights};
use super::{Situation, weigh};

/// Weights of a device, summed over all intervals since it answered last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// Jobs that still run, by id.
    jobs: BTreeMap<u32, Part>,
    /// Jobs that have ended since.
    ended: Part,
    system: Part,
    nobody: Part,
    seconds: f64,
}

/// One bucket's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    /// Share held, times seconds.
    held: f64,
    /// Share used, times seconds of activity.
    used: f64,
    /// Seconds in which it was there at all.
    there: f64,
}

impl Part {
    fn add(&mut self, held: f64, used: f64, seconds: f64) {
        self.held += held;
        self.used += used;
        self.there += seconds;
    }
}

impl Backlog {
    /// Adds an interval; what the device drew in it does not count.
    pub fn add(&mut self, situation: &Situation, device: usize, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let DeviceWeights { held, used, activity } = weigh(situation, device);
        // Of a GPU nobody knows how busy it was: any time counts alike.
        let by = activity.map_or(seconds, |activity| activity.as_secs_f64());
        let (held, used) = (held.normal(), used.normal());
        for (job, (held, used)) in situation.jobs.iter().zip(held.jobs.iter().zip(&used.jobs)) {
            self.jobs.entry(job.job_id).or_default().add(held * seconds, used * by, seconds);
        }
        self.system.add(held.system * seconds, used.system * by, seconds);
        self.nobody.add(held.unallocated * seconds, used.unallocated * by, seconds);
        self.seconds += seconds;
    }

    /// A job ended: what it held and used until now is nobody else's.
    pub fn end(&mut self, job_id: u32) {
        if let Some(job) = self.jobs.remove(&job_id) {
            self.ended.add(job.held, job.used, job.there);
        }
    }

    /// The weights of all its intervals together.
    pub(super) fn weights(&self, situation: &Situation) -> DeviceWeights {
        let of = |part: fn(&Part) -> f64| Weights {
            jobs: situation
                .jobs
                .iter()
                .map(|j| self.jobs.get(&j.job_id).map_or(0.0, part))
                .collect(),
            system: part(&self.system),
            ended: part(&self.ended),
            unallocated: part(&self.nobody),
        };
        let (held, used) = (of(|part| part.held), of(|part| part.used));
        let used = if used.is_zero() { held.clone() } else { used };
        DeviceWeights { held, used, activity: None }
    }

    /// The part of the whole time in which a job was there, 0 to 1.
    pub(super) fn presence(&self, job_id: u32) -> f64 {
        let there = self.jobs.get(&job_id).map_or(0.0, |part| part.there);
        if self.seconds > 0.0 { (there / self.seconds).min(1.0) } else { 1.0 }
    }
}
