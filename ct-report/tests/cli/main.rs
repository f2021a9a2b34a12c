//! The built `ct-report`, run on fixtures; outputs are compared whole.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod as_upstream;
mod broken;
mod budget;
mod check;
mod chromium;
#[cfg(feature = "parquet")]
mod compact;
mod export;
#[cfg(feature = "fetch")]
mod fetch;
mod hostile;
mod intensity;
mod job;
mod ledger;
mod logs;
mod pages;
mod paths;
mod publish;
mod reconcile;
mod sacct;
mod simulated;
mod terminal;
#[cfg(feature = "fetch")]
mod tls;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run printed, and how it ended.
#[derive(Debug, PartialEq)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `ct-report` in `dir`.
fn ct_report(dir: &Path, args: &[&str]) -> Ran {
    let output = command(dir, args).output().unwrap();
    ran(output)
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ct-report"));
    command.current_dir(dir).args(args).env("TZ", "UTC");
    command
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The fixtures of this crate.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The corpus of upstream's logs.
fn upstream() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/upstream")
}

/// Checks exit code, stdout and stderr at once.
#[track_caller]
fn assert_ran(ran: &Ran, code: i32, stdout: &str, stderr: &str) {
    let expected = Ran { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    assert_eq!(
        *ran, expected,
        "\n--- stdout\n{}\n--- stderr\n{}\n--- expected stdout\n{stdout}\n--- expected stderr\n{stderr}",
        ran.stdout, ran.stderr
    );
}
