//! Asks slurmctld how a job ended: no hook on the node knows.
//!
//! One `scontrol show job` a job and node, after its end, spread over time with the number of
//! nodes. It runs on a thread; a controller that does not answer costs the record its `end_reason`,
//! nothing else.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ct_core::record::EndReason;

/// How long one scontrol may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What slurmctld says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It ended, so.
    Ended(EndReason, Told),
    /// It runs, or is still being ended.
    Alive,
    /// slurmctld answers and knows no such job.
    Unknown,
    /// No answer.
    NoAnswer,
}

/// What slurmctld knows of a job better than its environment does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) user: Option<String>,
    pub(super) account: Option<String>,
    pub(super) partition: Option<String>,
    pub(super) qos: Option<String>,
    pub(super) job_name: Option<String>,
}

/// A question: which run of which job, and when to ask.
pub(super) struct Question {
    pub(super) job_id: u32,
    pub(super) restart: u32,
    pub(super) after: Duration,
}

/// An answer.
pub(super) struct Answer {
    pub(super) job_id: u32,
    pub(super) restart: u32,
    pub(super) fate: Fate,
}

/// The thread that asks.
pub(super) struct Asker {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Asker {
    /// Starts it; a byte on `wake` says that an answer is there.
    pub(super) fn spawn(wake: UnixStream) -> std::io::Result<Self> {
        let (questions, inbox) = channel();
        let (outbox, answers) = channel();
        thread::Builder::new()
            .name("slurmctld".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || ask_on(&inbox, &outbox, &wake))?;
        Ok(Self { questions, answers })
    }

    pub(super) fn ask(&self, question: Question) {
        if self.questions.send(question).is_err() {
            log::error!("the thread that asks slurmctld is gone");
        }
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}

fn ask_on(inbox: &Receiver<Question>, outbox: &Sender<Answer>, mut wake: &UnixStream) {
    use std::io::Write;
    let mut waiting: HashMap<(u32, u32), Instant> = HashMap::new();
    loop {
        let next = waiting.values().min().copied();
        let pause = next
            .map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
        match inbox.recv_timeout(pause) {
            Ok(q) => {
                waiting.insert((q.job_id, q.restart), Instant::now() + q.after);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let due = waiting.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).min();
        let Some((job_id, restart)) = due else { continue };
        waiting.remove(&(job_id, restart));
        let fate = show_job(job_id, restart);
        if outbox.send(Answer { job_id, restart, fate }).is_err() {
            return;
        }
        let _ = wake.write(&[0]);
    }
}

fn show_job(job_id: u32, restart: u32) -> Fate {
    let spawned = Command::new("scontrol")
        .args(["-o", "show", "job", &job_id.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else { return Fate::NoAnswer };
    let end = Instant::now() + PATIENCE;
    // Its answer is far shorter than a pipe holds, so it never waits for us.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Fate::NoAnswer;
            }
        }
    };
    let (mut out, mut err) = (String::new(), String::new());
    let read = child.stdout.take().map(|mut s| s.read_to_string(&mut out));
    let _ = child.stderr.take().map(|mut s| s.read_to_string(&mut err));
    match read {
        Some(Ok(_)) if status.success() => parse(&out, restart),
        _ if err.contains("Invalid job id") => Fate::Unknown,
        _ => Fate::NoAnswer,
    }
}

/// Reads the one line of `scontrol -o show job`.
fn parse(line: &str, restart: u32) -> Fate {
    let field = |name: &str| -> Option<&str> {
        let rest = line.split_once(&format!(" {name}="))?.1;
        rest.split(' ').next().filter(|v| !v.is_empty() && *v != "(null)")
    };
    let Some(state) = field("JobState") else { return Fate::NoAnswer };
    let restarts = field("Restarts").and_then(|r| r.parse::<u32>().ok()).unwrap_or(0);
    let told = Told {
        user: field("UserId").and_then(|u| Some(u.split_once('(')?.0.to_owned())),
        account: field("Account").map(str::to_owned),
        partition: field("Partition").map(str::to_owned),
        qos: field("QOS").map(str::to_owned),
        // The first field but one; a name may hold blanks, so it ends where UserId begins.
        job_name: line
            .split_once(" JobName=")
            .and_then(|(_, rest)| rest.split_once(" UserId="))
            .map(|(name, _)| name.to_owned()),
    };
    if restarts > restart {
        return Fate::Ended(EndReason::Requeued, told);
    }
    let reason = match state {
        "COMPLETED" => EndReason::Completed,
        "FAILED" => EndReason::Failed,
        "CANCELLED" | "REVOKED" => EndReason::Cancelled,
        "TIMEOUT" => EndReason::Timeout,
        "NODE_FAIL" => EndReason::NodeFail,
        "PREEMPTED" => EndReason::Preempted,
        "OUT_OF_MEMORY" => EndReason::OutOfMemory,
        "DEADLINE" => EndReason::Deadline,
        "BOOT_FAIL" => EndReason::BootFail,
        "PENDING" | "RUNNING" | "COMPLETING" | "CONFIGURING" | "SUSPENDED" | "STOPPED"
        | "SIGNALING" | "STAGE_OUT" | "RESIZING" => return Fate::Alive,
        s if s.starts_with("REQUEUE") || s == "SPECIAL_EXIT" || s == "RESV_DEL_HOLD" => {
            EndReason::Requeued
        }
        _ => EndReason::Unknown,
    };
    Fate::Ended(reason, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Slurm 22.05.8 printed it, shortened.
    const LINE: &str = "JobId=3 JobName=my job UserId=ann(1000) GroupId=ann(1000) MCS_label=N/A \
        Priority=4294901757 Nice=0 Account=(null) QOS=normal JobState=CANCELLED Reason=None \
        Dependency=(null) Requeue=1 Restarts=1 BatchFlag=1 Reboot=0 ExitCode=0:15 Partition=main \
        AllocNode:Sid=localhost:1 \n";

    #[test]
    fn the_end_of_this_run_is_told_from_that_of_another() {
        let Fate::Ended(reason, told) = parse(LINE, 1) else { panic!() };
        assert_eq!(reason, EndReason::Cancelled);
        assert_eq!(told.job_name.as_deref(), Some("my job"));
        assert_eq!((told.account, told.qos.as_deref()), (None, Some("normal")));
        assert_eq!(told.user.as_deref(), Some("ann"));
        assert_eq!(told.partition.as_deref(), Some("main"));
        assert!(matches!(parse(LINE, 0), Fate::Ended(EndReason::Requeued, _)));
        let completing = LINE.replace("CANCELLED", "COMPLETING");
        assert_eq!(parse(&completing, 1), Fate::Alive);
        assert_eq!(parse("", 0), Fate::NoAnswer);
    }
}
