//! Jobs: submitting them, waiting for their end, and what scontrol says of them.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Cluster, Output, User};

/// The pause between two looks at a job.
const POLL: Duration = Duration::from_millis(50);

/// The states in which a job has yet to end.
const UNFINISHED: [&str; 9] = [
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
    "STOPPED",
];

/// The number by which sbatch names a job; for an array, that of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u32);

impl JobId {
    /// Takes the number, for instance from `$SLURM_JOB_ID`.
    pub const fn new(id: u32) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What `scontrol show job` says of a job, or of one task of an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobInfo {
    fields: BTreeMap<String, String>,
}

impl JobInfo {
    /// Takes a line of `scontrol show job --oneliner` apart. A word without `=` belongs to the
    /// value before it.
    fn parse(line: &str) -> Self {
        let mut fields = BTreeMap::<String, String>::new();
        let mut last = String::new();
        for word in line.split_whitespace() {
            if let Some((key, value)) = word.split_once('=') {
                key.clone_into(&mut last);
                fields.insert(last.clone(), value.to_owned());
            } else if let Some(value) = fields.get_mut(&last) {
                value.push(' ');
                value.push_str(word);
            }
        }
        Self { fields }
    }

    /// The value of a field, by scontrol's name for it; empty where there is none.
    pub fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    /// The state, as in `COMPLETED`, `FAILED`, `OUT_OF_MEMORY`.
    pub fn state(&self) -> &str {
        self.get("JobState")
    }

    fn has_ended(&self) -> bool {
        !UNFINISHED.contains(&self.state())
    }
}

impl Cluster {
    /// Submits a script from the user's home.
    ///
    /// # Errors
    ///
    /// Where sbatch refuses it; the error holds what it said. Use [`Cluster::command`] where a
    /// refusal is what the test is about.
    pub fn sbatch(&self, user: &User, script: &str) -> Result<JobId> {
        self.sbatch_with(user, &[], script)
    }

    /// As [`Cluster::sbatch`], with arguments for sbatch such as `--chdir=DIR`.
    ///
    /// # Errors
    ///
    /// As [`Cluster::sbatch`].
    pub fn sbatch_with(&self, user: &User, args: &[&str], script: &str) -> Result<JobId> {
        let command = self.command(user, "sbatch").args(&["--parsable"]).args(args);
        let output = command.stdin(script).run()?;
        let parse = || {
            ensure!(output.is_success(), "sbatch refused the job\n{output}");
            let id = output.stdout().split(';').next().unwrap_or_default();
            Ok(JobId(id.parse().with_context(|| format!("no job id\n{output}"))?))
        };
        self.note_failure(parse())
    }

    /// Runs `srun` with arguments, to its end.
    ///
    /// # Errors
    ///
    /// As [`ClusterCommand::run`](super::ClusterCommand::run); a failing step is no error.
    pub fn srun(&self, user: &User, args: &[&str]) -> Result<Output> {
        self.command(user, "srun").args(args).run()
    }

    /// Runs `salloc` with arguments, to its end; a command has to be among them.
    ///
    /// # Errors
    ///
    /// As [`Cluster::srun`].
    pub fn salloc(&self, user: &User, args: &[&str]) -> Result<Output> {
        self.command(user, "salloc").args(args).run()
    }

    /// Runs `scancel` as root.
    ///
    /// # Errors
    ///
    /// As [`Cluster::srun`].
    pub fn scancel(&self, args: &[&str]) -> Result<Output> {
        self.command(&User::root(), "scancel").args(args).run()
    }

    /// Runs `scontrol` as root.
    ///
    /// # Errors
    ///
    /// As [`Cluster::srun`].
    pub fn scontrol(&self, args: &[&str]) -> Result<Output> {
        self.command(&User::root(), "scontrol").args(args).run()
    }

    /// Runs `squeue` as root.
    ///
    /// # Errors
    ///
    /// As [`Cluster::srun`].
    pub fn squeue(&self, args: &[&str]) -> Result<Output> {
        self.command(&User::root(), "squeue").args(args).run()
    }

