//! Ends of jobs that hooks told and nobody answered for: they lie in files in the run directory, as
//! what was told to a ct-noded that is killed before it reads it is lost.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ct_core::protocol::{ENDED_DIR, JobEnd, MAX_MESSAGE, Request, parse_request};

use crate::station::Station;

/// How long a hook may take to write a file, at most.
const BEING_WRITTEN: Duration = Duration::from_secs(60);

/// The directory of these files; hooks make them, we alone remove them.
pub(super) struct Untold {
    dir: PathBuf,
    /// What was heard, and is removed once it is kept.
    heard: BTreeSet<PathBuf>,
    /// What was said of the directory: once.
    said: Option<String>,
}

impl Untold {
    pub(super) fn open(run_dir: &Path) -> Self {
        let dir = run_dir.join(ENDED_DIR);
        let mut untold = Self { dir, heard: BTreeSet::new(), said: None };
        untold.make();
        untold
    }

    /// Makes the directory where it is not, or not any more.
    fn make(&mut self) {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => self.say(&e),
            _ => {}
        }
    }

    /// Says what is wrong with the directory, unless that was said last.
    fn say(&mut self, error: &io::Error) {
        let text = error.to_string();
        if self.said.as_ref() != Some(&text) {
            let dir = self.dir.display();
            log::warn!("{dir}: {text}; an end that a hook tells in vain may be lost");
            self.said = Some(text);
        }
    }

    /// The files that there are; none in a directory that somebody else may write to.
    fn files(&mut self) -> Vec<PathBuf> {
        match list(&self.dir) {
            Ok(files) => {
                self.said = None;
                files
            }
            Err(e) => {
                match e.kind() {
                    io::ErrorKind::NotFound => self.make(),
                    _ => self.say(&e),
                }
                Vec::new()
            }
        }
    }

    /// An end was told and heard: its file, if there is one, says nothing new.
    pub(super) fn forget(&self, end: &JobEnd) {
        let _ = fs::remove_file(self.dir.join(end.file_name()));
    }

    /// Hears what nobody has heard, of before an instant where one is given; says whether there was
    /// anything.
    ///
    /// The caller has answered all that lies in the socket, or asks for what was told before there was
    /// one: an end that lies there, too, is heard there, after the start that may lie before it.
    pub(super) fn take(&mut self, station: &mut Station, before: Option<SystemTime>) -> bool {
        let mut ends = Vec::<JobEnd>::new();
        for path in self.files() {
            let is_asked_for =
                before.is_none_or(|before| written(&path).is_some_and(|at| at < before));
            if !is_asked_for || self.heard.contains(&path) {
                continue;
            }
            match read(&path) {
                Ok(end) => ends.push(end),
                // It may be being written.
                Err(_) if is_new(&path) => continue,
                Err(e) => log::warn!("{} is no end of a job: {e}", path.display()),
            }
            self.heard.insert(path);
        }
        ends.sort_by_key(|end| end.job.told_at_ms);
        for end in ends {
            log::info!("job {}: its end was told to nobody", end.job.job_id);
            station.job_ended(end);
        }
        !self.heard.is_empty()
    }

    /// Removes the files of what was heard: it is kept elsewhere.
    pub(super) fn remove_heard(&mut self) {
        for path in std::mem::take(&mut self.heard) {
            let _ = fs::remove_file(path);
        }
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let metadata = fs::symlink_metadata(dir)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_dir() || !is_trusted(owner) || mode & 0o022 != 0 {
        let seen = format!("it is uid {owner}'s with mode {mode:o}");
        let expected = "expected a directory that is ours or root's, and nobody else's to write to";
        return Err(io::Error::other(format!("{seen}, {expected}; nothing in it is believed")));
    }
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// Root, whom hooks run as, and ourselves.
fn is_trusted(uid: u32) -> bool {
    [0, nix::unistd::geteuid().as_raw()].contains(&uid)
}

/// Whether a file was written within the last minute.
fn is_new(path: &Path) -> bool {
    written(path).is_some_and(|at| at.elapsed().is_ok_and(|age| age < BEING_WRITTEN))
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read(path: &Path) -> io::Result<JobEnd> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_trusted(metadata.uid()) {
        return Err(io::Error::other("it is not root's"));
    }
    let mut line = Vec::new();
    file.take(MAX_MESSAGE as u64).read_to_end(&mut line)?;
    match parse_request(&line) {
        Ok(Request::JobEnd(end)) => Ok(end),
        Ok(_) => Err(io::Error::other("another request")),
        Err(e) => Err(io::Error::other(format!("{:#}", anyhow::Error::from(e)))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ct_core::config::Config;
    use ct_core::protocol::{JobFacts, to_line};
    use ct_core::sampler::Sampler;

    use super::*;

    fn end(job_id: u32, told_at_ms: u64) -> JobEnd {
        let facts = JobFacts { job_id, told_at_ms: Some(told_at_ms), ..JobFacts::default() };
        JobEnd { job: Box::new(facts), wait_status: Some(0) }
    }

    #[test]
    fn ends_that_nobody_heard_are_heard_in_their_order_and_others_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut untold = Untold::open(dir.path());
        let files = dir.path().join(ENDED_DIR);
        for end in [end(2, 30), end(1, 20), end(3, 10)] {
            let line = to_line(&Request::JobEnd(end.clone())).unwrap();
            fs::write(files.join(end.file_name()), line).unwrap();
        }
        fs::write(files.join("torn"), "{\"v\":1,\"op\":\"job_e").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", files.join("link")).unwrap();
        untold.forget(&end(3, 10));
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        let mut station = Station::new(Config::default(), "n1".to_owned(), sampler);
        // Job 2 was known; of job 1 nobody had heard.
        station.job_start(JobFacts { job_id: 2, ..JobFacts::default() });
        // A socket that was there before them may hold what they tell.
        assert!(!untold.take(&mut station, Some(SystemTime::UNIX_EPOCH)));
        assert!(untold.take(&mut station, None));
        let ended: Vec<_> =
            station.ended().iter().map(|e| (e.job.facts.job_id, e.is_end_only)).collect();
        assert_eq!(ended, [(1, true), (2, false)]);
        assert!(station.jobs().is_empty());
        // Heard once, though the files stay until what they tell is kept.
        assert!(untold.take(&mut station, None));
        assert_eq!(station.ended().len(), 2);
        untold.remove_heard();
        assert!(!files.join("1-20.json").exists());
        // What is torn may be being written, but not for longer than a minute.
        let torn = files.join("torn");
        assert!(torn.exists());
        let old = SystemTime::now() - 2 * BEING_WRITTEN;
        fs::File::options().write(true).open(&torn).unwrap().set_modified(old).unwrap();
        assert!(untold.take(&mut station, None));
        untold.remove_heard();
        assert!(!torn.exists());
    }

    #[test]
    fn nothing_is_believed_in_a_directory_that_others_can_write_to_and_that_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut untold = Untold::open(dir.path());
        let files = dir.path().join(ENDED_DIR);
        let line = to_line(&Request::JobEnd(end(1, 20))).unwrap();
        fs::write(files.join(end(1, 20).file_name()), line).unwrap();
        let sampler = Sampler::new(Vec::new(), Path::new("/nonexistent"));
        let mut station = Station::new(Config::default(), "n1".to_owned(), sampler);
        for mode in [0o770, 0o707] {
            fs::set_permissions(&files, fs::Permissions::from_mode(mode)).unwrap();
            assert!(!untold.take(&mut station, None), "{mode:o}");
            let said = untold.said.clone().unwrap();
            assert!(said.contains(&format!("with mode {mode:o}")), "{said}");
        }
        // A link in its place is no directory; where there is none, it is made again.
        let aside = dir.path().join("aside");
        fs::rename(&files, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &files).unwrap();
        assert!(!untold.take(&mut station, None));
        fs::remove_file(&files).unwrap();
        assert!(!untold.take(&mut station, None));
        assert_eq!(fs::metadata(&files).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir(&files).unwrap();
        fs::rename(&aside, &files).unwrap();
        fs::set_permissions(&files, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(untold.take(&mut station, None));
        assert_eq!((station.ended().len(), untold.said), (1, None));
    }
}
