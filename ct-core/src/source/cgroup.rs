//! CPU time of a job, from its cgroup.
//!
//! A job's cgroup may appear after its start, vanish before its end and start over: time is
//! accumulated per lifetime of the cgroup, so that nothing is lost or counted twice.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ReadError;
use super::cpus::{CpuSet, Packages};
use super::file::parse_decimal;
use crate::slurm::CgroupPaths;

/// CPU time of a cgroup since it was made, or between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuReading {
    /// On all CPUs.
    pub total: Duration,
    /// On the CPUs of each package; empty where that is not known.
    pub by_package: Vec<(u32, Duration)>,
}

/// The file with the CPU time of a job's cgroup, kept open between samples: to open it costs several
/// times what reading it does.
#[derive(Debug, Default)]
pub struct CpuTimeFile {
    open: Option<Open>,
    is_another: bool,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: fs::File,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// v1 `cpuacct.usage`: nanoseconds.
    Total,
    /// v1 `cpuacct.usage_percpu`: nanoseconds of each CPU.
    ByCpu,
    /// v2 `cpu.stat`: microseconds behind a name.
    Stat,
}

impl CpuTimeFile {
    /// Reads the CPU time of a job's cgroup: v1 `cpuacct.usage` in ns, v2 `cpu.stat` in µs.
    ///
    /// With more than one package and v1 it is `cpuacct.usage_percpu`, which tells them apart.
    ///
    /// # Errors
    ///
    /// [`ReadError::Gone`] where the cgroup does not exist (yet, or any more).
    pub fn read(
        &mut self,
        cgroup: &CgroupPaths,
        cgroupfs: &Path,
        packages: &Packages,
    ) -> Result<CpuReading, ReadError> {
        let path = cgroup.cpu_file(cgroupfs);
        self.is_another = false;
        if let Some(open) = self.open.take().filter(|open| open.path.parent() == path.parent()) {
            match open.read(packages) {
                Ok(reading) => {
                    self.open = Some(open);
                    return Ok(reading);
                }
                // The cgroup is gone, and one of the same name may be there already.
                Err(e) => self.is_another = matches!(e, ReadError::Gone { .. }),
            }
        }
        let is_v1 = matches!(cgroup, CgroupPaths::V1(_));
        if is_v1 && packages.len() > 1 {
            let path = path.with_file_name("cpuacct.usage_percpu");
            if let Ok(reading) = self.read_new(path, Form::ByCpu, packages) {
                return Ok(reading);
            }
        }
        self.read_new(path, if is_v1 { Form::Total } else { Form::Stat }, packages)
    }

    /// Whether the last reading was of another cgroup than the one before it, which began at zero.
    pub fn is_another(&self) -> bool {
        self.is_another
    }

    fn read_new(
        &mut self,
        path: PathBuf,
        form: Form,
        packages: &Packages,
    ) -> Result<CpuReading, ReadError> {
        let file = fs::File::open(&path).map_err(|e| ReadError::from_io(&path, e))?;
        let open = Open { path, file, form };
        let reading = open.read(packages)?;
        self.open = Some(open);
        Ok(reading)
    }
}

impl Open {
    fn read(&self, packages: &Packages) -> Result<CpuReading, ReadError> {
        // A removed cgroup's file cannot be read; a plain file's text would stay.
        let meta = self.file.metadata().map_err(|e| ReadError::from_io(&self.path, e))?;
        if meta.nlink() == 0 {
            return Err(ReadError::Gone { path: self.path.clone() });
        }
        let mut buffer = [0_u8; MOST_BYTES];
        let n = self.file.read_at(&mut buffer, 0).map_err(|e| ReadError::from_io(&self.path, e))?;
        let more;
        let text = if n < MOST_BYTES {
            &buffer[..n]
        } else {
            more = fs::read(&self.path).map_err(|e| ReadError::from_io(&self.path, e))?;
            &more
        };
        let whole = |total| CpuReading { total, by_package: Vec::new() };
        let reading = match self.form {
            Form::Total => parse_decimal(text.trim_ascii()).map(Duration::from_nanos).map(whole),
            Form::ByCpu => parse_by_cpu(text, packages),
            Form::Stat => parse_cpu_stat(text).map(whole),
        };
        reading.ok_or_else(|| ReadError::Parse {
            text: String::from_utf8_lossy(text).chars().take(60).collect(),
            path: self.path.clone(),
        })
    }
}

