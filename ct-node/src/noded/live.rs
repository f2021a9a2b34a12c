//! Jobs over several nodes: each node keeps `live/<job>/<node>.json` in the ledger's directory
//! current, the first node reads the others'. Of every tracked job, and of those whose account has a
//! budget, the first node keeps its record as it stands, with the last prediction, in
//! `live/<job>/.record.json`, for `ct-report job` and `ct-report budget`.
//!
//! All of it on a thread, as the ledger may lie on a file system that hangs. Between two readings
//! the others' energy is carried on with their last power.

mod files;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::job::{Context, Job, Others};
use ct_core::ledger::{LIVE_DIR, LIVE_RECORD};
use ct_core::record::EndReason;
use ct_core::sample::Moment;
use ct_core::units::{Joules, Microjoules};
use serde::{Deserialize, Serialize};

use crate::station::Station;
use files::Command;

/// How long an event waits for the other nodes' files.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time that each node of a job adds to the interval of its writes.
const SPREAD_PER_NODE: Duration = Duration::from_millis(50);

/// Least time between two writes of a running job's record, as its epochs end.
const RECORD_PAUSE: Duration = Duration::from_secs(60);
/// The same where it has no new prediction.
const LONG_RECORD_PAUSE: Duration = Duration::from_secs(600);

/// Jobs whose other nodes are remembered; more than ever run on a node at once.
const MOST_JOBS: usize = 1024;

/// One node's part of a job, as the others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LiveNode {
    restart: u32,
    #[serde(with = "ct_core::record::timestamp")]
    start: DateTime<Utc>,
    #[serde(with = "ct_core::record::timestamp")]
    at: DateTime<Utc>,
    energy_j: ByComponent<Microjoules>,
    power_w: ByComponent<f64>,
    is_over: bool,
}

impl LiveNode {
    /// Its energy at an instant after it was written, carried on with its last power.
    fn energy_after(&self, at: DateTime<Utc>) -> ByComponent<Microjoules> {
        let seconds = (at - self.at).to_std().unwrap_or_default().as_secs_f64();
        let mut out = self.energy_j;
        if !self.is_over {
            for c in Component::ALL {
                let more = Joules::new(self.power_w.get(c) * seconds).to_microjoules();
                *out.get_mut(c) += more;
            }
        }
        out
    }
}

/// What was seen of a node, oldest first.
#[derive(Default)]
struct History(Vec<LiveNode>);

impl History {
    /// Most states that are kept: an epoch that began before them is taken from the oldest.
    const MOST: usize = 256;

    fn add(&mut self, node: LiveNode) {
        if self.0.first().is_some_and(|first| first.restart != node.restart) {
            self.0.clear();
        }
        if self.0.last().is_none_or(|last| last.at < node.at || last.is_over != node.is_over) {
            if self.0.len() >= Self::MOST {
                self.0.remove(1);
            }
            self.0.push(node);
        }
    }

    /// Energy at an instant: on the line between two states, or carried on from the last.
    fn energy_at(&self, at: DateTime<Utc>) -> Option<ByComponent<Microjoules>> {
        let next = self.0.partition_point(|n| n.at <= at);
        let Some(later) = self.0.get(next) else {
            return self.0.last().map(|last| last.energy_after(at));
        };
        // Before the first state there is the start, with nothing drawn.
        let (from, base) = match next.checked_sub(1).and_then(|i| self.0.get(i)) {
            Some(earlier) => (earlier.at, earlier.energy_j),
            None => (later.start.min(at), ByComponent::default()),
        };
        let whole = (later.at - from).as_seconds_f64();
        let part = if whole > 0.0 { (at - from).as_seconds_f64() / whole } else { 0.0 };
        let drawn = later.energy_j.since(&base);
        let mut out = base;
        for c in Component::ALL {
            let joules = drawn.get(c).to_joules().as_joules() * part;
            *out.get_mut(c) += Joules::new(joules).to_microjoules();
        }
        Some(out)
    }
}

/// What was last published of a job.
struct Published {
    at: Moment,
    energy: ByComponent<Microjoules>,
    node: LiveNode,
}

/// When a running job's record was published, and the instant of the prediction in it.
type RecordSeen = (Moment, Option<DateTime<Utc>>);

