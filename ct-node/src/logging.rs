//! The daemon's own log: one line an event, to standard error or to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};

/// Where lines go.
struct Sink(Mutex<Box<dyn Write + Send>>);

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ct_")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let level = record.level().as_str().to_lowercase();
        let line = format!("{now} ct: {level}: {}\n", record.args());
        if let Ok(mut sink) = self.0.lock() {
            // There is nowhere left to say that the log itself cannot be written.
            let _ = sink.write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Logs to standard error, which systemd keeps.
pub fn to_stderr() {
    install(Box::new(io::stderr()));
}

/// Logs to a file, which is begun anew once it has 4 MB.
///
/// # Errors
///
/// What the file system says.
pub fn to_file(path: &Path) -> io::Result<()> {
    const MAX_BYTES: u64 = 4 << 20;
    let is_long = path.metadata().is_ok_and(|m| m.len() > MAX_BYTES);
    if is_long {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let file: File = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    install(Box::new(file));
    Ok(())
}

fn install(sink: Box<dyn Write + Send>) {
    if log::set_boxed_logger(Box::new(Sink(Mutex::new(sink)))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
