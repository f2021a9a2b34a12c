//! The daemon's own log: one line an event, to standard error or to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ct_core::text::printable;
use log::{LevelFilter, Log, Metadata, Record};

/// Size at which the log file is begun anew.
const MAX_BYTES: u64 = 4 << 20;

/// Where lines go.
enum Sink {
    Stderr,
    File { path: PathBuf, file: File, len: u64 },
}

impl Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().write_all(line),
            Self::File { path, file, len } => {
                if *len + line.len() as u64 > MAX_BYTES {
                    std::fs::rename(&*path, path.with_extension("log.1"))?;
                    (*file, *len) = open(path)?;
                }
                *len += line.len() as u64;
                file.write_all(line)
            }
        }
    }
}

struct Logger(Mutex<Sink>);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ct_")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let level = record.level().as_str().to_lowercase();
        // Names that users chose are in it, such as those of files; one event is one line.
        let text = record.args().to_string();
        let line = format!("{now} ct: {level}: {}\n", printable(&text));
        if let Ok(mut sink) = self.0.lock() {
            // There is nowhere left to say that the log itself cannot be written.
            let _ = sink.write(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Logs to standard error, which systemd keeps.
pub fn to_stderr() {
    install(Sink::Stderr);
}

/// Logs to a file, which is begun anew once it has 4 MB; the one before is kept.
///
/// # Errors
///
/// What the file system says.
pub fn to_file(path: &Path) -> io::Result<()> {
    let (file, len) = open(path)?;
    install(Sink::File { path: path.to_owned(), file, len });
    Ok(())
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn install(sink: Sink) {
    if log::set_boxed_logger(Box::new(Logger(Mutex::new(sink)))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("noded.log");
        let (file, _) = open(&path).unwrap();
        let mut sink = Sink::File { path: path.clone(), file, len: MAX_BYTES - 3 };
        sink.write(b"old\n").unwrap();
        sink.write(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
        assert!(path.with_extension("log.1").exists());
    }
}
