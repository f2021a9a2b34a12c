//! Asks slurmctld how a job ended, which no hook on the node knows, and what the cluster is called.
//!
//! One `squeue` a job and node, after its end, spread over time with the number of nodes; one for all
//! where questions pile up. It runs on a thread; a controller that does not answer costs the record
//! its `end_reason`, nothing else.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::{DateTime, Local, NaiveDateTime, Utc};
use ct_core::record::EndReason;

use crate::station::ClusterName;

/// How long one squeue may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const MOST_SAID: u64 = 16 << 20;
/// Questions that are asked one by one: a client that is asked for one job has slurmctld look for that
/// one, asked for several it reads all that slurmctld knows.
const MOST_SINGLE: usize = 8;
/// Jobs that are asked about at once.
const MOST_AT_ONCE: usize = 1000;
/// Time between two attempts to learn the cluster's name.
const NAME_RETRY: Duration = Duration::from_secs(60);

/// What slurmctld says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It ended, so.
    Ended(EndReason, Told),
    /// It waits or runs.
    Alive(Told),
    /// It is still being ended.
    Ending,
    /// slurmctld answers and knows no such job.
    Unknown,
    /// slurmctld knows the job, and fewer runs of it.
    NeverWas,
    /// slurmctld is away: it can be asked again.
    Away,
    /// The client failed; it may do better soon.
    Failed,
    /// No answer, and none is to be expected.
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
    /// When it began and ended, where the run that was asked about is its last one.
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) end: Option<DateTime<Utc>>,
    /// The nodes of that run, a host list.
    pub(super) nodes: Option<String>,
    /// Whether it is.
    pub(super) is_last: bool,
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

/// A run of a job: its id and restart count.
type Run = (u32, u32);

/// The thread that asks.
pub(super) struct Asker {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
    cluster: ClusterName,
}

impl Asker {
    /// Starts it; a byte on `wake` says that an answer is there. A cluster whose name the site
    /// configured is not asked for it.
    pub(super) fn spawn(wake: UnixStream, cluster: Option<&str>) -> std::io::Result<Self> {
        let (questions, inbox) = channel();
        let (outbox, answers) = channel();
        let cluster: ClusterName =
            cluster.map_or_else(ClusterName::default, |name| Arc::new(name.to_owned().into()));
        let name = Arc::clone(&cluster);
        thread::Builder::new()
            .name("slurmctld".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || ask_on(&inbox, &outbox, &wake, &name))?;
        Ok(Self { questions, answers, cluster })
    }

