//! Looking for meters whose drivers may hang, each on a thread of its own.
//!
//! A search that has not answered within the patience is left to itself: the node is measured
//! without what it looks for, which is said, and what it finds is taken when it answers. GPUs are
//! looked for again when asked, as their driver may have come since.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Instant;

use super::choice::Chosen;
use super::health::timestamp;
use crate::energy::Component;
use crate::sample::Moment;
use crate::source::worker::PATIENCE;
use crate::source::{Device, GpuProcess, Partition, ReadError, Source};

/// Hands on what a search has found so far.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Chosen);

/// A search that goes on.
pub(super) struct Search {
    pub(super) name: &'static str,
    found: Receiver<Chosen>,
    since: Moment,
    /// Whether it was given up to wait for.
    pub(super) is_late: bool,
}

impl Search {
    /// Starts it; where no thread can be started nothing is found, and that is said.
    pub(super) fn start(
        name: &'static str,
        since: Moment,
        look: impl FnOnce(Tell<'_>) + Send + 'static,
    ) -> Self {
        let (outbox, found) = channel();
        let problems = outbox.clone();
        let work = move || {
            look(&mut |chosen| {
                // Who asked may be gone: then nobody wants it.
                let _ = outbox.send(chosen);
            });
        };
        let builder = thread::Builder::new().name(format!("find-{name}"));
        if let Err(e) = builder.stack_size(512 * 1024).spawn(work) {
            let problem = format!("{name}: not looked for: cannot start a thread: {e}");
            let _ = problems.send(Chosen { problems: vec![problem], ..Chosen::default() });
        }
        Self { name, found, since, is_late: false }
    }

    /// What it has found since it was asked last, and whether it is over; waits until then.
    fn take(&mut self, until: Option<Instant>) -> (Chosen, bool) {
        let mut all = Chosen::default();
        loop {
            let found = match until {
                Some(until) => {
                    self.found.recv_timeout(until.saturating_duration_since(Instant::now()))
                }
                None => self.found.try_recv().map_err(|e| match e {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
            };
            match found {
                Ok(found) => all.extend(found),
                Err(RecvTimeoutError::Disconnected) => return (all, true),
                Err(RecvTimeoutError::Timeout) => return (all, false),
            }
        }
    }

    /// What is lost as long as it goes on, in words.
    pub(super) fn outage(&self) -> Option<String> {
        let (name, waited, since) = (self.name, PATIENCE.as_secs(), timestamp(&self.since));
        self.is_late.then(|| {
            format!(
                "{name} did not answer within {waited} s when its meters were looked for; their \
                 energy is not included since {since}"
            )
        })
    }

    /// The same once it is over.
    fn end_of_outage(&self, until: &Moment) -> Option<String> {
        let (name, waited) = (self.name, PATIENCE.as_secs());
        let (since, until) = (timestamp(&self.since), timestamp(until));
        self.is_late.then(|| {
            format!(
                "{name} did not answer within {waited} s when its meters were looked for; their \
                 energy is not included from {since} to {until}"
            )
        })
    }
}

/// Searches that go on.
#[derive(Default)]
pub(super) struct Searches(Vec<Search>);

impl Searches {
    /// Whether one of this name goes on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|search| search.name == name)
    }

    /// Whether none goes on.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, search: Search) {
        self.0.push(search);
    }

    /// Those that were given up to wait for.
    pub(super) fn late(&self) -> impl Iterator<Item = &Search> {
        self.0.iter().filter(|search| search.is_late)
    }

    /// Waits for all of them, no longer than the patience; those that do not answer are late.
    pub(super) fn wait(&mut self) -> Vec<Answer> {
        let until = Instant::now() + PATIENCE;
        let answers = self.take(Some(until), None);
        for search in &mut self.0 {
            search.is_late = true;
            log::warn!("{} did not answer within {} s", search.name, PATIENCE.as_secs());
        }
        answers
    }

    /// What has been found meanwhile; waits for nothing.
    pub(super) fn take_found(&mut self, at: &Moment) -> Vec<Answer> {
        self.take(None, Some(at))
    }

    fn take(&mut self, until: Option<Instant>, at: Option<&Moment>) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.0.retain_mut(|search| {
            let (found, is_over) = search.take(until);
            let outage = at.filter(|_| is_over).and_then(|at| search.end_of_outage(at));
            if !found.is_empty() || outage.is_some() {
                answers.push(Answer { name: search.name, found, outage });
            }
            search.is_late |= at.is_some_and(|at| at.since(&search.since) > PATIENCE);
            !is_over
        });
        answers
    }
}

/// What a search has found.
pub(super) struct Answer {
    pub(super) name: &'static str,
    pub(super) found: Chosen,
    /// How long it was silent and what is lost, where it was late and is over.
    pub(super) outage: Option<String>,
}

/// A source of which some devices are left out, as others count them.
struct Part {
    source: Box<dyn Source>,
    devices: Vec<Device>,
    is_kept: Vec<bool>,
}

/// The devices of a source that nobody counts yet; `None` where that is none.
pub(super) fn without_known(source: Box<dyn Source>, known: &[Device]) -> Option<Box<dyn Source>> {
    let is_new = |device: &Device| match device.component {
        Component::Gpu => known.iter().all(|d| d.id != device.id),
        component => known.iter().all(|d| d.component != component),
    };
    let is_kept: Vec<bool> = source.devices().iter().map(is_new).collect();
    if is_kept.iter().all(|is_kept| *is_kept) {
        return Some(source);
    }
    let kept = source.devices().iter().zip(&is_kept).filter(|(_, is_kept)| **is_kept);
    let devices: Vec<Device> = kept.map(|(device, _)| device.clone()).collect();
    (!devices.is_empty()).then(|| Box::new(Part { source, devices, is_kept }) as Box<dyn Source>)
}

impl Part {
    fn has(&self, id: &str) -> bool {
        self.devices.iter().any(|device| device.id == id)
    }
}

impl Source for Part {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn begin(&mut self) -> bool {
        self.source.begin()
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let all = self.source.read().into_iter().zip(&self.is_kept);
        all.filter(|(_, is_kept)| **is_kept).map(|(reading, _)| reading).collect()
    }

    fn partitions(&mut self) -> Vec<Partition> {
        let all = self.source.partitions();
        all.into_iter().filter(|p| self.has(&p.device_id)).collect()
    }

    fn processes(&mut self) -> Vec<GpuProcess> {
        let all = self.source.processes();
        all.into_iter().filter(|p| self.has(&p.device_id)).collect()
    }
}

/// Where GPUs are looked for.
#[derive(Clone, Debug)]
pub(super) struct GpuPlaces {
    pub(super) sysfs: PathBuf,
    pub(super) nvml_library: Option<PathBuf>,
}

impl GpuPlaces {
    /// Starts a search at each driver, unless one goes on there.
    pub(super) fn search(&self, searches: &mut Searches, since: Moment) {
        #[cfg(feature = "nvml")]
        if !searches.has("NVML") {
            let library = self.nvml_library.clone();
            let look = move |tell: Tell<'_>| tell(Chosen::nvml(library.as_deref()));
            searches.push(Search::start("NVML", since, look));
        }
        // Most nodes have no directory of graphics cards: no thread is started for nothing.
        let sysfs = self.sysfs.clone();
        if !searches.has("drm") && has_cards(&sysfs) {
            let look = move |tell: Tell<'_>| tell(Chosen::drm(&sysfs));
            searches.push(Search::start("drm", since, look));
        }
    }
}

fn has_cards(sysfs: &Path) -> bool {
    sysfs.join("class/drm").is_dir()
}

#[cfg(test)]
mod tests;
