//! A meter on a thread of its own, so that one that hangs holds up nobody.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::{Device, ReadError, Source};

/// How long a meter may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

type Readings = Vec<Result<u64, ReadError>>;

/// A source whose readings come from its own thread.
///
/// A reading that is not there within the patience is reported as [`ReadError::Silent`]; until the
/// thread answers that request, the meter is set aside: it is looked at, not waited for.
pub struct Worker {
    name: String,
    devices: Vec<Device>,
    requests: SyncSender<()>,
    replies: Receiver<Readings>,
    patience: Duration,
    is_owed: bool,
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
        let (requests, inbox) = sync_channel::<()>(1);
        let (outbox, replies) = sync_channel::<Readings>(1);
        thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(move || {
            while inbox.recv().is_ok() {
                if outbox.send(source.read()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { name: name.to_owned(), devices, requests, replies, patience, is_owed: false })
    }

    fn silent(&self) -> Readings {
        let error = || ReadError::Silent { meter: self.name.clone(), waited: self.patience };
        self.devices.iter().map(|_| Err(error())).collect()
    }
}

impl Source for Worker {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Readings {
        if self.is_owed {
            // The late answer is of an earlier instant; a fresh one is asked for after it.
            if self.replies.try_recv().is_err() {
                return self.silent();
            }
            self.is_owed = false;
        }
        if self.requests.send(()).is_err() {
            return self.silent();
        }
        match self.replies.recv_timeout(self.patience) {
            Ok(readings) => readings,
            Err(RecvTimeoutError::Timeout) => {
                self.is_owed = true;
                self.silent()
            }
            Err(RecvTimeoutError::Disconnected) => self.silent(),
        }
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
}
