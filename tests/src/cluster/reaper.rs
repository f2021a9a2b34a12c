//! The process that takes a cluster down when its owner is gone.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::teardown::teardown;
use crate::artifact;
use crate::process::poll_until;

/// How long a teardown may take before the owner does it itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the owner writes where the cluster is to stay.
const DISMISSAL: &[u8] = b"dismissed\n";

/// A running `ct-cluster reap DIR`; its standard input is a pipe from this process.
#[derive(Debug)]
pub(super) struct Reaper {
    child: Child,
}

impl Reaper {
    /// Starts the reaper of the cluster in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let child = Command::new(artifact::own_binary("ct-cluster")?)
            .arg("reap")
            .arg(dir)
            .stdin(Stdio::piped())
            // Ctrl-C goes to the whole group in the foreground; this process has to outlive it.
            .process_group(0)
            .spawn()
            .context("cannot start ct-cluster reap")?;
        Ok(Self { child })
    }

    /// Lets the reaper end without taking anything down.
    pub(super) fn dismiss(mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            let _ = stdin.write_all(DISMISSAL);
        }
        let _ = self.child.wait();
    }

    /// Has the cluster taken down, and waits until it is.
    pub(super) fn finish(mut self, dir: &Path) {
        drop(self.child.stdin.take());
        let is_done = poll_until(PATIENCE, || !matches!(self.child.try_wait(), Ok(None)));
        let succeeded = is_done && self.child.wait().is_ok_and(|status| status.success());
        if !succeeded {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = teardown(dir);
        }
    }
}

/// Waits until the other end of standard input is closed, then takes down the cluster in `dir`.
///
/// # Errors
///
/// As [`teardown`].
pub fn reap(dir: &Path) -> Result<()> {
    let mut word = Vec::new();
    io::stdin().read_to_end(&mut word).context("cannot read standard input")?;
    if word == DISMISSAL || !dir.exists() {
        return Ok(());
    }
    teardown(dir)
}
