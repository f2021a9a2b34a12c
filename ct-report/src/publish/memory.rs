//! What was written before, so that the next run need not ask Slurm about it.
//!
//! A file of lines of JSON, appended to as comments are written: a run that is ended goes on where it
//! was. Slurm's own comments are the truth; without the file it is only asked more often.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::job::{Job, JobKey};
use crate::diagnostic::Hint;

/// Jobs that ended so long ago are forgotten.
const KEPT_FOR: TimeDelta = TimeDelta::days(60);

/// Lines that are forgotten before the file is written anew.
const WASTE_MAX: usize = 10_000;

/// A job's comment.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    cluster: String,
    job_id: u32,
    end: DateTime<Utc>,
    comment: String,
}

/// The comments that were written.
#[derive(Debug)]
pub(crate) struct Memory {
    known: HashMap<JobKey, (DateTime<Utc>, String)>,
    file: Option<File>,
    /// Keeps other runs out.
    _lock: Option<File>,
}

impl Memory {
    /// Reads what was written, without a lock and not to be added to.
    ///
    /// # Errors
    ///
    /// A file that is there and cannot be read.
    pub(crate) fn look(path: &Path, now: DateTime<Utc>) -> Result<Self> {
        let (known, _) = read(path, now)?;
        Ok(Self { known, file: None, _lock: None })
    }

    /// Reads what was written, and opens it to be added to.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or written, or that another run has.
    pub(crate) fn open(path: &Path, now: DateTime<Utc>) -> Result<Self> {
        let named = || format!("cannot keep what was published in {}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(named)?;
        }
        let lock = File::create(path.with_extension("lock")).with_context(named)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            anyhow!(error)
                .context(named())
                .context(Hint("another ct-report publish may be at work: wait for it"))
        })?;
        let (known, n_waste) = read(path, now)?;
        if n_waste > WASTE_MAX {
            rewrite(path, &known).with_context(named)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(named)?;
        Ok(Self { known, file: Some(file), _lock: Some(lock) })
    }

    /// Whether a job has this comment.
    pub(crate) fn has(&self, job: &Job, text: &str) -> bool {
        let key = (job.cluster.clone(), job.job_id);
        self.known.get(&key).is_some_and(|(_, known)| known == text)
    }

    /// Notes that a job has this comment now.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(crate) fn note(&mut self, job: &Job, text: &str) -> Result<()> {
        let key = (job.cluster.clone(), job.job_id);
        let line = line(&key, job.end, text)?;
        if let Some(file) = &mut self.file {
            file.write_all(line.as_bytes()).context("cannot note what was published")?;
        }
        self.known.insert(key, (job.end, text.to_owned()));
        Ok(())
    }
}

fn line((cluster, job_id): &JobKey, end: DateTime<Utc>, text: &str) -> io::Result<String> {
    let (cluster, comment) = (cluster.clone(), text.to_owned());
    let line = serde_json::to_string(&Line { cluster, job_id: *job_id, end, comment })?;
    Ok(line + "\n")
}

/// What is known, and how many lines of the file are of no use.
#[expect(clippy::type_complexity, reason = "the map is the memory's own")]
fn read(
    path: &Path,
    now: DateTime<Utc>,
) -> Result<(HashMap<JobKey, (DateTime<Utc>, String)>, usize)> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(anyhow!(error).context(format!("cannot read {}", path.display())));
        }
    };
    let (mut known, mut n_lines) = (HashMap::new(), 0);
    for line in text.lines() {
        n_lines += 1;
        // A torn line costs a question.
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        if line.end > now - KEPT_FOR {
            known.insert((line.cluster, line.job_id), (line.end, line.comment));
        }
    }
    let n_waste = n_lines - known.len();
    Ok((known, n_waste))
}

fn rewrite(path: &Path, known: &HashMap<JobKey, (DateTime<Utc>, String)>) -> io::Result<()> {
    let temporary: PathBuf = path.with_extension("tmp");
    let mut text = String::new();
    for (key, (end, comment)) in known {
        text.push_str(&line(key, *end, comment)?);
    }
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::record;
    use crate::publish::job::Jobs;
    use crate::query::Query;

    fn job() -> Job {
        let (query, mut jobs) = (Query::default(), Jobs::default());
        jobs.add(&(&record("n1")).into(), &query);
        jobs.ended(&query).remove(0)
    }

    #[test]
    fn what_was_written_is_known_to_the_next_run_and_forgotten_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/published.jsonl");
        let (job, text) = (job(), "carbontracker:v1 energy_j=1.000000");
        let now = job.end;
        let mut first = Memory::open(&path, now).unwrap();
        assert!(!first.has(&job, text));
        first.note(&job, text).unwrap();
        // A second one at the same time is refused; one that only looks is not.
        let error = format!("{:#}", Memory::open(&path, now).unwrap_err());
        assert!(error.starts_with("another ct-report publish may be at work"), "{error}");
        assert!(Memory::look(&path, now).unwrap().has(&job, text));
        drop(first);
        // A crash in the middle of a line.
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"cluster\":\"la").unwrap();
        let next = Memory::open(&path, now).unwrap();
        assert!(next.has(&job, text) && !next.has(&job, "another"));
        drop(next);
        let late = Memory::open(&path, now + KEPT_FOR).unwrap();
        assert!(!late.has(&job, text));
    }

    #[test]
    fn a_file_that_grew_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("published.jsonl");
        let job = job();
        let key = (job.cluster.clone(), job.job_id);
        let one = line(&key, job.end, "carbontracker:v1").unwrap();
        fs::write(&path, one.repeat(WASTE_MAX + 2)).unwrap();
        assert!(Memory::open(&path, job.end).unwrap().has(&job, "carbontracker:v1"));
        assert_eq!(fs::read_to_string(&path).unwrap(), one);
    }
}
