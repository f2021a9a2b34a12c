//! `ct-report usage`.

mod notes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use chrono::Utc;
use clap::Args;
use ct_core::log::parser::Skipped;
use ct_core::record::{Brief, SHOWS_SIMULATED};

use crate::aggregate::column::{Behind, Column, columns};
#[cfg(feature = "parquet")]
use crate::aggregate::needs::Needs;
use crate::aggregate::{Group, Key, Report, Sums};
use crate::cli::output::{OutputArgs, write_file};
use crate::diagnostic::{Outcome, note};
use crate::intensity::reprice::Repricer;
use crate::load::groups::Order;
#[cfg(feature = "parquet")]
use crate::load::hours::{self, Ask};
use crate::load::jobs::{self, Place, Sources};
use crate::load::pieces::Ledger;
use crate::openmetrics::{self, Scope};
use crate::query::time::{Edge, Zone, parse_time};
use crate::query::{JobSelector, Query};
use crate::row::{Cell, Head};
use crate::sacct::join::{Accounted, Accounting, Seen};
use crate::sacct::source;

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
    /// Read what ct-report compact made of the ledger from this directory, not from LEDGER/parquet
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
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
    /// Count only these jobs: 42, 42_7 for a task of an array, 42.1 for the run after one restart
    #[arg(short, long, value_name = "ID", value_delimiter = ',')]
    jobs: Vec<JobSelector>,
    /// Show these columns, or `all`; the keys come first unless they are named, too
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
    /// Compare with Slurm's accounting: `run` asks sacct, else a file with what `sacct --json` or
    /// `sacct -P` printed
    #[arg(long, value_name = "FILE|run")]
    sacct: Option<String>,
    /// Print metrics in the text form of OpenMetrics, as `export` does
    #[arg(long, conflicts_with_all = ["format", "noheader", "parsable2", "csv", "json", "sacct", "reprice"])]
    openmetrics: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// What records come to, and which of them Slurm's accounting has.
#[derive(Debug, Default)]
struct Sum {
    report: Report,
    seen: Seen,
    /// Runs whose logs show simulated components, by their first node's record.
    n_simulated: usize,
}

impl Sum {
    fn append(&mut self, other: Self) {
        self.n_simulated += other.n_simulated;
        self.report.append(other.report);
        self.seen.append(other.seen);
    }
}

/// Adds up the jobs asked for and prints them by group.
pub(crate) fn run(args: &UsageArgs) -> Result<Outcome> {
    let query = query(args)?;
    let has_sacct = args.sacct.is_some();
    if has_sacct && args.by.contains(&Key::Node) {
        bail!(
            "Slurm's accounting does not split a job by node: --sacct and --by node exclude each other"
        );
    }
    if has_sacct && query.names_runs() {
        bail!("sacct does not number the runs of a job: --sacct and -j 42.1 exclude each other");
    }
    let (by, is_repriced) = (&args.by, args.reprice.is_some());
    let columns = columns(by, &args.format, is_repriced, has_sacct);
    let columns = columns.map_err(|error| anyhow!(error))?;
    let sacct = args.sacct.as_deref().map(|named| source::read(named, &query)).transpose()?;
    let sacct = sacct.map(Accounting::new);
    let mut outcome = Outcome::default();
    let repricer = args.reprice.as_deref();
    let repricer = repricer.map(|file| Repricer::read(file, args.zone.as_deref(), &mut outcome));
    let repricer = repricer.transpose()?;
    let add = |sum: &mut Sum, record: &Brief<'_>, place: Place<'_>, outcome: &mut Outcome| {
        let joined = sacct.as_ref().map(|sacct| joined(sacct, record, &query, &mut sum.seen));
        match sum.report.add(joined.as_ref().unwrap_or(record), by, &query, repricer.as_ref()) {
            Ok(is_counted) => {
                outcome.matched += usize::from(is_counted);
                sum.n_simulated += usize::from(is_counted && shows_simulated(record));
            }
            Err(reason) => {
                let skipped = Skipped { line: place.line, reason: reason.into() };
                outcome.skip(place.path, &skipped);
            }
        }
    };
    let sources = sources(args, &query)?;
    let sum = match from_hours(args, &columns, &query, &sources, &mut outcome, &add)? {
        Some(sum) => sum,
        None => jobs::fold(&sources, Order::Any, &mut outcome, add, Sum::append)?,
    };
    let accounted = sacct.map(|sacct| sacct.reckon(&args.by, &query, &sum.seen));
    if args.openmetrics {
        let scope = Scope { at: Utc::now(), start: query.start, n_skipped: outcome.skipped.len() };
        write_file(Path::new("-"), openmetrics::text(&args.by, &sum.report, scope)?.as_bytes())?;
        return Ok(outcome);
    }
    print(args, &columns, &sum.report, accounted.as_ref())?;
    repricer.iter().flat_map(|r| r.notes(&sum.report.gaps)).for_each(|text| note(&text));
    notes::tell_simulated(sum.n_simulated);
    if let Some(accounted) = accounted {
        notes::tell(&accounted, &sum.seen);
        outcome.matched += accounted.groups().count();
    }
    Ok(outcome)
}

