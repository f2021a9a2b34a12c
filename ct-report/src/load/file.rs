//! Reads one file into memory that is used again for the next: plain or gzip, of bounded size.
//!
//! A log may be torn, sparse, compressed by logrotate, or hold one line of a gigabyte; none of
//! these may cost more memory than the file has sensible text. Knows no format.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::retry_on_intr;

/// Most bytes of one file, after decompression; 10⁶ epochs are a quarter of it.
const FILE_MAX: usize = 1 << 30;
/// Most bytes of one line; intensities of a year are a tenth of it.
const LINE_MAX: usize = 4 << 20;
/// First read; most logs are smaller.
const CHUNK_MIN: usize = 64 << 10;
/// Later reads.
const CHUNK_MAX: usize = 1 << 20;
/// Memory that is kept for the next file.
const KEPT_MAX: usize = 4 << 20;

/// The bytes of a file.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Initialised memory, of which the first `len` bytes are the file's.
    memory: Vec<u8>,
    len: usize,
}

/// The directory the last file was opened in: a second one is found from there, and not by a walk
/// along its path.
#[derive(Debug, Default)]
pub(crate) struct LastDir {
    path: PathBuf,
    open: Option<OwnedFd>,
}

impl LastDir {
    /// Opens a file of a directory.
    pub(crate) fn open(&mut self, dir: &Path, name: &OsStr) -> io::Result<File> {
        if dir.as_os_str().is_empty() || dir.as_os_str() != self.path.as_os_str() {
            *self = Self { path: dir.to_owned(), open: None };
            return File::open(dir.join(name));
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(CWD, dir, flags, Mode::empty())?
            }
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&open, name, flags, Mode::empty()));
        self.open = Some(open);
        Ok(file?.into())
    }
}

/// A line that was cut, or where reading failed.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Line, from 1; `None` where it is the whole file.
    pub(crate) line: Option<usize>,
    /// What was wrong.
    pub(crate) reason: String,
}

impl Problem {
    fn of_file(error: &io::Error) -> Self {
        Self { line: None, reason: format!("cannot read: {error}") }
    }
}

impl Buffer {
    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// Forgets the file; memory of ordinary size is kept.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        if self.memory.len() > KEPT_MAX {
            self.memory = Vec::new();
        }
    }

    /// Reads a file, through gzip where it is compressed.
    ///
    /// What could be read before an error in a compressed file stays: it is torn like any other.
    pub(crate) fn read(&mut self, file: io::Result<File>, is_gzip: bool) -> Vec<Problem> {
        self.clear();
        let file = match file {
            Ok(file) => file,
            Err(error) => return vec![Problem::of_file(&error)],
        };
        let mut problems = Vec::new();
        let read = if is_gzip {
            self.fill(MultiGzDecoder::new(file), &mut problems)
        } else {
            self.fill_plain(&file, &mut problems)
        };
        if let Err(error) = read {
            if error.kind() == io::ErrorKind::FileTooLarge || !is_gzip {
                self.clear();
            }
            problems.push(Problem::of_file(&error));
        }
        problems
    }

    /// Asks for the size only where the first read did not reach the end: most logs are small.
    fn fill_plain(&mut self, mut file: &File, problems: &mut Vec<Problem>) -> io::Result<()> {
        self.grow();
        self.len = file.read(&mut self.memory)?;
        if self.len == self.memory.len() {
            let size = usize::try_from(file.metadata()?.len()).ok();
            let size = size.filter(|size| *size <= FILE_MAX).ok_or_else(too_large)?;
            // One line may be most of it, and is not kept whole.
            self.memory.reserve_exact(size.min(KEPT_MAX).saturating_sub(self.len) + 1);
        }
        self.fill(file, problems)
    }

    fn fill(&mut self, mut source: impl Read, problems: &mut Vec<Problem>) -> io::Result<()> {
        let last = self.bytes().iter().rposition(|b| *b == b'\n');
        let mut line_start = last.map_or(0, |at| at + 1);
        let (mut total, mut is_cut) = (self.len, false);
        loop {
            let from = self.len;
            self.grow();
            let n = match source.read(&mut self.memory[from..]) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            total += n;
            if total > FILE_MAX {
                return Err(too_large());
            }
            self.len = from + n;
            if is_cut {
                is_cut = !self.resume(from);
            }
            let newline = self.memory[from..self.len].iter().rposition(|b| *b == b'\n');
            line_start = newline.map_or(line_start, |at| from + at + 1);
            if !is_cut && self.len - line_start > LINE_MAX {
                is_cut = true;
                let line = self.memory[..line_start].iter().filter(|b| **b == b'\n').count() + 1;
                let reason = format!("line is longer than {LINE_MAX} bytes, its end is left out");
                problems.push(Problem { line: Some(line), reason });
            }
        }
    }

    /// Leaves out what belongs to a line that was cut; says whether the line ended.
    fn resume(&mut self, from: usize) -> bool {
        let newline = self.memory[from..self.len].iter().position(|b| *b == b'\n');
        let rest = newline.map_or(self.len, |at| from + at);
        self.memory.copy_within(rest..self.len, from);
        self.len = from + (self.len - rest);
        newline.is_some()
    }

    /// Makes room behind the bytes.
    fn grow(&mut self) {
        if self.memory.len() == self.len {
            let more = if self.len == 0 { CHUNK_MIN } else { self.len.min(CHUNK_MAX) };
            self.memory.resize(self.len + more, 0);
        }
    }
}

