//! The real plugin in a stand-in for Slurm's programs (`host.c`): what it exports, what it returns,
//! what it says and to whom, what it sends, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod asan;
mod daemon;
mod exports;
mod host;
mod node;
mod option;
mod step;
mod trouble;
mod untold;

/// Slower than any hook may be: 500 ms, and room for a loaded machine.
pub(crate) const LIMIT_MS: u64 = 600;
