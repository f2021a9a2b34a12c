//! ct-report: reads logs and ledgers, and says what the jobs used.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ct_report::main()
}