/// This node's side of the exchange.
pub(super) struct Live {
    dir: PathBuf,
    node: String,
    commands: Sender<Command>,
    published: HashMap<(u32, u32), Published>,
    /// Jobs whose record was published: when, and with the prediction of when.
    records: HashMap<(u32, u32), RecordSeen>,
    /// Whether nothing was published yet.
    is_new: bool,
}

impl Live {
    /// Starts the thread and gives the station its eyes.
    pub(super) fn open(station: &mut Station) -> std::io::Result<Self> {
        let dir = station.config().ledger.dir.join(LIVE_DIR);
        let (commands, inbox) = channel();
        thread::Builder::new()
            .name("live".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || files::work(&inbox))?;
        let mut eyes = Eyes { dir: dir.clone(), commands: commands.clone(), seen: HashMap::new() };
        station.look_at_other_nodes_with(Box::new(move |job, nodes, at| eyes.look(job, nodes, at)));
        let node = station.node().to_owned();
        let (published, records) = (HashMap::new(), HashMap::new());
        Ok(Self { dir, node, commands, published, records, is_new: true })
    }

    /// Publishes this node's part of every job that has other nodes.
    pub(super) fn publish(&mut self, station: &Station) {
        // A job that was sent back goes on in the files of its run before.
        self.publish_ends(station);
        for job in station.jobs().values() {
            if job.facts.n_nodes.unwrap_or(1) > 1 {
                self.publish_job(job);
            }
            let is_asked_for = job.tracked || job.account_budget().is_some();
            if is_asked_for && job.is_first_node {
                self.publish_record(job, station.context());
            }
        }
        if std::mem::take(&mut self.is_new) {
            let (dir, node) = (self.dir.clone(), self.node.clone());
            let running = station.jobs().keys().copied().collect();
            let _ = self.commands.send(Command::Sweep { dir, node, running });
        }
    }

    /// Publishes the end of each run that is over, and has its files removed.
    fn publish_ends(&mut self, station: &Station) {
        let is_running = |(id, restart): &(u32, u32)| {
            station.jobs().get(id).is_some_and(|job| job.restart == *restart)
        };
        let over: Vec<_> = self.published.keys().filter(|k| !is_running(k)).copied().collect();
        for key in over {
            let ended = station.ended().iter().map(|e| &e.job);
            let job = ended.into_iter().find(|j| (j.facts.job_id, j.restart) == key);
            self.publish_end(key, job.map(|j| j.energy.total()));
        }
        let over: Vec<_> = self.records.keys().filter(|k| !is_running(k)).copied().collect();
        for key in over {
            self.records.remove(&key);
            let _ = self.commands.send(Command::Remove { path: self.record_path(key.0) });
        }
    }

    /// Publishes a running job's record at its first prediction and then ever so often.
    fn publish_record(&mut self, job: &Job, context: Context<'_>) {
        let key = (job.facts.job_id, job.restart);
        let predicted_at = job.prediction.as_ref().map(|p| p.at);
        let is_due = match self.records.get(&key) {
            None => predicted_at.is_some() || job.elapsed() >= RECORD_PAUSE,
            Some((at, earlier)) => {
                let pause = if *earlier == predicted_at { LONG_RECORD_PAUSE } else { RECORD_PAUSE };
                job.last.since(at) >= pause
            }
        };
        if is_due && let Ok(text) = job.record(EndReason::Running, context).to_line() {
            self.records.insert(key, (job.last, predicted_at));
            let _ = self.commands.send(Command::Write { path: self.record_path(key.0), text });
        }
    }

    fn record_path(&self, job_id: u32) -> PathBuf {
        self.dir.join(job_id.to_string()).join(LIVE_RECORD)
    }

    fn publish_job(&mut self, job: &Job) {
        let key = (job.facts.job_id, job.restart);
        let energy = job.energy.total();
        let earlier = self.published.get(&key);
        if earlier.is_some_and(|p| job.last.since(&p.at) < pause(job)) {
            return;
        }
        let power_w = earlier.map_or_else(ByComponent::default, |p| {
            let duration = job.last.since(&p.at);
            let drawn = energy.since(&p.energy);
            let mut power = ByComponent::default();
            for c in Component::ALL {
                *power.get_mut(c) = drawn.get(c).to_joules().over(duration).as_watts();
            }
            power
        });
        let at = job.last;
        let node = LiveNode {
            restart: job.restart,
            start: job.start.wall,
            at: at.wall,
            energy_j: energy,
            power_w,
            is_over: false,
        };
        self.write(key.0, &node);
        self.published.insert(key, Published { at, energy, node });
    }