fn shows_simulated(record: &Brief<'_>) -> bool {
    record.warnings.iter().any(|warning| warning == SHOWS_SIMULATED)
}

/// The report from the dataset's hours, where these alone can give it.
#[cfg(feature = "parquet")]
fn from_hours(
    args: &UsageArgs,
    columns: &[Column],
    query: &Query,
    sources: &Sources,
    outcome: &mut Outcome,
    add: &(impl Fn(&mut Sum, &Brief<'_>, Place<'_>, &mut Outcome) + Sync),
) -> Result<Option<Sum>> {
    // Prices are of the zone that a record names; accounting is compared job by job.
    if args.reprice.is_some() || args.sacct.is_some() || args.openmetrics {
        return Ok(None);
    }
    let ask = Ask { query, keys: &args.by, needs: Needs::of(columns) };
    hours::fold(sources, ask, outcome, add, Sum::append, |sum| &mut sum.report)
}

#[cfg(not(feature = "parquet"))]
fn from_hours<A>(
    _: &UsageArgs,
    _: &[Column],
    _: &Query,
    _: &Sources,
    _: &mut Outcome,
    _: A,
) -> Result<Option<Sum>> {
    Ok(None)
}

/// The record with what Slurm's accounting knows beside it; notes whether it knows the job.
fn joined<'a>(
    sacct: &'a Accounting,
    record: &Brief<'a>,
    query: &Query,
    seen: &mut Seen,
) -> Brief<'a> {
    let mut record = record.clone();
    let number = sacct.find(&record);
    if let Some(number) = number {
        sacct.fill(&mut record, number);
    }
    if query.selects(&record) && query.touches(record.start, record.end) {
        seen.note(number);
    }
    record
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
    let is_named = args.ledger.is_some() || args.config.is_some() || args.parquet.is_some();
    let is_wanted = is_named || args.paths.is_empty();
    let ledger = || {
        let dir = jobs::ledger_dir(args.ledger.as_deref(), args.config.as_deref())?;
        anyhow::Ok(Ledger::new(dir, args.parquet.as_deref()))
    };
    Ok(Sources {
        ledger: is_wanted.then(ledger).transpose()?,
        logs: args.paths.clone(),
        is_recursive: args.recursive,
        since: query.start,
        wants_whole_jobs: !args.by.contains(&Key::Node),
    })
}

fn print(
    args: &UsageArgs,
    columns: &[Column],
    report: &Report,
    accounted: Option<&Accounted>,
) -> Result<()> {
    let none = Sums::default();
    let of_records = report.groups().map(|(group, _)| group);
    let of_sacct = accounted.into_iter().flat_map(Accounted::groups);
    let groups: BTreeSet<_> = of_records.chain(of_sacct).collect();
    let row = |group: &Group| {
        let (allocations, unseen) = accounted.map(|a| a.of(group)).unwrap_or_default();
        let behind = Behind { sums: report.get(group).unwrap_or(&none), allocations, unseen };
        columns.iter().map(|column| column.cell(group, behind)).collect()
    };
    let rows: Vec<Vec<Cell>> = groups.into_iter().map(row).collect();
    // What was asked for by name is shown, however wide it is.
    let is_asked_for = !args.format.is_empty();
    let head = |column: &Column| {
        let head = column.head();
        if is_asked_for { head.ranked(0) } else { head }
    };
    let heads: Vec<Head> = columns.iter().map(head).collect();
    args.output.print(&heads, &rows)
}
