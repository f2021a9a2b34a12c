//! ct-track: the user's command.
//!
//! In a job it talks to ct-noded; `run` measures a command where there is no Slurm, with the same
//! core in its own process. Nothing it does may end a job: without a tracker around it says so and
//! exits 0.

mod cli;
mod client;
mod local;
mod marks;
mod place;
mod run;

pub use cli::main;