/// Nanoseconds by CPU, one number for each that the machine could have.
///
/// With hundreds of jobs on hundreds of CPUs this is most of a sample: sums are kept in nanoseconds.
fn parse_by_cpu(text: &[u8], packages: &Packages) -> Option<CpuReading> {
    let mut by_package = vec![0_u64; packages.len()];
    let mut total = 0_u64;
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (cpu, word) in (0..).zip(words) {
        let ns = parse_decimal(word)?;
        total = total.checked_add(ns)?;
        if let Some(index) = packages.index_of(cpu) {
            by_package[index] += ns;
        }
    }
    let times = by_package.into_iter().map(Duration::from_nanos);
    let by_package = packages.numbers().zip(times).collect();
    Some(CpuReading { total: Duration::from_nanos(total), by_package })
}

/// Bytes of the times of some 500 CPUs; a longer file is read in pieces.
const MOST_BYTES: usize = 8192;

/// Reads a file that is shorter than the buffer.
fn read_small<'a>(path: &Path, buffer: &'a mut [u8]) -> std::io::Result<&'a str> {
    let n = fs::File::open(path)?.read(buffer)?;
    std::str::from_utf8(&buffer[..n]).map_err(std::io::Error::other)
}

fn parse_cpu_stat(text: &[u8]) -> Option<Duration> {
    let usage = text.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(b"usage_usec "))?;
    parse_decimal(usage.trim_ascii()).map(Duration::from_micros)
}

/// The CPUs that a job's cgroup may use: `cpuset.effective_cpus`, `cpuset.cpus` (v1) or
/// `cpuset.cpus.effective` (v2). `None` where the cgroup has no such file, or an empty one.
pub fn read_cpuset(cgroup: &CgroupPaths, cgroupfs: &Path) -> Option<CpuSet> {
    let (dir, names): (PathBuf, &[&str]) = match cgroup {
        CgroupPaths::V1(job) => {
            (cgroupfs.join("cpuset").join(job), &["cpuset.effective_cpus", "cpuset.cpus"])
        }
        CgroupPaths::V2(job) => (cgroupfs.join(job), &["cpuset.cpus.effective"]),
    };
    let mut buffer = [0_u8; 4096];
    names.iter().find_map(|name| {
        let set = CpuSet::parse(read_small(&dir.join(name), &mut buffer).ok()?)?;
        (!set.is_empty()).then_some(set)
    })
}

/// Whether the job's cgroup is there.
pub fn exists(cgroup: &CgroupPaths, cgroupfs: &Path) -> bool {
    let dirs: Vec<PathBuf> = match cgroup {
        CgroupPaths::V1(job) => {
            ["freezer", "cpuacct", "cpuset", "memory"].map(|c| cgroupfs.join(c).join(job)).into()
        }
        CgroupPaths::V2(job) => vec![cgroupfs.join(job)],
    };
    dirs.iter().any(|d| d.is_dir())
}

/// CPU time of a job across lifetimes of its cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTime {
    total: Duration,
    last: Duration,
    #[serde(default)]
    last_by_package: Vec<(u32, Duration)>,
    is_known: bool,
}

impl CpuTime {
    /// Takes a reading and returns the time since the previous one.
    ///
    /// A reading below the previous one is that of a new cgroup, which began at zero.
    pub fn advance(&mut self, reading: CpuReading) -> CpuReading {
        let is_new = reading.total < self.last || self.last.is_zero();
        let step = if is_new { reading.clone() } else { self.since_last(&reading) };
        self.begin_at(reading);
        self.total += step.total;
        step
    }

