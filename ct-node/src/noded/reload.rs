//! SIGHUP: the configuration is read once, at the start, and whoever asks for more is told so.
//!
//! What it decides is spread over counters that are open and a root that was given up, so that a
//! restart, which running jobs survive, is the one way to take it up.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ct_core::config::{Config, ConfigError, DEFAULT_PATH};
use signal_hook::consts::SIGHUP;

/// Whether the signal came, and which file is meant.
pub(super) struct Reload {
    is_asked: Arc<AtomicBool>,
    file: Option<PathBuf>,
}

impl Reload {
    /// Catches the signal; it is written to `wake`.
    pub(super) fn listen(file: Option<PathBuf>, wake: UnixStream) -> io::Result<Self> {
        let is_asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&is_asked))?;
        signal_hook::low_level::pipe::register(SIGHUP, wake)?;
        Ok(Self { is_asked, file })
    }

    /// Says what comes of the signal, where it came.
    pub(super) fn turn(&self) {
        if !self.is_asked.swap(false, Ordering::Relaxed) {
            return;
        }
        match answer(self.file.as_deref()) {
            Ok(text) => log::info!("{text}"),
            Err(e) => log::error!(
                "asked to reload: {:#}; the configuration that was read at the start stays in force; \
                 mend it before ct-noded is restarted",
                anyhow::Error::from(e)
            ),
        }
    }
}

fn answer(file: Option<&Path>) -> Result<String, ConfigError> {
    Config::load(file)?;
    let file = file.unwrap_or(Path::new(DEFAULT_PATH)).display();
    Ok(format!(
        "asked to reload: {file} has no mistake, but is read at the start only; restart ct-noded to \
         take it up: running jobs go on"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_and_a_good_file_needs_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[power]\npue = 1.2\n").unwrap();
        assert!(answer(Some(&file)).unwrap().contains("restart ct-noded"));
        std::fs::write(&file, "[power]\npeu = 1.2\n").unwrap();
        let message = answer(Some(&file)).unwrap_err().to_string();
        assert!(
            message.ends_with("c.toml:2: unknown key \"power.peu\" (did you mean \"power.pue\"?)")
        );
    }
}
