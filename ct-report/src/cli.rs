//! The command line: what can be asked, and the commands that answer.

pub(crate) mod aggregate;
pub(crate) mod budget;
pub(crate) mod check;
#[cfg(feature = "parquet")]
pub(crate) mod compact;
pub(crate) mod export;
pub(crate) mod html;
pub(crate) mod intensity;
pub(crate) mod job;
mod output;
pub(crate) mod parse;
pub(crate) mod publish;
pub(crate) mod reconcile;
mod selection;
pub(crate) mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Report energy and carbon of jobs from their logs and from the ledger
#[derive(Debug, Parser)]
#[command(
    name = "ct-report",
    version,
    after_help = "Exit codes: 0 fine, 1 nothing matched, 2 usage or failure, 3 done with records \
                  skipped; of check: 2 errors, 3 warnings"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print logs as JSON, with the keys of carbontracker's parser
    Parse(parse::ParseArgs),
    /// Print one sentence with the consumption of all logs
    Aggregate(aggregate::AggregateArgs),
    /// Print energy and carbon of jobs by user, account, partition, month and more
    Usage(Box<usage::UsageArgs>),
    /// Fill and show the site's file of carbon intensities
    Intensity(intensity::IntensityArgs),
    /// Show one job: components, epochs, share of its nodes, what helps to need less
    Job(Box<job::JobArgs>),
    /// Show what accounts have used of their budgets this month, or write it for the nodes
    Budget(budget::BudgetArgs),
    /// Write the sums of this month as metrics
    Export(Box<export::ExportArgs>),
    /// Write one page with charts and tables, which needs nothing but itself
    Html(Box<html::HtmlArgs>),
    /// Hold the energy of jobs against the meters of the nodes they ran on
    Reconcile(Box<reconcile::ReconcileArgs>),
    /// Look whether this node, or this cluster, is set up right
    Check(check::CheckArgs),
    /// Put what jobs used into Slurm's own accounting, as their AdminComment
    Publish(Box<publish::PublishArgs>),
    /// Make months of the ledger that are over into Parquet files, for SQL and for speed
    #[cfg(feature = "parquet")]
    Compact(compact::CompactArgs),
}

/// Where logs are looked for.
#[derive(Debug, Args)]
pub(crate) struct LogPaths {
    /// Read logs from these directories, log files (also .gz) or patterns; `-` for a list on stdin
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Look into directories below, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}
