//! Jobs over several nodes: each node keeps `live/<job>/<node>.json` in the ledger's directory
//! current, the first node reads the others'.
//!
//! All of it on a thread, as the ledger may lie on a file system that hangs. Between two readings
//! the others' energy is carried on with their last power.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::job::{Job, Others};
use ct_core::units::{Joules, Microjoules};
use serde::{Deserialize, Serialize};

use super::state::replace;
use crate::station::Station;

/// How long an event waits for the other nodes' files.
const PATIENCE: Duration = Duration::from_millis(150);
/// How long a node's file outlives its job.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// Time that each node of a job adds to the interval of its writes.
const SPREAD_PER_NODE: Duration = Duration::from_millis(50);

/// One node's part of a job, as the others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LiveNode {
    restart: u32,
    #[serde(with = "ct_core::record::timestamp")]
    at: DateTime<Utc>,
    energy_j: ByComponent<Microjoules>,
    power_w: ByComponent<f64>,
    is_over: bool,
}

impl LiveNode {
    /// Its energy at `now`, carried on with its last power.
    fn energy_at(&self, now: DateTime<Utc>) -> ByComponent<Microjoules> {
        let seconds = (now - self.at).to_std().unwrap_or_default().as_secs_f64();
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

enum Command {
    Write { path: PathBuf, text: String },
    Remove { path: PathBuf },
    Read { dir: PathBuf, nodes: Vec<String>, reply: SyncSender<HashMap<String, LiveNode>> },
}

/// What was last published of a job.
struct Published {
    at: Instant,
    energy: ByComponent<Microjoules>,
    node: LiveNode,
}

/// This node's side of the exchange.
pub(super) struct Live {
    dir: PathBuf,
    node: String,
    commands: Sender<Command>,
    published: HashMap<(u32, u32), Published>,
}

impl Live {
    /// Starts the thread and gives the station its eyes.
    pub(super) fn open(station: &mut Station) -> std::io::Result<Self> {
        let dir = station.config().ledger.dir.join("live");
        let (commands, inbox) = channel();
        thread::Builder::new()
            .name("live".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || work(&inbox))?;
        let mut eyes = Eyes { dir: dir.clone(), commands: commands.clone(), seen: HashMap::new() };
        station.look_at_other_nodes_with(Box::new(move |job, nodes| eyes.look(job, nodes)));
        let node = station.node().to_owned();
        Ok(Self { dir, node, commands, published: HashMap::new() })
    }

    /// Publishes this node's part of every job that has other nodes.
    pub(super) fn publish(&mut self, station: &Station) {
        for job in station.jobs().values() {
            if job.facts.n_nodes.unwrap_or(1) > 1 {
                self.publish_job(job);
            }
        }
        let is_running = |(id, restart): &(u32, u32)| {
            station.jobs().get(id).is_some_and(|job| job.restart == *restart)
        };
        let over: Vec<_> = self.published.keys().filter(|k| !is_running(k)).copied().collect();
        for key in over {
            let ended = station.ended().iter().map(|e| &e.job);
            let job = ended.into_iter().find(|j| (j.facts.job_id, j.restart) == key);
            self.publish_end(key, job.map(|j| j.energy.total()));
        }
    }

    fn publish_job(&mut self, job: &Job) {
        let key = (job.facts.job_id, job.restart);
        let energy = job.energy.total();
        let earlier = self.published.get(&key);
        if earlier.is_some_and(|p| p.at.elapsed() < pause(job)) {
            return;
        }
        let power_w = earlier.map_or_else(ByComponent::default, |p| {
            let duration = p.at.elapsed();
            let drawn = energy.since(&p.energy);
            let mut power = ByComponent::default();
            for c in Component::ALL {
                *power.get_mut(c) = drawn.get(c).to_joules().over(duration).as_watts();
            }
            power
        });
        let at = job.last.wall;
        let node = LiveNode { restart: job.restart, at, energy_j: energy, power_w, is_over: false };
        self.write(key.0, &node);
        self.published.insert(key, Published { at: Instant::now(), energy, node });
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
    seen: HashMap<u32, HashMap<String, LiveNode>>,
}

impl Eyes {
    fn look(&mut self, job: &Job, nodes: &[String]) -> Others {
        let job_id = job.facts.job_id;
        let (reply, answer) = sync_channel(1);
        let dir = self.dir.join(job_id.to_string());
        let _ = self.commands.send(Command::Read { dir, nodes: nodes.to_vec(), reply });
        let seen = self.seen.entry(job_id).or_default();
        if let Ok(fresh) = answer.recv_timeout(PATIENCE) {
            seen.extend(fresh.into_iter().filter(|(_, n)| n.restart == job.restart));
        }
        let now = Utc::now();
        let mut others = Others::default();
        for name in nodes {
            match seen.get(name).filter(|n| n.restart == job.restart) {
                Some(node) => {
                    others.energy += node.energy_at(now);
                    others.n_seen += 1;
                }
                None => others.missing.push(name.clone()),
            }
        }
        // What was reported once is never taken back.
        let floor = job.others.energy;
        for c in Component::ALL {
            let energy = *others.energy.get(c).max(floor.get(c));
            *others.energy.get_mut(c) = energy;
        }
        if self.seen.len() > 1024 {
            self.seen.retain(|id, _| *id == job_id);
        }
        others
    }
}

fn work(inbox: &Receiver<Command>) {
    let mut has_failed = false;
    let mut to_remove: Vec<(Instant, PathBuf)> = Vec::new();
    loop {
        let pause = if to_remove.is_empty() { Duration::from_secs(3600) } else { KEPT_FOR / 4 };
        match inbox.recv_timeout(pause) {
            Ok(Command::Write { path, text }) => {
                let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
                let written = parent.and_then(|()| replace(&path, text.as_bytes()));
                if let Err(e) = &written
                    && !has_failed
                {
                    log::warn!(
                        "cannot write {}: {e}; jobs over several nodes show this node only in the ledger",
                        path.display()
                    );
                }
                has_failed = written.is_err();
            }
            Ok(Command::Read { dir, nodes, reply }) => {
                // Nobody waits for an answer that comes late.
                let _ = reply.try_send(read(&dir, &nodes));
            }
            Ok(Command::Remove { path }) => to_remove.push((Instant::now(), path)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        to_remove.retain(|(since, path)| since.elapsed() < KEPT_FOR || !remove(path));
    }
}

fn remove(path: &Path) -> bool {
    let _ = fs::remove_file(path);
    // The last node of the job removes the directory; before that it is not empty.
    let _ = path.parent().map(fs::remove_dir);
    true
}

fn read(dir: &Path, nodes: &[String]) -> HashMap<String, LiveNode> {
    let read = |name: &String| {
        let text = fs::read_to_string(dir.join(format!("{name}.json"))).ok()?;
        Some((name.clone(), serde_json::from_str(&text).ok()?))
    };
    nodes.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_carried_on_with_the_last_power() {
        let at: DateTime<Utc> = "2026-11-23T10:00:00Z".parse().unwrap();
        let mut node = LiveNode {
            restart: 0,
            at,
            energy_j: ByComponent { cpu: Microjoules::new(5_000_000), ..Default::default() },
            power_w: ByComponent { cpu: 80.0, ..Default::default() },
            is_over: false,
        };
        // 5 J and 80 W for 2 s.
        let later = at + chrono::TimeDelta::seconds(2);
        assert_eq!(node.energy_at(later).cpu.as_u64(), 165_000_000);
        assert_eq!(node.energy_at(at - chrono::TimeDelta::seconds(2)).cpu.as_u64(), 5_000_000);
        node.is_over = true;
        assert_eq!(node.energy_at(later).cpu.as_u64(), 5_000_000);
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join("n1.json"), serde_json::to_string(&node).unwrap().as_bytes())
            .unwrap();
        let seen = read(dir.path(), &["n1".to_owned(), "n2".to_owned()]);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen["n1"], node);
    }
}