    fn since_last(&self, reading: &CpuReading) -> CpuReading {
        let last = |package: u32| self.last_by_package.iter().find(|(p, _)| *p == package);
        let of = |(package, time): &(u32, Duration)| {
            Some((*package, time.saturating_sub(last(*package)?.1)))
        };
        // Packages that were not told apart before leave the step whole.
        let by_package: Option<Vec<_>> = reading.by_package.iter().map(of).collect();
        CpuReading {
            total: reading.total.saturating_sub(self.last),
            by_package: by_package.unwrap_or_default(),
        }
    }

    /// Notes a reading from which time counts: what was before it is nobody's interval.
    pub fn begin_at(&mut self, reading: CpuReading) {
        self.last = reading.total;
        self.last_by_package = reading.by_package;
        self.is_known = true;
    }

    /// Whether the cgroup was ever read.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Notes that the cgroup is gone: the next one begins at zero.
    pub fn lifetime_ended(&mut self) {
        self.last = Duration::ZERO;
        self.last_by_package.clear();
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Packages {
        Packages::default()
    }

    fn whole(total: Duration) -> CpuReading {
        CpuReading { total, by_package: Vec::new() }
    }

    #[test]
    fn both_versions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let v1 = CgroupPaths::V1("slurm_n1/job_1".into());
        let v2 = CgroupPaths::V2("scope/job_1".into());
        let read = |cgroup| CpuTimeFile::default().read(cgroup, root.path(), &one());
        assert!(matches!(read(&v1), Err(ReadError::Gone { .. })));
        assert!(!exists(&v1, root.path()));
        for (cgroup, text) in [(&v1, "1500000000\n"), (&v2, "usage_usec 2500000\nuser_usec 1\n")] {
            let file = cgroup.cpu_file(root.path());
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert_eq!(read(&v1).unwrap(), whole(Duration::from_millis(1500)));
        assert_eq!(read(&v2).unwrap(), whole(Duration::from_millis(2500)));
        assert!(exists(&v2, root.path()));
        fs::write(v2.cpu_file(root.path()), "user_usec 1\n").unwrap();
        assert!(matches!(read(&v2), Err(ReadError::Parse { .. })));
    }

    #[test]
    fn packages_are_told_apart_on_v1() {
        let root = tempfile::tempdir().unwrap();
        let v1 = CgroupPaths::V1("job_1".into());
        let dir = root.path().join("cpuacct/job_1");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cpuacct.usage"), "7\n").unwrap();
        let packages: Packages = [(0, 0), (1, 0), (2, 1)].into_iter().collect();
        let read = || CpuTimeFile::default().read(&v1, root.path(), &packages).unwrap();
        assert_eq!(read().total.as_nanos(), 7);
        // CPU 3 is not online, and has a number all the same.
        fs::write(dir.join("cpuacct.usage_percpu"), "10 20 40 5 \n").unwrap();
        let ns = Duration::from_nanos;
        let expected = CpuReading { total: ns(75), by_package: vec![(0, ns(30)), (1, ns(40))] };
        assert_eq!(read(), expected);
    }

    #[test]
    fn a_file_that_is_kept_open_follows_the_cgroup() {
        let root = tempfile::tempdir().unwrap();
        let mut file = CpuTimeFile::default();
        let mut read =
            |id: u32| file.read(&CgroupPaths::V1(format!("job_{id}").into()), root.path(), &one());
        let write = |id: u32, text: &str| {
            let dir = root.path().join(format!("cpuacct/job_{id}"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cpuacct.usage"), text).unwrap();
        };
        let ns = |n| whole(Duration::from_nanos(n));
        write(1, "7\n");
        assert_eq!(read(1).unwrap(), ns(7));
        write(1, "19\n");
        assert_eq!(read(1).unwrap(), ns(19));
        // Removed, then there again under the same name.
        fs::remove_dir_all(root.path().join("cpuacct/job_1")).unwrap();
        assert!(matches!(read(1), Err(ReadError::Gone { .. })));
        write(1, "3\n");
        assert_eq!(read(1).unwrap(), ns(3));
        fs::remove_dir_all(root.path().join("cpuacct/job_1")).unwrap();
        write(1, "4\n");
        assert_eq!(read(1).unwrap(), ns(4));
        // Another path, with a file that is unreadable for once.
        write(2, "5\n");
        assert_eq!(read(2).unwrap(), ns(5));
        write(2, "\n");
        assert!(matches!(read(2), Err(ReadError::Parse { .. })));
        write(2, "6\n");
        assert_eq!(read(2).unwrap(), ns(6));
        assert!(!file.is_another());
        fs::remove_dir_all(root.path().join("cpuacct/job_2")).unwrap();
        write(2, "9\n");
        file.read(&CgroupPaths::V1("job_2".into()), root.path(), &one()).unwrap();
        assert!(file.is_another(), "it has more than the one before, and began at zero");
    }

    #[test]
    fn times_of_more_cpus_than_the_buffer_holds_are_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("cpuacct/job_1");
        fs::create_dir_all(&dir).unwrap();
        // 2,000 numbers of 12 digits and a blank: 26,000 bytes.
        fs::write(dir.join("cpuacct.usage_percpu"), "100000000000 ".repeat(2000)).unwrap();
        let packages: Packages = (0..2000).map(|cpu| (cpu, cpu / 1000)).collect();
        let v1 = CgroupPaths::V1("job_1".into());
        let reading = CpuTimeFile::default().read(&v1, root.path(), &packages).unwrap();
        let s = Duration::from_secs;
        let expected =
            CpuReading { total: s(200_000), by_package: vec![(0, s(100_000)), (1, s(100_000))] };
        assert_eq!(reading, expected);
    }

    #[test]
    fn the_cpuset_is_the_effective_one() {
        let root = tempfile::tempdir().unwrap();
        let v1 = CgroupPaths::V1("job_1".into());
        let v2 = CgroupPaths::V2("job_1".into());
        assert_eq!(read_cpuset(&v1, root.path()), None);
        for (path, text) in [
            ("cpuset/job_1/cpuset.cpus", "0-7\n"),
            ("cpuset/job_1/cpuset.effective_cpus", "0-3\n"),
            ("job_1/cpuset.cpus.effective", "\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(read_cpuset(&v1, root.path()).unwrap().len(), 4);
        assert_eq!(read_cpuset(&v2, root.path()), None, "an empty set says nothing");
    }

    #[test]
    fn time_is_kept_when_the_cgroup_starts_over() {
        let mut time = CpuTime::default();
        let s = |seconds| whole(Duration::from_secs(seconds));
        assert_eq!(time.advance(s(2)), s(2));
        assert_eq!(time.advance(s(5)), s(3));
        // A new lifetime that was seen to begin, even above the old reading.
        time.lifetime_ended();
        assert_eq!(time.advance(s(6)), s(6));
        // A new lifetime nobody saw begin.
        assert_eq!(time.advance(s(1)), s(1));
        assert_eq!(time.total(), Duration::from_secs(12));
        // A cgroup that is met in mid-life.
        let mut late = CpuTime::default();
        assert!(!late.is_known());
        late.begin_at(s(100));
        assert_eq!(late.advance(s(101)), s(1));
        assert!(late.is_known());
    }

    #[test]
    fn packages_are_kept_apart_and_an_old_state_does_not_know_them() {
        let s = Duration::from_secs;
        let reading = |a, b| CpuReading { total: s(a + b), by_package: vec![(0, s(a)), (1, s(b))] };
        let mut time = CpuTime::default();
        time.begin_at(reading(10, 5));
        assert_eq!(time.advance(reading(11, 7)), reading(1, 2));
        assert_eq!(time.advance(reading(1, 1)), reading(1, 1), "a new cgroup");
        let state = r#"{"total":{"secs":9,"nanos":0},"last":{"secs":9,"nanos":0},"is_known":true}"#;
        let mut old: CpuTime = serde_json::from_str(state).unwrap();
        assert_eq!(old.advance(reading(5, 5)), whole(s(1)));
        assert_eq!(old.advance(reading(6, 5)), reading(1, 0));
    }
}
