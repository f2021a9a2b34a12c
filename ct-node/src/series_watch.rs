//! Watches the site's file of intensities, on a thread: it may lie on a file system that hangs.
//!
//! Whoever asks gets what was read last, at once. A file that is gone, cannot be read or has no value
//! of the zone gives no series, and the reason goes into the records.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ct_core::carbon::intensity::IntensitySeries;
use ct_core::carbon::series;
use ct_core::config::Carbon;

/// How long the start of a station waits for the first look.
const PATIENCE: Duration = Duration::from_millis(500);
/// How much longer than agreed a look may take before the file counts as one that hangs.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest file that is read: ten years of five minutes are 60 MB.
const MOST_BYTES: u64 = 256 << 20;

/// What the last look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The series of the zone.
    pub series: Option<Arc<IntensitySeries>>,
    /// Why there is none, or why it may be old.
    pub problem: Option<String>,
}

/// A file that is watched, for as long as this lives.
pub struct SeriesWatch {
    path: PathBuf,
    pause: Duration,
    seen: Arc<Mutex<(Found, Instant)>>,
    /// Dropped, it ends the thread.
    _end: Sender<()>,
}

impl SeriesWatch {
    /// Starts watching the configured file; `None` where none is configured.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(carbon: &Carbon) -> io::Result<Option<Self>> {
        let (Some(path), Some(zone)) = (carbon.series_file.clone(), carbon.zone.clone()) else {
            return Ok(None);
        };
        let pause = Duration::from_secs_f64(carbon.series_check_s);
        let unread =
            Found { series: None, problem: Some(format!("{} is not read yet", show(&path))) };
        let seen = Arc::new(Mutex::new((unread, Instant::now())));
        let (end, ended) = channel();
        let (first, is_seen) = sync_channel(1);
        let look = Look { path: path.clone(), zone, last: None, found: Found::default() };
        let shared = Arc::clone(&seen);
        thread::Builder::new()
            .name("series".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || watch(look, pause, &shared, &ended, &first))?;
        // Late is not too late: the next sample sees it.
        let _ = is_seen.recv_timeout(PATIENCE);
        Ok(Some(Self { path, pause, seen, _end: end }))
    }

    /// What was found last; says so where that is long ago.
    pub fn latest(&self) -> Found {
        let (mut found, at) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if at.elapsed() > self.pause + SILENCE {
            let seconds = at.elapsed().as_secs();
            found.problem = Some(format!("{} has not answered for {seconds} s", show(&self.path)));
        }
        found
    }
}

fn show(path: &Path) -> String {
    format!("carbon.series_file {}", path.display())
}

fn watch(
    mut look: Look,
    pause: Duration,
    seen: &Mutex<(Found, Instant)>,
    ended: &Receiver<()>,
    first: &SyncSender<()>,
) {
    loop {
        look.look();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = (look.found.clone(), Instant::now());
        let _ = first.try_send(());
        if !matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// What tells one state of the file from another.
type Identity = (u64, u64, u64, i64, i64);

struct Look {
    path: PathBuf,
    zone: String,
    last: Option<Identity>,
    found: Found,
}

impl Look {
    /// Reads the file if it has changed.
    fn look(&mut self) {
        let found = match self.read() {
            Ok(None) => return,
            Ok(Some(text)) => self.take(&text),
            Err(e) => {
                self.last = None;
                Found { series: None, problem: Some(format!("{}: {e}", show(&self.path))) }
            }
        };
        // A problem is logged when it comes up, not at every look.
        if let Some(problem) = found.problem.as_ref().filter(|_| found != self.found) {
            log::warn!("{problem}; jobs are priced with the annual average");
        }
        self.found = found;
    }

    /// The text; `None` where the file is as it was.
    fn read(&mut self) -> io::Result<Option<String>> {
        let mut file = File::open(&self.path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() > MOST_BYTES {
            return Err(io::Error::other("no regular file below 256 MiB"));
        }
        let identity = (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        if self.last == Some(identity) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MOST_BYTES).read_to_end(&mut bytes)?;
        self.last = Some(identity);
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn take(&self, text: &str) -> Found {
        let (points, skipped) = series::parse(text);
        let path = show(&self.path);
        if let Some(first) = skipped.first() {
            let n = skipped.len();
            log::warn!("{path}: {n} lines skipped; line {}: {}", first.line, first.reason);
        }
        let series = IntensitySeries::new(&self.zone, &points);
        if series.is_empty() {
            let reason = series::unknown_zone(&self.zone, &points);
            return Found { series: None, problem: Some(format!("{path}: {reason}")) };
        }
        let last = series.hours().next_back().map(|(hour, _)| hour.to_rfc3339());
        let (n, zone) = (series.hours().count(), &self.zone);
        log::info!("{path}: {n} hours of zone {zone}, up to {}", last.unwrap_or_default());
        Found { series: Some(Arc::new(series)), problem: None }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn carbon(path: &Path) -> Carbon {
        Carbon {
            series_file: Some(path.to_owned()),
            zone: Some("DK1".to_owned()),
            series_check_s: 0.02,
            ..Carbon::default()
        }
    }

    fn wait_until(watch: &SeriesWatch, what: impl Fn(&Found) -> bool) -> Found {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let found = watch.latest();
            if what(&found) {
                return found;
            }
            assert!(Instant::now() < end, "{found:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn g(found: &Found) -> Option<f64> {
        let at = "2026-11-23T10:30:00Z".parse().unwrap();
        Some(found.series.as_deref()?.at(at)?.intensity.as_g_per_kwh())
    }

    #[test]
    fn a_change_is_noticed_and_so_is_the_end_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.csv");
        let line = |g: u32| format!("2026-11-23T10:00:00Z,DK1,{g},X actual\n");
        fs::write(&path, line(100)).unwrap();
        let watch = SeriesWatch::start(&carbon(&path)).unwrap().unwrap();
        assert_eq!(g(&watch.latest()), Some(100.0));
        assert_eq!(watch.latest().problem, None);

        // Replaced in one step, with a text of the same length.
        fs::write(dir.path().join("new"), line(200)).unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        wait_until(&watch, |found| g(found) == Some(200.0));

        fs::write(&path, line(300).replace("DK1", "DK2")).unwrap();
        let found = wait_until(&watch, |found| found.series.is_none());
        let problem = found.problem.unwrap();
        assert!(problem.contains("no zone \"DK1\"") && problem.contains("\"DK2\""), "{problem}");

        fs::remove_file(&path).unwrap();
        wait_until(&watch, |found| found.problem.as_ref().is_some_and(|p| p.contains("No such")));
        fs::write(&path, line(400)).unwrap();
        wait_until(&watch, |found| g(found) == Some(400.0) && found.problem.is_none());
    }

    #[test]
    fn a_file_that_hangs_holds_up_nobody_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let begun = Instant::now();
        // Opening a FIFO nobody writes to blocks, as does a file server that is away.
        let watch = SeriesWatch::start(&carbon(&path)).unwrap().unwrap();
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(2));
        let problem = watch.latest().problem.unwrap();
        assert!(problem.contains("not read yet"), "{problem}");
        // Frees the thread.
        drop(watch);
        drop(std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
    }

    #[test]
    fn what_is_configured_nowhere_is_not_watched() {
        assert!(SeriesWatch::start(&Carbon::default()).unwrap().is_none());
    }
}
