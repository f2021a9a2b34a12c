//! `ct-report job`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use chrono::Utc;
use clap::Args;
use ct_core::ledger::reader::parse_record;
use ct_core::record::{Brief, Record};

use crate::cli::output::write_file;
use crate::diagnostic::{Outcome, note};
use crate::job::beside::Beside;
use crate::job::summary::Summary;
use crate::job::{Run, is_one_job, runs, shown_id};
use crate::load::beside::log_files;
use crate::load::groups::Order;
use crate::load::jobs::{self, Place, Sources};
use crate::load::live;
use crate::load::pieces::Ledger;
use crate::load::shares::read_share;
use crate::query::time::{Edge, Zone, parse_time};
use crate::query::{JobSelector, Query};
use crate::render::job::facts::title;
use crate::render::{self, json};

/// Arguments of `ct-report job`.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Job: 42, 42_7 for a task of an array, 42+1 for a component of a heterogeneous job; 42.1 for the
    /// run after one restart, as its logs are named
    #[arg(value_name = "ID")]
    id: JobSelector,
    /// Take records from these log directories, besides the ledger if one is named
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Look into directories below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Read the ledger this configuration names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read what ct-report compact made of the ledger from this directory, not from LEDGER/parquet
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
    /// Look only at these clusters
    #[arg(short = 'M', long, value_name = "CLUSTER", value_delimiter = ',')]
    clusters: Vec<String>,
    /// Look only at jobs that ran after this time: 2026-10-01, now-30days
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    starttime: Option<String>,
    /// Look only at jobs that began before this time
    #[arg(short = 'E', long, value_name = "TIME", allow_hyphen_values = true)]
    endtime: Option<String>,
    /// Show times in this zone: UTC, local or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: Zone,
    /// Write a page with charts to this file; `-` for standard output
    #[arg(long, value_name = "FILE", group = "form")]
    html: Option<PathBuf>,
    /// Write the charts to this file
    #[arg(long, value_name = "FILE", group = "form")]
    svg: Option<PathBuf>,
    /// Write a report of one page to this file
    #[cfg(feature = "pdf")]
    #[arg(long, value_name = "FILE", group = "form")]
    pdf: Option<PathBuf>,
    /// Print JSON: an array of the job's runs, with notes and whole records
    #[arg(long, group = "form")]
    json: bool,
}

/// Finds the job's records and shows them as one page, or one line a job where there are several.
pub(crate) fn run(args: &JobArgs) -> Result<Outcome> {
    let query = query(args)?;
    let mut outcome = Outcome::default();
    let sources = sources(args, &query)?;
    let add = |found: &mut Vec<Record>, brief: &Brief<'_>, place: Place<'_>, _: &mut Outcome| {
        if query.touches(brief.start, brief.end) && query.selects(brief) {
            // A brief is of a record.
            found.extend(parse_record(place.text).ok().flatten());
        }
    };
    let mut records = jobs::fold(&sources, Order::OfNames, &mut outcome, add, Vec::extend)?;
    records.extend(running(&sources, &query, &records, &mut outcome));
    let runs = runs(records);
    outcome.matched = runs.len();
    if runs.is_empty() {
        if sources.ledger.is_some() {
            note(
                "a job is in the ledger once it has ended; of a running one `ct-track status ID` \
                 tells, and some time after its start this command",
            );
        }
        return Ok(outcome);
    }
    let share = |run: &Run| sources.ledger.as_ref().map(|ledger| read_share(ledger, run));
    let shares = runs.iter().map(|run| share(run).unwrap_or_default());
    let logs = log_files(&sources, &runs)?;
    let beside: Vec<Beside> =
        shares.zip(logs).map(|(share, logs)| Beside { share, logs }).collect();
    print(args, &runs, &beside)?;
    Ok(outcome)
}

/// Records of the job as it runs, of which the ledger has none yet.
fn running(
    sources: &Sources,
    query: &Query,
    ended: &[Record],
    outcome: &mut Outcome,
) -> Vec<Record> {
    let Some(ledger) = &sources.ledger else { return Vec::new() };
    let mut found = live::records(&ledger.dir, outcome);
    found.retain(|record| {
        let is_ended = ended.iter().any(|e| e.key() == record.key() && e.start == record.start);
        !is_ended && query.touches(record.start, record.end) && query.selects(&Brief::from(record))
    });
    found
}

fn print(args: &JobArgs, runs: &[Run], beside: &[Beside]) -> Result<()> {
    if args.json {
        let summaries = runs.iter().zip(beside).map(|(run, beside)| Summary::new(run, beside));
        return json::print(&summaries.collect::<Vec<_>>());
    }
    if is_one_job(runs) {
        return print_one(args, runs, beside);
    }
    render::job::print_list(runs, args.timezone)?;
    let first = runs.iter().map(|run| shown_id(run.head())).next().unwrap_or_default();
    note(&format!("several jobs; `ct-report job {first}` shows one of them"));
    Ok(())
}

fn print_one(args: &JobArgs, runs: &[Run], beside: &[Beside]) -> Result<()> {
    let zone = args.timezone;
    if let Some(file) = &args.html {
        return write_file(file, render::html::job_page(runs, beside, zone)?.as_bytes());
    }
    let Some(run) = runs.last() else { return Ok(()) };
    if let Some(file) = &args.svg {
        let charts = render::job_charts::charts(run, zone);
        return write_file(file, render::svg::file(&title(run), &charts)?.as_bytes());
    }
    #[cfg(feature = "pdf")]
    if let Some(file) = &args.pdf {
        return write_file(file, &render::pdf::job(run, zone)?);
    }
    render::job::print(runs, beside, zone)
}

fn query(args: &JobArgs) -> Result<Query> {
    let (zone, now) = (args.timezone, Utc::now());
    let time = |text: &Option<String>, edge| {
        let time = text.as_deref().map(|text| parse_time(text, edge, zone, now));
        time.transpose().map_err(|error| anyhow!(error))
    };
    Ok(Query {
        jobs: vec![args.id],
        clusters: args.clusters.clone(),
        start: time(&args.starttime, Edge::Start)?,
        end: time(&args.endtime, Edge::End)?,
        zone,
        ..Query::default()
    })
}

/// The ledger where it is named, or where nothing else is.
fn sources(args: &JobArgs, query: &Query) -> Result<Sources> {
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
        wants_whole_jobs: false,
    })
}
