//! What hooks told while ct-noded stood still: stopped by a signal, frozen, starved.
//!
//! Hooks do not wait for one that does; the first of them leaves a note. What they told meanwhile
//! lies in the socket and is taken up late, and the records say so.

use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use super::run_dir::RunDir;
use crate::station::Station;

/// How long after the note was seen requests are still those that lay in the socket.
const LATE_FOR: Duration = Duration::from_secs(1);

/// Whether requests are late, and what is said of them.
#[derive(Default)]
pub(super) struct Late(Option<(Instant, String)>);

impl Late {
    /// Looks for a hook's note, before anything is answered.
    pub(super) fn look(&mut self, run_dir: &RunDir) {
        if let Some(since) = run_dir.silent_since() {
            self.note(since);
        }
    }

    fn note(&mut self, since: SystemTime) {
        let text = format!(
            "ct-noded stood still from {} to {}: what was told meanwhile was taken up late",
            second(since.into()),
            second(Utc::now())
        );
        if self.0.is_none() {
            log::warn!("{text}");
        }
        self.0 = Some((Instant::now(), text));
    }

    /// Whether something that was told meanwhile may still lie in the socket.
    pub(super) fn is_recent(&self) -> bool {
        self.0.as_ref().is_some_and(|(seen, _)| seen.elapsed() < 2 * LATE_FOR)
    }

    /// Says it in the records of all jobs that there are by now.
    pub(super) fn mark(&mut self, station: &mut Station) {
        let Some((seen, text)) = &self.0 else { return };
        if seen.elapsed() > LATE_FOR {
            self.0 = None;
            return;
        }
        let ended: Vec<_> = station.ended_mut().iter_mut().map(|ended| &mut ended.job).collect();
        for job in ended {
            warn(&mut job.warnings, text);
        }
        for job in station.jobs_mut() {
            warn(&mut job.warnings, text);
        }
    }
}

/// Once for each time that it stood still: the text's end differs from look to look.
fn warn(warnings: &mut std::collections::BTreeSet<String>, text: &str) {
    let begin = text.split(" to ").next().unwrap_or(text);
    if !warnings.iter().any(|warning| warning.starts_with(begin)) {
        warnings.insert(text.to_owned());
    }
}

fn second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ct_core::config::Config;
    use ct_core::protocol::JobFacts;
    use ct_core::sampler::Sampler;

    use super::*;

    #[test]
    fn what_is_told_to_one_that_stood_still_is_marked_as_late_once() {
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        let mut station = Station::new(Config::default(), "n1".to_owned(), sampler);
        let mut late = Late::default();
        let since = SystemTime::now() - Duration::from_secs(70);
        let mut warnings = |late: &mut Late, job_id: u32| {
            station.job_start(JobFacts { job_id, ..JobFacts::default() });
            late.mark(&mut station);
            let job = &station.jobs()[&job_id];
            job.warnings.iter().filter(|w| w.starts_with("ct-noded stood still from ")).count()
        };
        assert_eq!(warnings(&mut late, 1), 0);
        late.note(since);
        assert_eq!(warnings(&mut late, 1), 1);
        late.note(since);
        assert_eq!(warnings(&mut late, 1), 1);
        // Long after, a job that starts is as any other.
        late.0.as_mut().expect("a note").0 -= Duration::from_secs(2);
        assert_eq!(warnings(&mut late, 2), 0);
    }
}
