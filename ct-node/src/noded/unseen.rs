//! Jobs that run here and that no hook has told of: they ran before ct-noded was first started.
//!
//! A slurmstepd that listens shows that its job runs. While there is such a job the node is not idle, so
//! no idle power is learned. slurmctld is asked whose it is, on a thread, and then it is taken up as
//! if it started now; one that slurmctld does not tell of stays the system's and nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ct_core::protocol::JobFacts;
use ct_core::slurm::{Spool, expand_hostlist};

use super::slurmctld::answer_of;
use super::stepds;
use crate::station::Station;

/// Time between two looks, where nobody holds the node and where somebody does.
const PAUSE: Duration = Duration::from_secs(10);
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// Time between the first two attempts to learn slurmd's spool directory; it doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3600);
/// No time in which ct-noded runs is longer.
const FOREVER: Duration = Duration::from_secs(1 << 32);
/// Jobs that are asked about at one look.
const MOST_ASKED: usize = 256;
/// Looks at which a job must be there before slurmctld is asked: its hook may be on its way.
const SEEN_OFTEN: u32 = 2;

/// What the thread has found out.
enum Told {
    Spool(Spool),
    Job(Box<JobFacts>),
}

/// Looks for such jobs, and asks about them.
pub(super) struct Unseen {
    spool: Option<Spool>,
    looked: Option<Instant>,
    /// At how many looks in a row each was there.
    seen: BTreeMap<u32, u32>,
    asked: BTreeSet<u32>,
    questions: Sender<u32>,
    answers: Receiver<Told>,
}

impl Unseen {
    /// Starts the thread that asks; a byte on `wake` says that an answer is there.
    pub(super) fn spawn(node: &str, wake: UnixStream) -> std::io::Result<Self> {
        let (questions, inbox) = channel();
        let (outbox, answers) = channel();
        let node = node.to_owned();
        thread::Builder::new()
            .name("unseen".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || ask_on(&node, &inbox, &outbox, &wake))?;
        Ok(Self {
            spool: None,
            looked: None,
            seen: BTreeMap::new(),
            asked: BTreeSet::new(),
            questions,
            answers,
        })
    }

    /// Looks where it is time to, before a sample from which idle power may be learned.
    pub(super) fn look_if_due(&mut self, station: &mut Station) {
        let pause = if station.jobs().is_empty() { PAUSE } else { LONG_PAUSE };
        if self.looked.is_none_or(|at| at.elapsed() >= pause) {
            self.look(station);
        }
    }

    fn look(&mut self, station: &mut Station) {
        self.looked = Some(Instant::now());
        let is_new = |job_id| !station.has_seen(job_id);
        let unseen = stepds::jobs(station.node(), self.spool.as_ref(), is_new);
        self.seen = unseen.iter().map(|id| (*id, self.seen.get(id).map_or(1, |n| n + 1))).collect();
        self.asked.retain(|job_id| unseen.contains(job_id));
        for (job_id, n_looks) in self.seen.iter().take(MOST_ASKED) {
            // Without the directory it may be a job of another cluster on this host.
            if *n_looks >= SEEN_OFTEN && self.spool.is_some() && self.asked.insert(*job_id) {
                // A thread that is gone answers nothing.
                let _ = self.questions.send(*job_id);
            }
        }
        station.set_unseen(unseen);
    }

    /// Takes up what slurmctld has told of.
    pub(super) fn turn(&mut self, station: &mut Station) {
        let answers: Vec<Told> = self.answers.try_iter().collect();
        for told in answers {
            match told {
                Told::Spool(spool) => {
                    self.spool = Some(spool);
                    self.look(station);
                }
                Told::Job(facts) if self.seen.contains_key(&facts.job_id) => {
                    log::info!("job {}: ran before ct-noded saw it; taken up", facts.job_id);
                    let steps = stepds::steps(facts.job_id, station.node(), self.spool.as_ref());
                    station.take_up(*facts, &steps);
                    self.look(station);
                }
                Told::Job(_) => {}
            }
        }
    }
}

