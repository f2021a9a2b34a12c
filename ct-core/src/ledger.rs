//! The ledger: append-only files by month and node, one line a record.

pub mod reader;
pub mod writer;

/// Directory of what is known of running jobs, in that of the ledger: one of its own for each job.
pub const LIVE_DIR: &str = "live";
/// Name in a running job's directory of its record as it stands; no node has such a name.
pub const LIVE_RECORD: &str = ".record.json";
