//! slurmd's list of GPUs, by which SLURM_JOB_GPUS counts: `slurmd -G`, on a thread.
//!
//! It is asked at our start and whenever slurmd starts; with `AutoDetect=nvml` the answer may take
//! seconds, and no job waits for it.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ct_core::gpu::{DeviceFile, parse_slurmd_gres};

use crate::station::{Ask, GresList, Station};

/// How long slurmd may take to list its GPUs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the first job waits for the first answer.
const FIRST_ANSWER: Duration = Duration::from_millis(250);

type List = Vec<Vec<DeviceFile>>;
/// The list, once there is an answer.
type Shared = Arc<(Mutex<Option<List>>, Condvar)>;

/// Has the station number GPUs by slurmd's list, which also tells of GPUs that no meter counts yet.
pub(super) fn open(station: &mut Station) -> std::io::Result<()> {
    let shared: Shared = Arc::default();
    let (requests, inbox) = channel();
    let (answers, node) = (Arc::clone(&shared), station.node().to_owned());
    thread::Builder::new()
        .name("gres".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || work(&node, &inbox, &answers))?;
    station.number_gpus_with(asker(requests, shared));
    Ok(())
}

fn asker(requests: Sender<()>, shared: Shared) -> GresList {
    let mut has_waited = false;
    Box::new(move |ask| {
        if ask == Ask::Anew {
            // A thread that is gone has no newer answer.
            let _ = requests.send(());
        }
        let (list, answered) = &*shared;
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        if ask == Ask::ForJob && !std::mem::replace(&mut has_waited, true) {
            let waited = answered.wait_timeout_while(list, FIRST_ANSWER, |l| l.is_none());
            list = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        list.clone().unwrap_or_default()
    })
}

fn work(node: &str, inbox: &Receiver<()>, shared: &Shared) {
    loop {
        // A slurmd of one node a host may have been built without the option that names it.
        let list =
            list_gpus("slurmd", &["-G", "-N", node]).or_else(|| list_gpus("slurmd", &["-G"]));
        if list.is_none() {
            log::info!(
                "slurmd -G lists no GPU: numbers in SLURM_JOB_GPUS would be taken as those of \
                 /dev/nvidiaN"
            );
        }
        let (known, answered) = &**shared;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = list.or_else(|| known.take()).or(Some(Vec::new()));
        drop(known);
        answered.notify_all();
        if inbox.recv().is_err() {
            return;
        }
        while inbox.try_recv().is_ok() {}
    }
}

/// What slurmd prints with these arguments, where that lists a GPU.
fn list_gpus(slurmd: &str, args: &[&str]) -> Option<List> {
    let mut child = Command::new(slurmd)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut out = child.stdout.take()?;
    let mut err = child.stderr.take()?;
    // Lines for many instances are longer than a pipe holds.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let killer = kill_after(child);
    let mut text = String::new();
    let _ = out.read_to_string(&mut text);
    text.push_str(&reader.join().unwrap_or_default());
    let _ = killer.join();
    Some(parse_slurmd_gres(&text)).filter(|list| !list.is_empty())
}

fn kill_after(mut child: std::process::Child) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let end = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_job_waits_for_the_first_answer_and_no_later_one_does() {
        let shared: Shared = Arc::default();
        let (requests, inbox) = channel();
        let mut ask = asker(requests, Arc::clone(&shared));
        let start = Instant::now();
        assert!(ask(Ask::AsKnown).is_empty());
        assert!(start.elapsed() < FIRST_ANSWER, "waited for no job");
        let start = Instant::now();
        assert!(ask(Ask::ForJob).is_empty());
        assert!(start.elapsed() >= FIRST_ANSWER);
        let start = Instant::now();
        assert!(ask(Ask::ForJob).is_empty());
        assert!(start.elapsed() < FIRST_ANSWER, "waited twice");
        let list = vec![vec![DeviceFile::Nvidia(3)]];
        *shared.0.lock().unwrap() = Some(list.clone());
        assert_eq!(ask(Ask::ForJob), list);
        // That slurmd was started is passed on, and the list of before stands until the answer.
        assert!(inbox.try_recv().is_err());
        assert_eq!(ask(Ask::Anew), list);
        assert!(inbox.try_recv().is_ok());
    }

    #[test]
    fn a_slurmd_that_is_not_there_lists_nothing() {
        assert_eq!(list_gpus("no-such-slurmd", &["-G"]), None);
        let line = "slurmd: Gres Name=gpu Count=1 File=/dev/nvidia4 (null)";
        // It answers on standard error.
        let script = format!("echo '{line}' >&2");
        assert_eq!(list_gpus("sh", &["-c", &script]), Some(vec![vec![DeviceFile::Nvidia(4)]]));
        assert_eq!(list_gpus("true", &[]), None);
    }
}