fn ask_on(node: &str, inbox: &Receiver<u32>, outbox: &Sender<Told>, mut wake: &UnixStream) {
    let (mut has_spool, mut retry) = (false, FIRST_RETRY);
    loop {
        if !has_spool && let Some(spool) = ask_for_spool(node) {
            has_spool = true;
            if outbox.send(Told::Spool(spool)).is_err() {
                return;
            }
            let _ = wake.write(&[0]);
        }
        // Once it is known there is nothing to wake up for but questions.
        let pause = if has_spool { FOREVER } else { retry };
        let question = match inbox.recv_timeout(pause) {
            Ok(job_id) => ask_for_job(job_id).filter(|facts| is_on(facts, node)),
            Err(RecvTimeoutError::Timeout) => {
                retry = (retry * 2).min(LAST_RETRY);
                None
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(mut facts) = question {
            facts.node = Some(node.to_owned());
            let _ = outbox.send(Told::Job(Box::new(facts)));
            let _ = wake.write(&[0]);
        }
    }
}

fn is_on(facts: &JobFacts, node: &str) -> bool {
    expand_hostlist(facts.nodelist.as_deref().unwrap_or_default()).iter().any(|n| n == node)
}

fn ask_for_spool(node: &str) -> Option<Spool> {
    let told = answer_of("scontrol", &["show", "config"]).filter(|told| told.is_success)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Spool::parse(&told.out, node, host.split('.').next().unwrap_or_default())
}

/// What is asked for, in this order; a job's name is its user's own text and comes last.
const FIELDS: &str = "JobID:32|,UserID:32|,GroupID:32|,RestartCnt:32|,NumCPUs:32|,NumNodes:32|,\
                      NodeList:8192|,tres-alloc:512|,Name:256";

fn ask_for_job(job_id: u32) -> Option<JobFacts> {
    let job = job_id.to_string();
    let args = ["--noheader", "--states=running,suspended", "--jobs", &job, "--Format", FIELDS];
    let told = answer_of("squeue", &args).filter(|told| told.is_success)?;
    parse(&told.out, job_id)
}

fn parse(text: &str, job_id: u32) -> Option<JobFacts> {
    let of_job =
        |line: &&str| line.split_once('|').is_some_and(|(id, _)| id.trim().parse() == Ok(job_id));
    // Of an array's first job, whose id is the array's, all jobs are told.
    let line = text.lines().find(of_job)?;
    let fields: Vec<&str> = line.splitn(9, '|').skip(1).map(str::trim).collect();
    let [uid, gid, restarts, cpus, nodes, nodelist, tres, name] = fields[..] else { return None };
    let (n_cpus, n_nodes) = (cpus.parse::<u32>().ok()?, nodes.parse::<u32>().ok()?.max(1));
    let of_tres = |what: &str| {
        let value = tres.split(',').find_map(|t| t.strip_prefix(what)?.strip_prefix('='));
        value.map(str::to_owned)
    };
    Some(JobFacts {
        job_id,
        uid: uid.parse().ok()?,
        gid: gid.parse().unwrap_or_default(),
        restart: restarts.parse().ok(),
        // By nodes alike; its cpuset, where it has one, says better.
        alloc_cpus: Some(n_cpus / n_nodes),
        alloc_mem_mb: of_tres("mem").and_then(|m| megabytes(&m)).map(|mb| mb / u64::from(n_nodes)),
        n_nodes: Some(n_nodes),
        nodelist: Some(nodelist.to_owned()),
        job_name: Some(name.to_owned()),
        ..JobFacts::default()
    })
}

/// `1500M` or `4G`, as Slurm writes an amount of memory.
fn megabytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let mb = match unit {
        "K" => 1.0 / 1024.0,
        "M" => 1.0,
        "G" => 1024.0,
        "T" => 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * mb) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slurmctld_tells_of_a_job_is_read() {
        let line = "8|1|1|0|1|1|n1|cpu=1|a\n\
                    7   |1000 |100|1|8  |2|n[1-2]|cpu=8,mem=3000M,node=2,gres/gpu=4|my|job UserID=0\n";
        let facts = parse(line, 7).unwrap();
        assert_eq!((facts.uid, facts.gid, facts.restart), (1000, 100, Some(1)));
        assert_eq!((facts.alloc_cpus, facts.alloc_mem_mb), (Some(4), Some(1500)));
        assert_eq!(facts.job_name.as_deref(), Some("my|job UserID=0"));
        assert!(is_on(&facts, "n2") && !is_on(&facts, "n3"));
        assert_eq!(parse(line, 9), None);
        assert_eq!(parse("", 7), None);
        assert_eq!(parse("7|x|", 7), None);
    }

    #[test]
    fn amounts_of_memory_by_table() {
        for (text, mb) in [("2048K", Some(2)), ("1.50G", Some(1536)), ("1T", Some(1_048_576))] {
            assert_eq!(megabytes(text), mb, "{text}");
        }
        assert_eq!((megabytes("12"), megabytes("1X"), megabytes("")), (None, None, None));
    }
}
