//! `ct-report usage`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use chrono::Utc;
use clap::Args;
use ct_core::log::parser::Skipped;
use ct_core::record::Record;

use crate::aggregate::column::{Column, columns};
use crate::aggregate::{Key, Report};
use crate::cli::output::OutputArgs;
use crate::diagnostic::{Outcome, note};
use crate::intensity::reprice::Repricer;
use crate::load::jobs::{self, Place, Sources};
use crate::query::time::{Edge, Zone, parse_time};
use crate::query::{JobSelector, Query};
use crate::row::{Cell, Head};

/// Arguments of `ct-report usage`.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Take records from these log directories, besides the ledger if one is named
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look into directories below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Group by these, in this order
    #[arg(long, value_enum, value_delimiter = ',', default_value = "user")]
    by: Vec<Key>,
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Read the ledger this configuration names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Count energy from this time on: 2026-10-01, 2026-10-01T12:00:00Z, today, now-30days, lastmonth
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    starttime: Option<String>,
    /// Count energy before this time; lastmonth means up to its end
    #[arg(short = 'E', long, value_name = "TIME", allow_hyphen_values = true)]
    endtime: Option<String>,
    /// Count only jobs of these users
    #[arg(short, long, value_name = "USER", value_delimiter = ',')]
    user: Vec<String>,
    /// Count only jobs of these accounts
    #[arg(short = 'A', long, value_name = "ACCOUNT", value_delimiter = ',')]
    account: Vec<String>,
    /// Count only jobs in these partitions
    #[arg(short = 'r', long, value_name = "PARTITION", value_delimiter = ',')]
    partition: Vec<String>,
    /// Count only jobs on these clusters
    #[arg(short = 'M', long, value_name = "CLUSTER", value_delimiter = ',')]
    clusters: Vec<String>,
    /// Count only these jobs: 42, or 42_7 for a task of an array
    #[arg(short, long, value_name = "ID", value_delimiter = ',')]
    jobs: Vec<JobSelector>,
    /// Show these columns; the keys come first unless they are named, too
    #[arg(short = 'o', long, value_name = "COLUMN", value_delimiter = ',')]
    format: Vec<String>,
    /// Begin months, weeks and days in this zone: UTC, local or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: Zone,
    /// Price the energy of each hour anew with this file of intensities, beside the records' values
    #[arg(long, value_name = "FILE")]
    reprice: Option<PathBuf>,
    /// Price all records with this zone of the --reprice file, whatever their own
    #[arg(long, value_name = "ZONE", requires = "reprice")]
    zone: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Adds up the jobs asked for and prints them by group.
pub(crate) fn run(args: &UsageArgs) -> Result<Outcome> {
    let query = query(args)?;
    let is_repriced = args.reprice.is_some();
    let columns = columns(&args.by, &args.format, is_repriced).map_err(|error| anyhow!(error))?;
    let mut outcome = Outcome::default();
    let repricer = args.reprice.as_deref();
    let repricer = repricer.map(|file| Repricer::read(file, args.zone.as_deref(), &mut outcome));
    let repricer = repricer.transpose()?;
    let add = |report: &mut Report, record: &Record, place: Place<'_>, outcome: &mut Outcome| {
        match report.add(record, &args.by, &query, repricer.as_ref()) {
            Ok(is_counted) => outcome.matched += usize::from(is_counted),
            Err(reason) => {
                let skipped = Skipped { line: place.line, reason: reason.into() };
                outcome.skip(place.path, &skipped);
            }
        }
    };
    let report = jobs::fold(&sources(args, &query)?, &mut outcome, add, Report::append)?;
    print(args, &columns, &report)?;
    repricer.iter().flat_map(|r| r.notes(&report.gaps)).for_each(|text| note(&text));
    Ok(outcome)
}

fn query(args: &UsageArgs) -> Result<Query> {
    let (zone, now) = (args.timezone, Utc::now());
    let time = |text: &Option<String>, edge| {
        let time = text.as_deref().map(|text| parse_time(text, edge, zone, now));
        time.transpose().map_err(|error| anyhow!(error))
    };
    Ok(Query {
        users: args.user.clone(),
        accounts: args.account.clone(),
        partitions: args.partition.clone(),
        clusters: args.clusters.clone(),
        jobs: args.jobs.clone(),
        start: time(&args.starttime, Edge::Start)?,
        end: time(&args.endtime, Edge::End)?,
        zone,
    })
}

/// The ledger where it is named, or where nothing else is.
fn sources(args: &UsageArgs, query: &Query) -> Result<Sources> {
    let is_wanted = args.ledger.is_some() || args.config.is_some() || args.paths.is_empty();
    let dir = || jobs::ledger_dir(args.ledger.as_deref(), args.config.as_deref());
    Ok(Sources {
        ledger: is_wanted.then(dir).transpose()?,
        logs: args.paths.clone(),
        is_recursive: args.recursive,
        since: query.start,
    })
}

fn print(args: &UsageArgs, columns: &[Column], report: &Report) -> Result<()> {
    let row = |(group, sums)| columns.iter().map(|column| column.cell(group, sums)).collect();
    let rows: Vec<Vec<Cell>> = report.groups().map(row).collect();
    let heads: Vec<Head> = columns.iter().map(|column| column.head()).collect();
    args.output.print(&heads, &rows)
}