    /// What scontrol says of a job: one entry, or one for each task of an array that has been
    /// split off.
    ///
    /// # Errors
    ///
    /// Where scontrol does not know the job.
    pub fn job_info(&self, job: JobId) -> Result<Vec<JobInfo>> {
        let output = self.scontrol(&["--oneliner", "show", "job", &job.to_string()])?;
        ensure!(output.is_success(), "scontrol does not show job {job}\n{output}");
        Ok(output.stdout().lines().map(JobInfo::parse).collect())
    }

    /// All jobs that slurmctld still knows of.
    ///
    /// # Errors
    ///
    /// Where it does not answer.
    pub fn jobs(&self) -> Result<Vec<JobId>> {
        let output = self.scontrol(&["--oneliner", "show", "job"])?;
        ensure!(output.is_success(), "scontrol shows no jobs\n{output}");
        let jobs = output.stdout().lines().map(JobInfo::parse);
        Ok(jobs.filter_map(|job| job.get("JobId").parse().ok().map(JobId)).collect())
    }

    /// Waits until a job has ended and its nodes are free again, epilogs included.
    ///
    /// # Errors
    ///
    /// Where that takes longer than `timeout`.
    pub fn wait_for(&self, job: JobId, timeout: Duration) -> Result<JobInfo> {
        let mut tasks = self.wait_for_array(job, timeout)?;
        tasks.pop().with_context(|| format!("scontrol shows nothing of job {job}"))
    }

    /// Waits until all tasks of an array have ended; in the order of their indices.
    ///
    /// # Errors
    ///
    /// As [`Cluster::wait_for`].
    pub fn wait_for_array(&self, job: JobId, timeout: Duration) -> Result<Vec<JobInfo>> {
        let result = self.wait_while(job, timeout, |task| !task.has_ended());
        result.map(|mut tasks| {
            tasks.sort_by_key(|task| task.get("ArrayTaskId").parse::<u32>().unwrap_or(0));
            tasks
        })
    }

    /// Waits until a job is running; returns at once where it has already ended.
    ///
    /// # Errors
    ///
    /// Where that takes longer than `timeout`.
    pub fn wait_until_running(&self, job: JobId, timeout: Duration) -> Result<JobInfo> {
        let waits = |task: &JobInfo| ["PENDING", "CONFIGURING"].contains(&task.state());
        let mut tasks = self.wait_while(job, timeout, waits)?;
        tasks.pop().with_context(|| format!("scontrol shows nothing of job {job}"))
    }

    fn wait_while(
        &self,
        job: JobId,
        timeout: Duration,
        waits: impl Fn(&JobInfo) -> bool,
    ) -> Result<Vec<JobInfo>> {
        let end = Instant::now() + timeout;
        loop {
            let tasks = self.note_failure(self.job_info(job))?;
            if !tasks.iter().any(&waits) {
                return Ok(tasks);
            }
            if Instant::now() >= end {
                let late = || bail!("job {job} is not there after {timeout:?}: {tasks:#?}");
                return self.note_failure(late());
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_with_blanks_is_kept_whole() {
        let info = JobInfo::parse("JobId=7 JobName=a b JobState=RUNNING Comment={\"x\": 1} Power=");
        assert_eq!((info.get("JobName"), info.state(), info.get("Power")), ("a b", "RUNNING", ""));
        assert_eq!(info.get("Comment"), "{\"x\": 1}");
        assert_eq!(info.get("NoSuchField"), "");
    }

    #[test]
    fn job_has_ended_only_when_its_nodes_are_free() {
        let ended = |state: &str| JobInfo::parse(&format!("JobState={state}")).has_ended();
        assert!(["COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"].into_iter().all(ended));
        assert!(!["PENDING", "RUNNING", "COMPLETING", "SUSPENDED"].into_iter().any(ended));
    }
}
