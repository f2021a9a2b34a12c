//! `ct-report`: reads logs and ledgers, and says what the jobs used.
//!
//! The command line picks a command; a command loads, adds up and renders, in this order.
#![forbid(unsafe_code)]

mod account;
mod aggregate;
mod amount;
mod check;
mod cli;
#[cfg(feature = "parquet")]
mod compact;
#[cfg_attr(
    all(not(feature = "parquet"), not(test)),
    expect(dead_code, reason = "without Parquet it is only seen that there is a dataset")
)]
mod dataset;
mod diagnostic;
mod dictionary;
mod html;
mod intensity;
mod job;
mod load;
mod openmetrics;
#[cfg(feature = "parquet")]
mod parquet;
mod progress;
mod publish;
mod query;
mod reconcile;
mod render;
mod row;
mod sacct;
mod slurm;
mod total;
mod upstream;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};
use crate::diagnostic::Outcome;

/// The whole command line, for the manual and for shells.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs ct-report with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return diagnostic::report_usage(&error),
    };
    let outcome = match &cli.command {
        Command::Parse(args) => cli::parse::run(args),
        Command::Aggregate(args) => cli::aggregate::run(args),
        Command::Usage(args) => cli::usage::run(args),
        Command::Intensity(args) => cli::intensity::run(args),
        Command::Job(args) => cli::job::run(args),
        Command::Budget(args) => cli::budget::run(args),
        Command::Export(args) => cli::export::run(args),
        Command::Html(args) => cli::html::run(args),
        Command::Check(args) => cli::check::run(args),
        Command::Publish(args) => cli::publish::run(args),
        #[cfg(feature = "parquet")]
        Command::Compact(args) => cli::compact::run(args),
        Command::Reconcile(args) => cli::reconcile::run(args),
    };
    outcome.map_or_else(|error| diagnostic::report(&error), Outcome::exit_code)
}
