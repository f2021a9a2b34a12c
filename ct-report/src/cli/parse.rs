//! `ct-report parse`.

use anyhow::Result;
use clap::Args;

use super::LogPaths;
use crate::diagnostic::Outcome;
use crate::dictionary::dictionary;
use crate::load;
use crate::load::logs;
use crate::render::json::ArrayWriter;
use crate::upstream;

/// Arguments of `ct-report parse`.
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    #[command(flatten)]
    logs: LogPaths,
    /// Print what carbontracker 2.4.7's own parser makes of the logs, its defects included
    #[arg(long)]
    as_upstream: bool,
}

/// Prints the logs as upstream's dictionaries.
pub(crate) fn run(args: &ParseArgs) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut out = ArrayWriter::new();
    if args.as_upstream {
        // All of them first: where upstream raises it gives nothing.
        let dirs = upstream::dirs(&args.logs, &mut outcome)?;
        let logs = dirs.iter().map(upstream::parse_all_logs).collect::<Result<Vec<_>>>()?;
        for entry in logs.iter().flatten() {
            out.push(entry)?;
            outcome.matched += 1;
        }
        out.end()?;
        return Ok(outcome);
    }
    let mut sets = logs::find(&args.logs.paths, args.logs.recursive, &mut outcome)?;
    sets.retain_with_log();
    load::for_each(
        &sets,
        &mut outcome,
        |set, loaded, outcome| {
            let run = loaded.run(set, outcome);
            outcome.warn_orphan(set, &run);
            ArrayWriter::element(&dictionary(set, &run))
        },
        |element, outcome| {
            outcome.tell();
            out.push_text(&element?)
        },
    )?;
    out.end()?;
    outcome.matched += sets.len();
    Ok(outcome)
}