fn too_large() -> io::Error {
    let text = format!("file is larger than {FILE_MAX} bytes, which no log is");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn read(name: &str, content: &[u8]) -> (Vec<u8>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        let mut buffer = Buffer::default();
        let is_gzip = name.ends_with(".gz");
        let file = LastDir::default().open(dir.path(), OsStr::new(name));
        let problems = buffer.read(file, is_gzip);
        (buffer.bytes().to_vec(), problems.into_iter().map(|p| p.reason).collect())
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_and_compressed_files_give_the_same_bytes() {
        let content = b"line of a log\n".repeat(20_000);
        assert_eq!(read("a.log", &content), (content.clone(), vec![]));
        assert_eq!(read("a.log.gz", &gzip(&content)), (content.clone(), vec![]));
        // logrotate's `delaycompress` and `cat a.gz b.gz` give several members.
        let twice = [gzip(&content), gzip(b"end\n")].concat();
        assert_eq!(read("a.log.gz", &twice).0, [&content[..], b"end\n"].concat());
    }

    #[test]
    fn a_torn_compressed_file_gives_its_head_and_says_so() {
        // Text that does not shrink to nothing.
        let line = |n: u64| format!("{:016x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let content: String = (0..20_000).map(line).collect();
        let whole = gzip(content.as_bytes());
        let (bytes, problems) = read("a.log.gz", &whole[..whole.len() / 2]);
        assert!(bytes.len() > 1000 && content.as_bytes().starts_with(&bytes));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (bytes, problems) = read("a.log.gz", b"no gzip at all");
        assert_eq!((bytes.len(), problems.len()), (0, 1));
    }

    #[test]
    fn files_are_found_from_the_last_directory_and_errors_do_not_stay() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(a.path().join("x"), "of a").unwrap();
        fs::write(b.path().join("x"), "of b").unwrap();
        let mut last = LastDir::default();
        let mut read = |dir: &Path, name: &str| {
            let mut text = String::new();
            last.open(dir, OsStr::new(name))?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };
        let (a, b) = (a.path(), b.path());
        for (dir, text) in [(a, "of a"), (a, "of a"), (b, "of b"), (a, "of a")] {
            assert_eq!(read(dir, "x").unwrap(), text);
            assert_eq!(read(dir, "y").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn an_endless_line_is_cut_and_what_follows_is_read() {
        let content = [&b"head\n"[..], &b"x".repeat(LINE_MAX * 3), b"\ntail\nend"].concat();
        let (bytes, problems) = read("a.log", &content);
        assert!(bytes.starts_with(b"head\nxxx") && bytes.ends_with(b"xxx\ntail\nend"));
        assert!(bytes.len() < LINE_MAX + 2 * CHUNK_MAX, "{}", bytes.len());
        assert_eq!(problems, ["line is longer than 4194304 bytes, its end is left out"]);
        let (bytes, problems) = read("a.log.gz", &gzip(&content));
        assert!(bytes.ends_with(b"xxx\ntail\nend") && problems.len() == 1);
    }

    #[test]
    fn a_long_file_whose_last_line_is_torn_is_whole_whatever_was_read_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let content = [b"line of a log\n".repeat(LINE_MAX / 14), b"x".repeat(64)].concat();
        fs::write(&path, &content).unwrap();
        // Memory as long as a line may be, from the file before.
        let mut buffer = Buffer { memory: vec![0; KEPT_MAX], len: 0 };
        let problems = buffer.read(File::open(&path), false);
        assert!(problems.is_empty() && buffer.bytes() == content, "{problems:?}");
    }

    #[test]
    fn a_sparse_file_of_a_terabyte_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let mut buffer = Buffer::default();
        let problems = buffer.read(File::open(&path), false);
        assert!(problems[0].reason.contains("larger than"), "{problems:?}");
        assert_eq!(buffer.bytes(), b"");
    }
}
