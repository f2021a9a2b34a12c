//! A meter on a thread of its own, so that one that hangs holds up nobody.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Device, GpuProcess, Partition, ReadError, Source};

/// How long a meter may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long one may take that did not answer in time before, until it has.
const BRIEF: Duration = Duration::from_millis(50);

type Readings = Vec<Result<u64, ReadError>>;

enum Request {
    Read,
    Partitions,
    Processes,
}

enum Reply {
    Readings(Readings),
    Partitions(Vec<Partition>),
    Processes(Vec<GpuProcess>),
}

/// A source whose readings come from its own thread.
///
/// A reading that is not there within the patience is reported as [`ReadError::Silent`]; until the
/// thread answers that request, the meter is set aside: it is looked at, not waited for, and then
/// waited for briefly until it answers in time again. Partitions and processes that are not there in
/// time are those of the last answer.
pub struct Worker {
    name: String,
    devices: Vec<Device>,
    requests: SyncSender<Request>,
    replies: Receiver<Reply>,
    patience: Duration,
    /// When the answer that is awaited was asked for.
    asked: Option<Instant>,
    /// Whether an answer that was given up is still to come.
    is_owed: bool,
    is_slow: bool,
    partitions: Vec<Partition>,
    processes: Vec<GpuProcess>,
}

