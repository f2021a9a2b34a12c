//! Where sacct's words come from: a file, or sacct itself.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use chrono::SecondsFormat;

use super::{Allocation, parsable, parse_json, parse_parsable};
use crate::diagnostic::Hint;
use crate::query::Query;
use crate::query::time::Zone;
use crate::slurm;

/// How long sacct may take; a year of a large cluster takes its time.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Reads the allocations `--sacct` names: `run`, or a file with the output of `sacct --json` or
/// `sacct -P`.
///
/// # Errors
///
/// A file that cannot be read or is neither; sacct that cannot be run or fails.
pub(crate) fn read(named: &str, query: &Query) -> Result<Vec<Allocation>> {
    if named == "run" {
        let text = run(query)?;
        return parse_parsable(&text, Zone::Utc).map_err(|e| anyhow!(e).context("output of sacct"));
    }
    let text = fs::read_to_string(named).with_context(|| format!("cannot read {named}"))?;
    let all = if text.trim_start().starts_with('{') {
        parse_json(&text)
    } else {
        parse_parsable(&text, query.zone)
    };
    all.map_err(|error| {
        anyhow!(error)
            .context(format!("{named} is no output of sacct"))
            .context(Hint("name a file made by `sacct --json` or `sacct -P`, or `run`"))
    })
}

fn run(query: &Query) -> Result<String> {
    let time = |at: chrono::DateTime<chrono::Utc>| {
        at.to_rfc3339_opts(SecondsFormat::Secs, false).chars().take(19).collect::<String>()
    };
    // Without a start sacct begins at midnight.
    let start = query.start.map_or_else(|| "1970-01-01T00:00:00".to_owned(), time);
    let end = query.end.map_or_else(|| "now".to_owned(), time);
    let clusters = query.clusters.join(",");
    let mut args = vec!["--allusers", "--allocations", "--duplicates", "--parsable2", "-o"];
    args.extend([parsable::FORMAT, "-S", &start, "-E", &end]);
    if !clusters.is_empty() {
        args.extend(["-M", &clusters]);
    }
    slurm::run("sacct", &args, PATIENCE)?.of("sacct")
}
