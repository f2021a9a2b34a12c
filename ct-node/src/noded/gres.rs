//! slurmd's list of GPUs, by which SLURM_JOB_GPUS counts: `slurmd -G`, on a thread.
//!
//! It is asked at our start where there is a GPU, else for the first job that names one, and again when
//! slurmd starts with another configuration; with `AutoDetect=nvml` the answer may take seconds, and
//! no job waits for it. No oftener than that: `slurmd -G` of Slurm 24.11 asks the slurmstepds of
//! running jobs what they do not answer to the service user, and each writes an error about it into
//! its job's output. Where slurmd was started with `--conf-server`, another one finds
//! no configuration, and looks for it for ever; it is given the one that was fetched.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ct_core::gpu::{DeviceFile, parse_slurmd_gres};

use crate::station::{Ask, GresList, Station};

/// How long slurmd may take to list its GPUs.
const PATIENCE: Duration = Duration::from_secs(30);
/// The configuration that a slurmd without one of its own has fetched; Slurm's commands find it
/// by themselves.
const FETCHED_CONF: &str = "/run/slurm/conf/slurm.conf";
/// Slurm's own, unless the environment names another.
const USUAL_CONF: &str = "/etc/slurm/slurm.conf";
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
    let has_gpus = station.has_gpus() || has_gpu_file(Path::new("/dev"));
    station.number_gpus_with(asker(requests, shared, has_gpus));
    Ok(())
}

/// Whether a driver of GPUs has made its device files.
fn has_gpu_file(dev: &Path) -> bool {
    let is_there = |name: &str| dev.join(name).exists();
    let is_render =
        |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("renderD");
    let mut dri = fs::read_dir(dev.join("dri")).into_iter().flatten().flatten();
    is_there("nvidiactl") || is_there("kfd") || dri.any(is_render)
}