impl Worker {
    /// Moves `source` to a thread.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn spawn(
        name: &str,
        mut source: Box<dyn Source>,
        patience: Duration,
    ) -> std::io::Result<Self> {
        let devices = source.devices().to_vec();
        let (requests, inbox) = sync_channel(1);
        let (outbox, replies) = sync_channel(1);
        thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(move || {
            while let Ok(request) = inbox.recv() {
                if outbox.send(answer(source.as_mut(), &request)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            name: name.to_owned(),
            devices,
            requests,
            replies,
            patience,
            asked: None,
            is_owed: false,
            is_slow: false,
            partitions: Vec::new(),
            processes: Vec::new(),
        })
    }

    /// Asks, unless an earlier answer is still to come.
    fn ask(&mut self, request: Request) -> bool {
        if self.is_owed {
            // The late answer is of an earlier instant; a fresh one is asked for after it.
            if self.replies.try_recv().is_err() {
                return false;
            }
            self.is_owed = false;
        }
        let is_sent = self.requests.send(request).is_ok();
        self.asked = is_sent.then(Instant::now);
        is_sent
    }

    /// The answer to what was asked, if it comes in time.
    fn answer(&mut self) -> Option<Reply> {
        let asked = self.asked.take()?;
        let patience = if self.is_slow { BRIEF.min(self.patience) } else { self.patience };
        let reply = self.replies.recv_timeout(patience.saturating_sub(asked.elapsed()));
        self.is_owed = matches!(reply, Err(RecvTimeoutError::Timeout));
        self.is_slow = self.is_owed;
        reply.ok()
    }

    fn silent(&self) -> Readings {
        let error = || ReadError::Silent { meter: self.name.clone(), waited: self.patience };
        self.devices.iter().map(|_| Err(error())).collect()
    }
}

fn answer(source: &mut dyn Source, request: &Request) -> Reply {
    match request {
        Request::Read => Reply::Readings(source.read()),
        Request::Partitions => Reply::Partitions(source.partitions()),
        Request::Processes => Reply::Processes(source.processes()),
    }
}

impl Source for Worker {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn begin(&mut self) -> bool {
        self.ask(Request::Read)
    }

    fn read(&mut self) -> Readings {
        if self.asked.is_none() {
            self.begin();
        }
        match self.answer() {
            Some(Reply::Readings(readings)) => readings,
            _ => self.silent(),
        }
    }

    fn partitions(&mut self) -> Vec<Partition> {
        self.ask(Request::Partitions);
        if let Some(Reply::Partitions(partitions)) = self.answer() {
            self.partitions = partitions;
        }
        self.partitions.clone()
    }

    fn processes(&mut self) -> Vec<GpuProcess> {
        self.ask(Request::Processes);
        if let Some(Reply::Processes(processes)) = self.answer() {
            self.processes = processes;
        }
        self.processes.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::energy::Component;

    struct Gated(Arc<Mutex<u64>>, [Device; 1]);

    impl Source for Gated {
        fn devices(&self) -> &[Device] {
            &self.1
        }
        fn read(&mut self) -> Readings {
            let mut n = self.0.lock().unwrap();
            *n += 1;
            vec![Ok(*n)]
        }
        fn processes(&mut self) -> Vec<GpuProcess> {
            let pid = u32::try_from(*self.0.lock().unwrap()).unwrap();
            vec![GpuProcess { pid, device_id: "g".to_owned(), partition: None }]
        }
    }

    #[test]
    fn a_meter_that_hangs_is_set_aside_and_taken_back() {
        let device = Device::new(Component::Gpu, "g", "g", "m");
        let gate = Arc::new(Mutex::new(0));
        let source = Box::new(Gated(Arc::clone(&gate), [device]));
        let mut worker = Worker::spawn("gated", source, Duration::from_millis(50)).unwrap();
        assert_eq!(*worker.read()[0].as_ref().unwrap(), 1);
        let held = gate.lock().unwrap();
        assert!(matches!(worker.read()[0], Err(ReadError::Silent { .. })));
        assert!(matches!(worker.read()[0], Err(ReadError::Silent { .. })));
        drop(held);
        let answer = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            worker.read().remove(0).ok()
        });
        assert_eq!(answer, Some(3));
    }

    /// A meter that takes its time, and how long it takes from now on.
    struct Slow(Arc<Mutex<Duration>>, [Device; 1]);

    impl Source for Slow {
        fn devices(&self) -> &[Device] {
            &self.1
        }
        fn read(&mut self) -> Readings {
            let pause = *self.0.lock().unwrap();
            thread::sleep(pause);
            vec![Ok(1)]
        }
    }

    fn slow(ms: u64, patience_ms: u64) -> (Worker, Arc<Mutex<Duration>>) {
        let pause = Arc::new(Mutex::new(Duration::from_millis(ms)));
        let device = Device::new(Component::Gpu, "g", "g", "m");
        let source = Box::new(Slow(Arc::clone(&pause), [device]));
        (Worker::spawn("slow", source, Duration::from_millis(patience_ms)).unwrap(), pause)
    }

    #[test]
    fn meters_that_were_all_asked_take_their_time_together() {
        let mut workers = [slow(200, 2000).0, slow(200, 2000).0, slow(200, 2000).0];
        let start = Instant::now();
        assert!(workers.iter_mut().all(Source::begin));
        assert!(workers.iter_mut().all(|w| w.read()[0].is_ok()));
        assert!(start.elapsed() < Duration::from_millis(550), "{:?}", start.elapsed());
    }

    #[test]
    fn a_meter_that_stays_too_slow_is_waited_for_once() {
        let (mut worker, pause) = slow(400, 300);
        assert!(worker.read()[0].is_err());
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(150));
            let start = Instant::now();
            assert!(worker.read()[0].is_err());
            assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        }
        *pause.lock().unwrap() = Duration::ZERO;
        assert!((0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            worker.read()[0].is_ok()
        }));
        // Taken back, it may take its time again.
        *pause.lock().unwrap() = Duration::from_millis(150);
        assert!(worker.read()[0].is_ok());
    }

    #[test]
    fn processes_that_do_not_come_in_time_are_those_of_the_last_answer() {
        let device = Device::new(Component::Gpu, "g", "g", "m");
        let gate = Arc::new(Mutex::new(7));
        let source = Box::new(Gated(Arc::clone(&gate), [device]));
        let mut worker = Worker::spawn("gated", source, Duration::from_millis(50)).unwrap();
        // A machine under load may take longer than the patience.
        let mut answers = |pid: u32| {
            (0..200).any(|_| {
                std::thread::sleep(Duration::from_millis(5));
                worker.processes().iter().any(|p| p.pid == pid)
            })
        };
        assert!(answers(7));
        let mut held = gate.lock().unwrap();
        *held = 8;
        assert!(answers(7));
        drop(held);
        assert!(answers(8));
        assert!(worker.partitions().is_empty());
    }
}
