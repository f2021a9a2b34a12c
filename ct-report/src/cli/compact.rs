//! `ct-report compact`.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use chrono::Utc;
use clap::Args;
use rustix::fs::{FlockOperation, flock};

use crate::cli::output::OutputArgs;
use crate::compact::{self, Compacted};
use crate::diagnostic::{Hint, Outcome, note};
use crate::load::jobs;
use crate::load::pieces::Ledger;
use crate::row::{Cell, Head};

/// Arguments of `ct-report compact`.
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// Compact only these months, as 2026-10; all that are over unless named
    #[arg(long, value_name = "MONTH", value_delimiter = ',')]
    month: Vec<String>,
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Read the ledger this configuration names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the dataset to this directory, not to LEDGER/parquet
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
    /// Remove from the ledger the lines that the dataset then has
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Compacts months and prints what came of each.
pub(crate) fn run(args: &CompactArgs) -> Result<Outcome> {
    let dir = jobs::ledger_dir(args.ledger.as_deref(), args.config.as_deref())?;
    let ledger = Ledger::new(dir, args.parquet.as_deref());
    let months = months(args, &ledger)?;
    let _lock = lock(&ledger)?;
    let (mut outcome, mut rows) = (Outcome::default(), Vec::new());
    let mut failed = None;
    for month in &months {
        match one(args, &ledger, month, &mut outcome) {
            Ok(None) => {}
            Ok(Some(row)) => rows.push(row),
            // What was done before is told all the same.
            Err(error) => {
                failed = Some(error.context(format!("cannot compact {month}")));
                break;
            }
        }
    }
    outcome.matched = rows.len();
    if !rows.is_empty() {
        args.output.print(&HEADS, &rows)?;
    }
    failed.map_or(Ok(outcome), Err)
}

/// The months asked for that the ledger has.
fn months(args: &CompactArgs, ledger: &Ledger) -> Result<Vec<String>> {
    let all = compact::months_of(&ledger.dir)?;
    for month in &args.month {
        if !all.contains(month) {
            return Err(anyhow!("ledger {} has no month {month:?}", ledger.dir.display())
                .context(Hint("name months as the directories of the ledger are named: 2026-10")));
        }
    }
    Ok(all.into_iter().filter(|m| args.month.is_empty() || args.month.contains(m)).collect())
}

/// Keeps others from writing to the dataset.
fn lock(ledger: &Ledger) -> Result<File> {
    let dir = ledger.dataset.dir();
    let named = || format!("cannot write dataset {}", dir.display());
    fs::create_dir_all(dir).with_context(named)?;
    let file = File::open(dir).with_context(named)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
        anyhow!(error)
            .context(named())
            .context(Hint("another ct-report compact may be at work there: wait for it"))
    })?;
    Ok(file)
}

fn one(
    args: &CompactArgs,
    ledger: &Ledger,
    month: &str,
    outcome: &mut Outcome,
) -> Result<Option<Vec<Cell>>> {
    if let Err(reason) = compact::is_closed(&ledger.dir, month, Utc::now())? {
        note(&format!("{month} is left: {reason}"));
        return Ok(None);
    }
    let done = compact::compact(ledger, month, outcome)?;
    let mut state = if done.is_new { "written" } else { "unchanged" }.to_owned();
    let mut removed = 0;
    if args.prune {
        let pruned = compact::prune(ledger, month)?;
        removed = pruned.lines;
        state.push_str(if pruned.kept > 0 { ", pruned in part" } else { ", pruned" });
        if pruned.kept > 0 {
            let n = pruned.kept;
            note(&format!("{month}: {n} line(s) are not in the dataset and stay in the ledger"));
        }
    }
    Ok(Some(row(month, &done, removed, state)))
}

const HEADS: [Head; 8] = [
    Head::text("month"),
    Head::number("jobs"),
    Head::number("hours"),
    Head::number("nodes"),
    Head::number("ledger_bytes"),
    Head::number("parquet_bytes"),
    Head::number("removed_lines"),
    Head::text("state"),
];

fn row(month: &str, done: &Compacted, removed: u64, state: String) -> Vec<Cell> {
    let integer = |n: u64| Cell::Integer(Some(n.into()));
    vec![
        Cell::Text(Some(month.to_owned())),
        integer(done.jobs),
        integer(done.hours),
        integer(done.nodes),
        integer(done.ledger_bytes),
        integer(done.bytes),
        integer(removed),
        Cell::Text(Some(state)),
    ]
}
