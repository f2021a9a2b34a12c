//! `ct-report parse`.

use anyhow::Result;
use clap::Args;

use super::LogPaths;
use crate::diagnostic::{Outcome, warn_orphan};
use crate::dictionary::dictionary;
use crate::load::Loaded;
use crate::load::logs::{self, LogSet};
use crate::render::json;

/// Arguments of `ct-report parse`.
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    #[command(flatten)]
    logs: LogPaths,
}

/// Prints the logs as upstream's dictionaries.
pub(crate) fn run(args: &ParseArgs) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let sets = logs::find(&args.logs.paths, args.logs.recursive)?;
    let sets: Vec<_> = sets.into_iter().filter(LogSet::has_log).collect();
    let loaded: Vec<_> = sets.iter().map(|set| Loaded::read(set, &mut outcome)).collect();
    let mut runs = Vec::new();
    for (set, loaded) in sets.iter().zip(&loaded) {
        let run = loaded.run(set, &mut outcome);
        warn_orphan(set, &run);
        runs.push(run);
    }
    let dictionaries: Vec<_> =
        sets.iter().zip(&runs).map(|(set, run)| dictionary(set, run)).collect();
    json::print(&dictionaries)?;
    outcome.matched = dictionaries.len();
    Ok(outcome)
}
