//! The soak's short form: some minutes of jobs of every kind while faults come, as `tests/soak` sends
//! them for as long as one likes. It runs where `CT_SOAK=required` asks for it.
#![forbid(unsafe_code)]

use std::process::Command;

use anyhow::{Result, ensure};
use ct_tests::accounting_test_is_possible;

/// Some minutes of them, and faults of each kind.
const JOBS: &str = "600";
/// When it is given up.
const MINUTES: &str = "15";
/// Always the same jobs and faults; when the faults come is the machine's affair.
const SEED: &str = "1";

#[test]
fn sacct_and_the_ledger_agree_on_every_job_whatever_fails_meanwhile() -> Result<()> {
    if std::env::var("CT_SOAK").as_deref() != Ok("required") || !accounting_test_is_possible() {
        return Ok(());
    }
    // What it prints are the figures: they are shown as they come.
    let status = Command::new(env!("CARGO_BIN_EXE_ct-soak"))
        .args(["--jobs", JOBS, "--seed", SEED, "--minutes", MINUTES])
        .status()?;
    ensure!(status.success(), "tests/soak --jobs {JOBS} --seed {SEED}: {status}");
    Ok(())
}
