//! What Slurm has as AdminComment of jobs, and how it is changed: by slurmctld where it still runs
//! the job, else in slurmdbd.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::job::Job;
use crate::diagnostic::Hint;
use crate::slurm::{self, Answer};

/// How long one client may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Jobs that sacct is asked about at once: a command line has its limits.
const AT_ONCE: usize = 500;

/// A job, as Slurm's accounting has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) user: String,
    /// Empty where there is none.
    pub(crate) comment: String,
}

/// The accounting of one cluster.
#[derive(Debug)]
pub(crate) struct Accounting {
    cluster: String,
    /// Whether the clients speak to this cluster unless told otherwise.
    is_own: bool,
    /// Jobs that slurmctld runs, or will.
    alive: HashSet<u32>,
}

/// Why a comment was not written.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This job cannot have one.
    Job(String),
    /// No job can have one.
    All(anyhow::Error),
}

impl Accounting {
    /// Asks slurmctld which jobs it has.
    ///
    /// # Errors
    ///
    /// A controller that does not answer.
    pub(crate) fn open(cluster: &str, own_cluster: &str) -> Result<Self> {
        let is_own = cluster == own_cluster;
        let mut args = vec!["--noheader", "--states=RUNNING,SUSPENDED,PENDING", "--format=%A"];
        if !is_own {
            args.extend(["-M", cluster]);
        }
        let out = slurm::run("squeue", &args, PATIENCE)?.of("squeue");
        let out = out.with_context(|| format!("cannot ask which jobs {cluster} runs"))?;
        let alive = out.lines().filter_map(|line| line.trim().parse().ok()).collect();
        Ok(Self { cluster: cluster.to_owned(), is_own, alive })
    }

    /// The rows of these jobs, by raw id; of an id that was given again, the last one's.
    ///
    /// # Errors
    ///
    /// Accounting that is off, or does not answer.
    pub(crate) fn rows(cluster: &str, jobs: &[&Job]) -> Result<HashMap<u32, Row>> {
        let mut rows = HashMap::new();
        for jobs in jobs.chunks(AT_ONCE) {
            let ids: Vec<String> = jobs.iter().map(|job| job.id()).collect();
            let ids = ids.join(",");
            let args = ["--allusers", "--allocations", "--noheader", "--parsable2", "-M", cluster];
            let args = [&args[..], &["-o", "JobIDRaw,User,AdminComment", "-j", &ids]].concat();
            let out = slurm::run("sacct", &args, PATIENCE)?.of("sacct").map_err(|error| {
                error.context("cannot ask Slurm's accounting").context(Hint(
                    "publish needs slurmdbd: AccountingStorageType=accounting_storage/slurmdbd \
                     in slurm.conf",
                ))
            })?;
            rows.extend(out.lines().filter_map(row));
        }
        Ok(rows)
    }

    /// Sets a job's comment.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub(crate) fn write(&self, job: &Job, text: &str) -> Result<(), Refusal> {
        if self.alive.contains(&job.job_id) {
            let said = self.scontrol(job, text).map_err(Refusal::All)?;
            let has_ended = ["already finished", "Invalid job id"];
            if !has_ended.iter().any(|words| said.err.contains(words)) {
                return judge("scontrol", &said);
            }
        }
        judge("sacctmgr", &self.sacctmgr(job, text).map_err(Refusal::All)?)
    }

    fn scontrol(&self, job: &Job, text: &str) -> Result<Answer> {
        let (id, comment) = (format!("jobid={}", job.id()), format!("AdminComment={text}"));
        let mut args = vec!["update", &id, &comment];
        if !self.is_own {
            args.splice(0..0, ["-M", &self.cluster]);
        }
        slurm::run("scontrol", &args, PATIENCE)
    }

    fn sacctmgr(&self, job: &Job, text: &str) -> Result<Answer> {
        let (cluster, id) = (format!("cluster={}", self.cluster), format!("jobid={}", job.id()));
        let comment = format!("AdminComment={text}");
        let args = ["-i", "modify", "job", "where", &cluster, &id, "set", &comment];
        slurm::run("sacctmgr", &args, PATIENCE)
    }
}

/// The cluster the clients speak to.
///
/// # Errors
///
/// A controller that does not answer.
pub(crate) fn own_cluster() -> Result<String> {
    let out = slurm::run("scontrol", &["show", "config"], PATIENCE)?.of("scontrol")?;
    let name = out.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "ClusterName").then(|| value.trim().to_owned())
    });
    name.context("scontrol show config names no ClusterName")
}

/// Reads a line of sacct; the comment may hold anything.
fn row(line: &str) -> Option<(u32, Row)> {
    let mut fields = line.splitn(3, '|');
    let (id, user, comment) = (fields.next()?, fields.next()?, fields.next()?);
    Some((id.parse().ok()?, Row { user: user.to_owned(), comment: comment.trim().to_owned() }))
}

/// What a client's answer means.
fn judge(program: &str, answer: &Answer) -> Result<(), Refusal> {
    if answer.is_success {
        return Ok(());
    }
    let said = format!("{} {}", answer.err, answer.out.trim()).trim().replace('\n', "; ");
    if said.contains("ermission denied") {
        return Err(Refusal::All(anyhow!("{program}: {said}").context(Hint(
            "run it as root or SlurmUser, or give its user AdminLevel=Operator by sacctmgr",
        ))));
    }
    Err(Refusal::Job(format!("{program}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whatever_the_comment_holds() {
        let row = |line| row(line).map(|(id, row)| (id, row.user, row.comment));
        assert_eq!(row("42|eva|"), Some((42, "eva".into(), String::new())));
        assert_eq!(row("42|eva|a|b \"c\" "), Some((42, "eva".into(), "a|b \"c\"".into())));
        // Lines of a comment with newlines in it.
        assert_eq!((row("more|of|it"), row("42|eva"), row("")), (None, None, None));
    }

    #[test]
    fn refusals_of_one_job_and_of_all_are_told_apart() {
        let answer = |err: &str, out: &str| Answer {
            is_success: false,
            out: out.to_owned(),
            err: err.to_owned(),
        };
        // As of Slurm 22.05.
        let lost = "sacctmgr: accounting_storage/slurmdbd: acct_storage_p_modify_job: Request \
                    didn't affect anything or your user doesn't have privilege to perform this action";
        let Err(Refusal::Job(said)) = judge("sacctmgr", &answer(lost, " Nothing modified\n"))
        else {
            panic!("a job that is not there is no matter of rights")
        };
        assert!(said.ends_with("this action Nothing modified"), "{said}");
        let denied = "sacctmgr: error: Your user doesn't have privilege to perform this action";
        let out = " Error with request: Access/permission denied\n";
        assert!(matches!(judge("sacctmgr", &answer(denied, out)), Err(Refusal::All(_))));
        let denied = "Access/permission denied for job 2";
        assert!(matches!(judge("scontrol", &answer(denied, "")), Err(Refusal::All(_))));
    }
}
