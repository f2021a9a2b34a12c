//! ct-report: reads logs and ledgers, and says what the jobs used.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// A record is thirty small pieces of memory, which libc's allocator takes a fifth of a report for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ct_report::main()
}
