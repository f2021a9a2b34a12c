//! A file that holds one counter, opened once and read many times.
//!
//! A counter whose module was loaded again is another file of the same name: it is opened again
//! where permissions allow, at growing intervals.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Device, ReadError, Source};

/// Time between the first two attempts to open a file again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Finds the number in a counter's text.
type Parse = fn(&str) -> Option<u64>;

/// An open counter file. It stays readable after root was given up.
#[derive(Debug)]
pub struct CounterFile {
    path: PathBuf,
    parse: Parse,
    file: File,
    /// What was read last.
    last: Option<u64>,
    /// Since the file vanished: when to try again, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

impl CounterFile {
    /// Opens a file that holds one decimal integer.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::open_as(path, parse_integer)
    }

    /// Opens a file whose number is found by `parse`.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`].
    pub(super) fn open_as(path: &Path, parse: Parse) -> Result<Self, ReadError> {
        let file =
            File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), parse, file, last: None, retry: None })
    }

    /// Reads the number; opens the file again where it vanished.
    ///
    /// # Errors
    ///
    /// [`ReadError::Read`], [`ReadError::Gone`], [`ReadError::Lost`] or [`ReadError::Parse`].
    pub fn read(&mut self) -> Result<u64, ReadError> {
        let answer = match self.read_file() {
            Err(ReadError::Gone { .. }) => {
                self.open_again()?;
                self.read_file()
            }
            answer => {
                self.retry = None;
                answer
            }
        };
        self.last = answer.as_ref().ok().copied();
        answer
    }

    fn read_file(&self) -> Result<u64, ReadError> {
        let failed = |source| ReadError::from_io(&self.path, source);
        let mut buffer = [0_u8; 64];
        let n = self.file.read_at(&mut buffer, 0).map_err(failed)?;
        let text = String::from_utf8_lossy(&buffer[..n]);
        let number = (self.parse)(&text)
            .ok_or_else(|| ReadError::Parse { path: self.path.clone(), text: shorten(&text) })?;
        // Elsewhere than in sysfs a removed file can still be read, and stands still.
        if self.last == Some(number) && self.file.metadata().map_err(failed)?.nlink() == 0 {
            return Err(ReadError::Gone { path: self.path.clone() });
        }
        Ok(number)
    }

    fn open_again(&mut self) -> Result<(), ReadError> {
        let now = Instant::now();
        let path = self.path.clone();
        let wait = match self.retry {
            Some((due, _)) if now < due => return Err(ReadError::Gone { path }),
            Some((_, wait)) => wait,
            None => FIRST_WAIT,
        };
        self.retry = Some((now + wait, (wait * 2).min(LAST_WAIT)));
        match File::open(&self.path) {
            Ok(file) => {
                self.file = file;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Err(ReadError::Gone { path }),
            Err(source) => Err(ReadError::Lost { path, source }),
        }
    }
}

/// Devices that each have a counter file of their own.
#[derive(Debug, Default)]
pub struct Counters {
    devices: Vec<Device>,
    files: Vec<CounterFile>,
}

impl Counters {
    /// Adds a device with its open counter.
    pub fn push(&mut self, device: Device, file: CounterFile) {
        self.devices.push(device);
        self.files.push(file);
    }
}

impl Source for Counters {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        self.files.iter_mut().map(CounterFile::read).collect()
    }
}

/// Reads a file that holds one decimal integer.
///
/// # Errors
///
/// Those of [`CounterFile::open`] and [`CounterFile::read`].
pub(super) fn read_integer(path: &Path) -> Result<u64, ReadError> {
    CounterFile::open(path)?.read()
}

/// Reads a file that holds one line, without the blanks around it.
///
/// # Errors
///
/// [`ReadError::Read`] or [`ReadError::Gone`].
pub(super) fn read_line(path: &Path) -> Result<String, ReadError> {
    let text = std::fs::read_to_string(path).map_err(|e| ReadError::from_io(path, e))?;
    Ok(text.trim().to_owned())
}

/// Entries of a directory by name, `hwmon2` before `hwmon10`; none where there is no directory.
pub(super) fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found.flatten().map(|e| e.path()).collect();
    paths.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.to_owned(), name[stem.len()..].parse::<u64>().ok(), name)
    });
    paths
}

/// Digits and nothing else, of a number that fits; without the code that text needs, as most of what a
/// sample takes is code that is not in the caches.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn parse_integer(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        std::fs::write(&path, "00000000000000000042\n").unwrap();
        let mut counter = CounterFile::open(&path).unwrap();
        assert_eq!(counter.read().unwrap(), 42);
        std::fs::write(&path, "43\n").unwrap();
        assert_eq!(counter.read().unwrap(), 43);
    }

    #[test]
    fn missing_empty_and_garbled_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        assert!(matches!(CounterFile::open(&path), Err(ReadError::Open { .. })));
        for text in ["", "-1\n", "1.5\n", "x", "99999999999999999999999\n"] {
            std::fs::write(&path, text).unwrap();
            let error = read_integer(&path).unwrap_err();
            assert!(matches!(error, ReadError::Parse { .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_counter_that_vanished_is_opened_again_when_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("energy_uj");
        std::fs::write(&path, "42\n").unwrap();
        let mut counter = CounterFile::open(&path).unwrap();
        assert_eq!(counter.read().unwrap(), 42);
        // Another file takes its place at once, as when a module is loaded again.
        std::fs::write(dir.path().join("new"), "7\n").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert_eq!(counter.read().unwrap(), 7);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(counter.read(), Err(ReadError::Gone { .. })));
        assert!(matches!(counter.read(), Err(ReadError::Gone { .. })));
        std::fs::write(&path, "8\n").unwrap();
        assert!(matches!(counter.read(), Err(ReadError::Gone { .. })), "not yet tried again");
        let answer = (0..60).find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            counter.read().ok()
        });
        assert_eq!(answer, Some(8));
    }

    #[test]
    fn entries_are_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hwmon10", "hwmon2", "hwmon", "card0", "card0-DP-1"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let paths = entries(dir.path());
        let names: Vec<_> = paths.iter().map(|p| p.file_name().unwrap()).collect();
        assert_eq!(names, ["card0", "card0-DP-1", "hwmon", "hwmon2", "hwmon10"]);
    }
}
