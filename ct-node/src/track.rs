//! ct-track: the user's command.
//!
//! In a job it talks to ct-noded; `run` measures a command where there is no Slurm, with the same
//! core in its own process. Nothing it does ends a job whose owner did not ask for that: without a
//! tracker around it says so and exits 0.

mod cli;
mod client;
mod confirm;
mod local;
mod marks;
mod place;
mod run;
mod silence;
mod watch;

pub use cli::{command, main};
