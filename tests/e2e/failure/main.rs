//! What goes wrong, on a real cluster: the outcome for the job, for the record and for the node.
//!
//! One module a concern. The table "Who dies when" in docs/ARCHITECTURE.md names these tests.

mod clock;
mod cost;
mod daemon;
mod ledger;
mod logs;
mod messages;
mod meter;
mod outcome;
mod panic;
mod replies;
mod slurm;
mod socket;
mod state;
mod versions;

use std::time::Duration;

/// Longest time a job of these tests may take.
const PATIENCE: Duration = Duration::from_secs(60);