    fn publish_end(&mut self, key: (u32, u32), energy: Option<ByComponent<Microjoules>>) {
        let Some(published) = self.published.remove(&key) else { return };
        let mut node = published.node;
        node.energy_j = energy.unwrap_or(node.energy_j);
        node.is_over = true;
        self.write(key.0, &node);
        let path = self.path(key.0);
        // A thread that is gone has said so.
        let _ = self.commands.send(Command::Remove { path });
    }

    fn write(&self, job_id: u32, node: &LiveNode) {
        let Ok(text) = serde_json::to_string(node) else { return };
        let _ = self.commands.send(Command::Write { path: self.path(job_id), text });
    }

    fn path(&self, job_id: u32) -> PathBuf {
        self.dir.join(job_id.to_string()).join(format!("{}.json", self.node))
    }
}

/// Soon after the start, then ever more seldom, up to what the number of nodes allows.
fn pause(job: &Job) -> Duration {
    let most = job.settings.update_interval.max(SPREAD_PER_NODE * job.facts.n_nodes.unwrap_or(1));
    (job.elapsed() / 2).min(most)
}

/// What the first node sees of the others.
struct Eyes {
    dir: PathBuf,
    commands: Sender<Command>,
    seen: HashMap<u32, HashMap<String, History>>,
}

impl Eyes {
    fn look(&mut self, job: &Job, nodes: &[String], at: Moment) -> Others {
        let job_id = job.facts.job_id;
        self.refresh(job, nodes);
        let seen = self.seen.entry(job_id).or_default();
        let mut others = Others::default();
        for name in nodes {
            match seen.get(name).and_then(|history| history.energy_at(at.wall)) {
                Some(energy) => {
                    others.energy += energy;
                    others.n_seen += 1;
                }
                None => others.missing.push(name.clone()),
            }
        }
        others
    }

    fn refresh(&mut self, job: &Job, nodes: &[String]) {
        let job_id = job.facts.job_id;
        if self.seen.len() > MOST_JOBS {
            self.seen.retain(|id, _| *id == job_id);
        }
        let (reply, answer) = sync_channel(1);
        let dir = self.dir.join(job_id.to_string());
        let _ = self.commands.send(Command::Read { dir, nodes: nodes.to_vec(), reply });
        let Ok(fresh) = answer.recv_timeout(PATIENCE) else { return };
        let seen = self.seen.entry(job_id).or_default();
        for (name, node) in fresh.into_iter().filter(|(_, n)| n.restart == job.restart) {
            seen.entry(name).or_default().add(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noded::state::replace;

    fn at(seconds: i64) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
        start + chrono::TimeDelta::seconds(seconds)
    }

    fn node(seconds: i64, joules: u64, watts: f64) -> LiveNode {
        LiveNode {
            restart: 0,
            start: at(0),
            at: at(seconds),
            energy_j: ByComponent {
                cpu: Microjoules::new(joules * 1_000_000),
                ..Default::default()
            },
            power_w: ByComponent { cpu: watts, ..Default::default() },
            is_over: false,
        }
    }

    #[test]
    fn energy_lies_between_what_was_seen_and_is_carried_on_after_it() {
        let mut history = History::default();
        assert!(history.energy_at(at(0)).is_none());
        history.add(node(10, 800, 80.0));
        history.add(node(20, 2000, 120.0));
        let joules = |s: i64| history.energy_at(at(s)).unwrap().cpu.as_u64() / 1_000_000;
        // 800 J in the first 10 s; 1200 J in the next; then 120 W.
        assert_eq!([joules(5), joules(10), joules(15), joules(22)], [400, 800, 1400, 2240]);
        let mut over = node(30, 2500, 120.0);
        over.is_over = true;
        history.add(over);
        assert_eq!(history.energy_at(at(99)).unwrap().cpu.as_u64(), 2_500_000_000);
    }

    #[test]
    fn files_of_nodes_that_are_not_there_are_missed() {
        let dir = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&node(1, 2, 3.0)).unwrap();
        replace(&dir.path().join("n1.json"), text.as_bytes()).unwrap();
        let seen = files::read(dir.path(), &["n1".to_owned(), "n2".to_owned()]);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen["n1"], node(1, 2, 3.0));
    }
}