    /// The cluster's name, once slurmctld has told it.
    pub(super) fn cluster(&self) -> ClusterName {
        Arc::clone(&self.cluster)
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

fn ask_on(
    inbox: &Receiver<Question>,
    outbox: &Sender<Answer>,
    mut wake: &UnixStream,
    cluster: &ClusterName,
) {
    use std::io::Write;
    let mut waiting: BTreeMap<Run, Instant> = BTreeMap::new();
    loop {
        if cluster.get().is_none()
            && let Some(name) = cluster_name()
        {
            cluster.get_or_init(|| name);
        }
        let longest = if cluster.get().is_none() { NAME_RETRY } else { Duration::from_secs(3600) };
        let next = waiting.values().min().copied();
        let until = |at: Instant| at.saturating_duration_since(Instant::now()).min(longest);
        let pause = next.map_or(longest, until);
        match inbox.recv_timeout(pause) {
            Ok(q) => {
                waiting.insert((q.job_id, q.restart), Instant::now() + q.after);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let due = take_due(&mut waiting, Instant::now());
        for ((job_id, restart), fate) in show_jobs(&due) {
            if outbox.send(Answer { job_id, restart, fate }).is_err() {
                return;
            }
        }
        let _ = wake.write(&[0]);
    }
}

/// Takes out whom to ask about now: the one that has waited longest, or all where they pile up.
fn take_due(waiting: &mut BTreeMap<Run, Instant>, now: Instant) -> Vec<Run> {
    let mut due: Vec<(Instant, Run)> =
        waiting.iter().filter(|(_, at)| **at <= now).map(|(run, at)| (*at, *run)).collect();
    due.sort_unstable();
    due.truncate(if due.len() > MOST_SINGLE { MOST_AT_ONCE } else { 1 });
    let runs: Vec<Run> = due.into_iter().map(|(_, run)| run).collect();
    for run in &runs {
        waiting.remove(run);
    }
    runs
}

/// What is asked for, in this order.
const FIELDS: &str = "JobID:|,State:|,RestartCnt:|,UserName:|,Account:|,Partition:|,QOS:|,\
                      StartTime:|,EndTime:|,NodeList:|";

/// The name is the user's own text, so it comes last: nothing in it is taken for another field. It may
/// hold lines of its own, so it is asked for of one job alone: nothing in it is taken for another job.
fn fields_of(n_runs: usize) -> String {
    if n_runs == 1 { format!("{FIELDS},Name:") } else { FIELDS.to_owned() }
}

fn show_jobs(runs: &[Run]) -> Vec<(Run, Fate)> {
    let ids: Vec<String> = runs.iter().map(|(job_id, _)| job_id.to_string()).collect();
    let ids = ids.join(",");
    let fields = fields_of(runs.len());
    let args = ["--noheader", "--states=all", "--jobs", &ids, "--Format", &fields];
    let of_all = match answer_of("squeue", &args) {
        Some(told) if told.is_success => {
            return runs.iter().map(|run| (*run, parse(&told.out, run.0, run.1))).collect();
        }
        Some(told) if told.err.contains("Invalid job id") => Fate::Unknown,
        Some(told) if is_away(&told.err) => Fate::Away,
        Some(told) => {
            log::debug!("squeue fails: {}", told.err.trim());
            Fate::Failed
        }
        // It waits for slurmctld for longer than we do; where there is no squeue it never does.
        None if has_squeue() => Fate::Away,
        None => Fate::NoAnswer,
    };
    runs.iter().map(|run| (*run, of_all.clone())).collect()
}

/// What a client says that reaches nobody.
fn is_away(err: &str) -> bool {
    ["Unable to contact slurm controller", "Connection refused", "Socket timed out"]
        .iter()
        .any(|text| err.contains(text))
}

/// Whether the client can be run at all.
fn has_squeue() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("squeue").is_file())
}

/// `ClusterName` of slurm.conf.
fn cluster_name() -> Option<String> {
    let told = answer_of("scontrol", &["show", "config"]).filter(|told| told.is_success)?;
    parse_cluster_name(&told.out)
}

fn parse_cluster_name(config: &str) -> Option<String> {
    let (_, name) = config.lines().find(|l| l.starts_with("ClusterName"))?.split_once('=')?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// What a client of Slurm's said.
pub(super) struct Said {
    pub(super) is_success: bool,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs a client; `None` where it cannot be started or takes longer than [`PATIENCE`].
pub(super) fn answer_of(client: &str, args: &[&str]) -> Option<Said> {
    let mut child = Command::new(client)
        .args(args)
        // Times in the form that is read here.
        .env_remove("SLURM_TIME_FORMAT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let end = Instant::now() + PATIENCE;
    // Asked for the first job of a large array it tells of all, which is more than a pipe holds.
    let out = read_on_thread(child.stdout.take()?);
    let err = read_on_thread(child.stderr.take()?);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let (out, err) = (out.join().ok()?, err.join().ok()?);
    Some(Said { is_success: status.success(), out, err })
}

fn read_on_thread(pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is not there; names in it may be of any bytes.
        let _ = pipe.take(MOST_SAID).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Reads the job's own line of squeue's answer: asked for the first job of an array, whose id is the
/// array's, it answers with all of them.
fn parse(text: &str, job_id: u32, restart: u32) -> Fate {
    let of_job =
        |line: &&str| line.split_once('|').is_some_and(|(id, _)| id.trim().parse() == Ok(job_id));
    let Some(line) = text.lines().find(of_job) else { return Fate::Unknown };
    let fields: Vec<&str> = line.splitn(11, '|').skip(1).map(str::trim).collect();
    let [state, restarts, user, account, partition, qos, start, end, nodes, name] = fields[..]
    else {
        return Fate::NoAnswer;
    };
    let Ok(restarts) = restarts.parse::<u32>() else { return Fate::NoAnswer };
    let is_last = restarts == restart;
    let given = |text: &str| (!text.is_empty() && text != "(null)").then(|| text.to_owned());
    let told = Told {
        user: given(user),
        account: given(account),
        partition: given(partition),
        qos: given(qos),
        job_name: given(name),
        start: instant(start).filter(|_| is_last),
        end: instant(end).filter(|_| is_last),
        nodes: given(nodes).filter(|_| is_last),
        is_last,
    };
    if restarts > restart {
        return Fate::Ended(EndReason::Requeued, told);
    }
    if restarts < restart {
        return Fate::NeverWas;
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
        "COMPLETING" => return Fate::Ending,
        "PENDING" | "RUNNING" | "CONFIGURING" | "SUSPENDED" | "STOPPED" | "SIGNALING"
        | "STAGE_OUT" | "RESIZING" => return Fate::Alive(told),
        s if s.starts_with("REQUEUE") || s == "SPECIAL_EXIT" || s == "RESV_DEL_HOLD" => {
            EndReason::Requeued
        }
        _ => EndReason::Unknown,
    };
    Fate::Ended(reason, told)
}

/// A time as Slurm's clients write it: of this machine's zone.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok()?;
    Some(local.and_local_timezone(Local).earliest()?.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_this_run_is_told_from_that_of_another() {
        let line = "8|RUNNING|0|ann|a|b|c|||n1|d\n\
                    7|CANCELLED|1|ann|(null)|main|normal|2026-11-20T10:00:00|N/A|n[1-2]|my job\n";
        let Fate::Ended(reason, told) = parse(line, 7, 1) else { panic!() };
        assert_eq!(reason, EndReason::Cancelled);
        assert_eq!(told.user.as_deref(), Some("ann"));
        assert_eq!((told.account, told.qos.as_deref()), (None, Some("normal")));
        assert_eq!(told.partition.as_deref(), Some("main"));
        assert_eq!(told.job_name.as_deref(), Some("my job"));
        assert_eq!(
            told.start.map(|at| at.with_timezone(&Local).to_string()[..19].to_owned()).as_deref(),
            Some("2026-11-20 10:00:00")
        );
        assert_eq!((told.end, told.nodes.as_deref()), (None, Some("n[1-2]")));
        let Fate::Ended(EndReason::Requeued, told) = parse(line, 7, 0) else { panic!() };
        // Those are of the run after it.
        assert_eq!((told.start, told.nodes), (None, None));
        assert_eq!(parse(line, 7, 2), Fate::NeverWas);
        assert_eq!(parse("7|COMPLETING|1|ann|a|b|c|||n1|d\n", 7, 1), Fate::Ending);
        let alive = parse("7|PENDING|1|ann|a|b|c|||n1|d\n", 7, 1);
        assert!(matches!(alive, Fate::Alive(told) if told.user.as_deref() == Some("ann")));
        assert_eq!(parse("", 7, 0), Fate::Unknown);
    }

    #[test]
    fn questions_are_asked_one_by_one_oldest_first_until_they_pile_up() {
        let now = Instant::now();
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        let mut waiting = BTreeMap::from([((1, 0), at(3)), ((2, 0), at(1)), ((3, 0), at(9))]);
        assert_eq!(take_due(&mut waiting, at(0)), []);
        assert_eq!(take_due(&mut waiting, at(4)), [(2, 0)]);
        assert_eq!(take_due(&mut waiting, at(4)), [(1, 0)]);
        assert_eq!(take_due(&mut waiting, at(4)), []);
        waiting.extend((10..20).map(|id| ((id, 0), at(2))));
        assert_eq!(take_due(&mut waiting, at(4)).len(), 10);
        assert_eq!(waiting.keys().collect::<Vec<_>>(), [&(3, 0)]);
    }

    #[test]
    fn an_answer_longer_than_a_pipe_holds_is_read_whatever_its_bytes() {
        let script = "head -c 300000 /dev/zero | tr '\\0' x; printf '\\377'; echo e >&2";
        let said = answer_of("sh", &["-c", script]).unwrap();
        assert!(said.is_success);
        assert_eq!((said.out.chars().count(), said.err.as_str()), (300_001, "e\n"));
    }

    #[test]
    fn a_controller_that_is_away_is_told_from_a_client_that_fails() {
        assert!(is_away(
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
        ));
        assert!(!is_away("squeue: error: Invalid user for SlurmUser slurm"));
    }

    #[test]
    fn the_clusters_name_is_found_in_the_configuration() {
        let config = "Configuration data as of now\nCliFilterPlugins        = (null)\n\
                      ClusterName             = lab-1\nCommunicationParameters = (null)\n";
        assert_eq!(parse_cluster_name(config).as_deref(), Some("lab-1"));
        assert_eq!(parse_cluster_name("ClusterName = \n"), None);
        assert_eq!(parse_cluster_name(""), None);
    }

    #[test]
    fn a_name_that_looks_like_fields_is_a_name() {
        let name = "x|TIMEOUT UserId=bob(1) Account=rich JobState=TIMEOUT Restarts=9";
        let line = format!(
            "7|COMPLETED|0|ann|poor|main|normal|||n1|{name}\n9|TIMEOUT|9|bob|rich|p|q|||n|n\n"
        );
        let Fate::Ended(reason, told) = parse(&line, 7, 0) else { panic!() };
        assert_eq!(reason, EndReason::Completed);
        assert_eq!(told.user.as_deref(), Some("ann"));
        assert_eq!(told.account.as_deref(), Some("poor"));
        assert_eq!(told.job_name.as_deref(), Some(name));
    }
}
