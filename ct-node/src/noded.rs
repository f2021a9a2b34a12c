//! ct-noded: the daemon on each node.
//!
//! Starts as root, opens the counters, becomes the service user, and then waits: for requests on
//! its socket, for the next sample, for answers of its helper threads.

mod book;
mod cli;
mod closing;
mod daemon;
mod gres;
mod late;
mod live;
mod privileges;
mod reload;
mod run_dir;
mod running;
mod slurmctld;
mod startup;
mod state;
mod stepds;
mod takeover;
mod unseen;
mod untold;
mod which_run;

pub use cli::{command, main};
