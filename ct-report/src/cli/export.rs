//! `ct-report export`.

use std::path::PathBuf;

use anyhow::Result;
use chrono::Utc;
use clap::Args;
use ct_core::record::Brief;

use crate::aggregate::{Key, Report};
use crate::cli::output::write_file;
use crate::cli::selection::Selection;
use crate::diagnostic::Outcome;
use crate::load::groups::Order;
use crate::load::jobs::{self, Place};
use crate::openmetrics::{self, Scope};

/// Arguments of `ct-report export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    selection: Selection,
    /// Write metrics in the text form of OpenMetrics
    #[arg(long, required = true)]
    openmetrics: bool,
    /// Labels of the metrics, by which jobs are added up
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "cluster,user,account,partition"
    )]
    by: Vec<Key>,
    /// Write to this file, as a whole or not at all; `-` for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Adds up this month, or the time asked for, and writes it as metrics.
pub(crate) fn run(args: &ExportArgs) -> Result<Outcome> {
    debug_assert!(args.openmetrics, "clap requires the one form there is");
    let query = args.selection.query_from(Some("thismonth"))?;
    let mut outcome = Outcome::default();
    let add = |report: &mut Report, record: &Brief<'_>, place: Place<'_>, outcome: &mut Outcome| {
        match report.add(record, &args.by, &query, None) {
            Ok(is_counted) => outcome.matched += usize::from(is_counted),
            Err(reason) => outcome.skip_part(place.path, Some(place.line), reason),
        }
    };
    let sources = args.selection.sources(&query)?;
    let report = jobs::fold(&sources, Order::Any, &mut outcome, add, Report::append)?;
    let scope = Scope { at: Utc::now(), start: query.start, n_skipped: outcome.skipped.len() };
    write_file(&args.output, openmetrics::text(&args.by, &report, scope)?.as_bytes())?;
    // A month without a job is no failure: its metrics say so.
    outcome.matched = outcome.matched.max(1);
    Ok(outcome)
}
