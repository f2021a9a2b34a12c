//! Watches a small file that the site keeps for all nodes, on a thread: it may lie on a file system
//! that hangs.
//!
//! Whoever asks gets what was read last, at once. A file that is gone, or is not understood, gives
//! nothing and a reason.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the start waits for the first look.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// How much longer than agreed a look may take before the file counts as one that hangs.
const SILENCE: Duration = Duration::from_secs(30);
/// Largest file that is read: ten years of five minutes are 60 MB.
const MOST_BYTES: u64 = 256 << 20;

/// Makes a value of the file's text, or says what is wrong with it.
pub type Parse<T> = Box<dyn Fn(&str) -> Result<T, String> + Send>;

/// What the last look found.
#[derive(Debug, PartialEq)]
pub struct Seen<T> {
    /// The value.
    pub value: Option<Arc<T>>,
    /// Why there is none, or why it may be old.
    pub problem: Option<String>,
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), problem: self.problem.clone() }
    }
}

/// What is to be watched.
pub struct Watched<T> {
    /// Name of the thread.
    pub thread: &'static str,
    /// What the file is called in messages, without its path.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Time between two looks.
    pub pause: Duration,
    /// What its text means.
    pub parse: Parse<T>,
    /// What comes of it that it cannot be had, for the log.
    pub consequence: &'static str,
}

impl<T> Watched<T> {
    fn show(&self) -> String {
        format!("{} {}", self.name, self.path.display()).trim_start().to_owned()
    }
}

/// A file that is watched, for as long as this lives.
pub struct FileWatch<T> {
    shown: String,
    pause: Duration,
    seen: Arc<Mutex<(Seen<T>, Instant)>>,
    /// Dropped, it ends the thread.
    _end: Sender<()>,
}

impl<T: Send + Sync + PartialEq + 'static> FileWatch<T> {
    /// Starts watching.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(watched: Watched<T>) -> io::Result<Self> {
        let (shown, pause) = (watched.show(), watched.pause);
        let unread = Seen { value: None, problem: Some(format!("{shown} is not read yet")) };
        let seen = Arc::new(Mutex::new((unread, Instant::now())));
        let (end, ended) = channel();
        let (first, is_seen) = sync_channel(1);
        let shared = Arc::clone(&seen);
        let name = watched.thread.to_owned();
        let found = Seen { value: None, problem: None };
        let look = Look { watched, last: None, found };
        thread::Builder::new()
            .name(name)
            .stack_size(256 * 1024)
            .spawn(move || watch(look, &shared, &ended, &first))?;
        // Late is not too late: the next sample sees it.
        let _ = is_seen.recv_timeout(PATIENCE);
        Ok(Self { shown, pause, seen, _end: end })
    }

    /// What was found last; says so where that is long ago.
    pub fn latest(&self) -> Seen<T> {
        let (mut found, at) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if at.elapsed() > self.pause + SILENCE {
            let seconds = at.elapsed().as_secs();
            found.problem = Some(format!("{} has not answered for {seconds} s", self.shown));
        }
        found
    }
}

fn watch<T: PartialEq>(
    mut look: Look<T>,
    seen: &Mutex<(Seen<T>, Instant)>,
    ended: &Receiver<()>,
    first: &SyncSender<()>,
) {
    loop {
        look.look();
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = (look.found.clone(), Instant::now());
        let _ = first.try_send(());
        if !matches!(ended.recv_timeout(look.watched.pause), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// What tells one state of the file from another.
type Identity = (u64, u64, u64, i64, i64);

struct Look<T> {
    watched: Watched<T>,
    last: Option<Identity>,
    found: Seen<T>,
}

impl<T: PartialEq> Look<T> {
    /// Reads the file if it has changed.
    fn look(&mut self) {
        let shown = self.watched.show();
        let problem =
            |reason: String| Seen { value: None, problem: Some(format!("{shown}: {reason}")) };
        let found = match self.read() {
            Ok(None) => return,
            Ok(Some(text)) => match (self.watched.parse)(&text) {
                Ok(value) => Seen { value: Some(Arc::new(value)), problem: None },
                Err(reason) => problem(reason),
            },
            Err(e) => {
                self.last = None;
                problem(e.to_string())
            }
        };
        // A problem is logged when it comes up, not at every look.
        if let Some(problem) = found.problem.as_ref().filter(|_| found != self.found) {
            log::warn!("{problem}; {}", self.watched.consequence);
        }
        self.found = found;
    }

    /// The text; `None` where the file is as it was.
    fn read(&mut self) -> io::Result<Option<String>> {
        let mut file = File::open(&self.watched.path)?;
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
}
