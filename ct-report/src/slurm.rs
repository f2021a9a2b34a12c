//! Runs Slurm's clients, each with a time limit: a controller that hangs must not hang a report.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Time between two looks whether a client has ended.
const POLL: Duration = Duration::from_millis(10);

/// What a client said.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether its exit status was 0.
    pub(crate) is_success: bool,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error, without blanks at its ends.
    pub(crate) err: String,
}

impl Answer {
    /// What it printed, where it ended well.
    ///
    /// # Errors
    ///
    /// Another exit status, with what the client said of it.
    pub(crate) fn of(self, program: &str) -> Result<String> {
        if !self.is_success {
            let said = if self.err.is_empty() { self.out.trim() } else { &self.err };
            bail!("{program} failed: {said}");
        }
        Ok(self.out)
    }
}

/// Runs a client to its end, in UTC and with times in its usual form.
///
/// # Errors
///
/// A program that cannot be started, or that takes longer than `patience`; it is killed then.
pub(crate) fn run(program: &str, args: &[&str], patience: Duration) -> Result<Answer> {
    let mut command = Command::new(program);
    command.args(args).env("TZ", "UTC").env_remove("SLURM_TIME_FORMAT");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
    let is_success = wait(&mut child, patience)
        .with_context(|| format!("{program} has not answered for {} s", patience.as_secs()))?;
    let text = |reader: JoinHandle<Vec<u8>>| {
        let bytes = reader.join().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Answer { is_success, out: text(out), err: text(err).trim().to_owned() })
}

/// Reads a pipe to its end, beside the other one.
fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is all there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// Whether it ended well; `None` where it has not ended in time.
fn wait(child: &mut Child, patience: Duration) -> Option<bool> {
    let end = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < end => thread::sleep(POLL),
            _ => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_what_it_says_and_one_that_hangs_is_ended() {
        let long = Duration::from_secs(60);
        let answer = run("sh", &["-c", "echo out; echo err >&2; exit 3"], long).unwrap();
        assert_eq!(
            (answer.is_success, answer.out.as_str(), answer.err.as_str()),
            (false, "out\n", "err")
        );
        assert_eq!(answer.of("sh").unwrap_err().to_string(), "sh failed: err");
        let error = run("sleep", &["600"], Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.to_string(), "sleep has not answered for 0 s");
        let error = run("no-such-client", &[], long).unwrap_err();
        assert_eq!(error.to_string(), "cannot run no-such-client");
    }
}