fn asker(requests: Sender<()>, shared: Shared, has_gpus: bool) -> GresList {
    let (mut has_asked, mut has_waited) = (has_gpus, false);
    // A thread that is gone has no newer answer.
    let send = move || {
        let _ = requests.send(());
    };
    if has_asked {
        send();
    }
    Box::new(move |ask| {
        let is_first = ask == Ask::ForJob && !std::mem::replace(&mut has_asked, true);
        if is_first || (ask == Ask::Anew && has_asked) {
            send();
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
    let mut conf_before = None;
    while inbox.recv().is_ok() {
        while inbox.try_recv().is_ok() {}
        let fetched = fetched_conf(Path::new(FETCHED_CONF));
        let conf = conf_changed_at(&conf(fetched));
        if conf.is_some() && conf == conf_before {
            continue;
        }
        let list = ask_slurmd("slurmd", node, fetched);
        conf_before = conf.filter(|_| list.is_some());
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
    }
}

/// The configuration that slurmd fetched, where there is one and the environment names no other.
fn fetched_conf(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| env::var_os("SLURM_CONF").is_none() && path.exists())
}

/// Slurm's configuration on this node.
fn conf(fetched: Option<&Path>) -> PathBuf {
    let named = || env::var_os("SLURM_CONF").unwrap_or_else(|| USUAL_CONF.into()).into();
    fetched.map_or_else(named, Path::to_owned)
}

/// When slurm.conf and gres.conf beside it were changed last; `None` where the first cannot be seen.
fn conf_changed_at(conf: &Path) -> Option<(SystemTime, Option<SystemTime>)> {
    let changed_at = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    Some((changed_at(conf)?, changed_at(&conf.with_file_name("gres.conf"))))
}

fn ask_slurmd(slurmd: &str, node: &str, conf: Option<&Path>) -> Option<List> {
    // A slurmd of one node a host may have been built without the option that names it.
    let list = list_gpus(slurmd, &["-G", "-N", node], conf);
    list.or_else(|| list_gpus(slurmd, &["-G"], conf)).filter(|list| !list.is_empty())
}

/// The GPUs that slurmd lists with these arguments, and with that configuration where one is named;
/// `None` where it fails.
fn list_gpus(slurmd: &str, args: &[&str], conf: Option<&Path>) -> Option<List> {
    let mut child = Command::new(slurmd)
        .args(args)
        .envs(conf.map(|conf| ("SLURM_CONF", conf)))
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
    let list = parse_slurmd_gres(&text);
    let is_told = killer.join().is_ok_and(|is_success| is_success) || !list.is_empty();
    is_told.then_some(list)
}

/// Whether it ends in time, and well.
fn kill_after(mut child: std::process::Child) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let end = Instant::now() + PATIENCE;
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Ok(Some(status)) => return status.success(),
                _ => break,
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_job_waits_for_the_first_answer_and_no_later_one_does() {
        let shared: Shared = Arc::default();
        let (requests, inbox) = channel();
        let mut ask = asker(requests, Arc::clone(&shared), false);
        // Not on a node without a GPU, whose slurmd is started.
        assert!(ask(Ask::Anew).is_empty());
        assert!(inbox.try_recv().is_err());
        let start = Instant::now();
        assert!(ask(Ask::AsKnown).is_empty());
        assert!(start.elapsed() < FIRST_ANSWER, "waited for no job");
        let start = Instant::now();
        assert!(ask(Ask::ForJob).is_empty());
        assert!(start.elapsed() >= FIRST_ANSWER);
        assert!(inbox.try_recv().is_ok());
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
        // With a GPU it is asked at once.
        let (requests, inbox) = channel();
        let _ask = asker(requests, Arc::default(), true);
        assert!(inbox.try_recv().is_ok());
    }

    #[test]
    fn a_driver_of_gpus_is_seen_by_its_files() {
        let dev = tempfile::tempdir().unwrap();
        assert!(!has_gpu_file(dev.path()));
        // The card of a BMC renders nothing.
        fs::create_dir(dev.path().join("dri")).unwrap();
        fs::write(dev.path().join("dri/card0"), "").unwrap();
        assert!(!has_gpu_file(dev.path()));
        fs::write(dev.path().join("dri/renderD128"), "").unwrap();
        assert!(has_gpu_file(dev.path()));
    }

    #[test]
    fn a_configuration_that_is_the_same_is_known_by_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("slurm.conf");
        assert_eq!(conf_changed_at(&conf), None);
        fs::write(&conf, "").unwrap();
        let before = conf_changed_at(&conf);
        assert!(before.is_some());
        assert_eq!(conf_changed_at(&conf), before);
        fs::write(dir.path().join("gres.conf"), "").unwrap();
        assert_ne!(conf_changed_at(&conf), before);
    }

    #[test]
    fn a_slurmd_that_is_not_there_lists_nothing() {
        assert_eq!(list_gpus("no-such-slurmd", &["-G"], None), None);
        let line = "slurmd: Gres Name=gpu Count=1 File=/dev/nvidia4 (null)";
        // It answers on standard error.
        let script = format!("echo '{line}' >&2");
        assert_eq!(
            list_gpus("sh", &["-c", &script], None),
            Some(vec![vec![DeviceFile::Nvidia(4)]])
        );
        assert_eq!(list_gpus("true", &[], None), Some(Vec::new()));
        assert_eq!(list_gpus("false", &[], None), None);
    }

    #[test]
    fn a_slurmd_without_a_configuration_is_given_the_one_that_was_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let (slurmd, conf) = (dir.path().join("slurmd"), dir.path().join("slurm.conf"));
        let line = "slurmd: Gres Name=gpu Count=1 File=/dev/nvidia2 (null)";
        let script = format!("#!/bin/sh\n[ -z \"$SLURM_CONF\" ] || echo '{line}'\n");
        fs::write(&slurmd, script).unwrap();
        fs::set_permissions(&slurmd, Permissions::from_mode(0o755)).unwrap();
        let ask = || ask_slurmd(slurmd.to_str().unwrap(), "n1", fetched_conf(&conf));
        assert_eq!(ask(), None, "nothing was fetched");
        fs::write(&conf, "").unwrap();
        assert_eq!(ask(), Some(vec![vec![DeviceFile::Nvidia(2)]]));
    }
}
