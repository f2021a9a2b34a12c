//! `ct-report check`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use chrono::Utc;
use clap::Args;

use crate::check::round::{self, Named};
use crate::check::{Finding, Level, cluster};
use crate::diagnostic::Outcome;
use crate::load::jobs;
use crate::render::json;
use ct_core::text::printable;

/// Arguments of `ct-report check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 all is right, 1 the ledger has no node (--cluster), 2 something does \
                  not work, 3 warnings: something is lost or could not be looked at"
)]
pub(crate) struct CheckArgs {
    /// Look at the cluster as its ledger shows it, not at this node
    #[arg(long)]
    cluster: bool,
    /// Use this configuration, not the one that the plugstack line names
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR", requires = "cluster")]
    ledger: Option<PathBuf>,
    /// Look at this plugin, whether or not the plugstack line names it
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    plugin: Option<PathBuf>,
    /// This node's name in Slurm, where it is not the host's
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    node: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks around, and says what is right and what is not.
pub(crate) fn run(args: &CheckArgs) -> Result<Outcome> {
    let mut findings = Vec::new();
    if args.cluster {
        let dir = jobs::ledger_dir(args.ledger.as_deref(), args.config.as_deref())?;
        if cluster::check(&dir, Utc::now(), &mut findings)? == 0 {
            return Ok(Outcome::default());
        }
    } else {
        let (config, plugin) = (args.config.as_deref(), args.plugin.as_deref());
        let named = Named { config, plugin, node: args.node.as_deref() };
        round::check(&named, &mut findings);
    }
    if args.json {
        json::print(&findings)?;
    } else {
        print(&findings)?;
    }
    Ok(Outcome::ended(code(&findings)))
}

/// 0 where all is right, 2 where something does not work, 3 where something is lost or could not be
/// looked at.
fn code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.level).max() {
        Some(Level::Error) => 2,
        Some(Level::Warning) => 3,
        _ => 0,
    }
}

fn print(findings: &[Finding]) -> Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let (level, text) = (finding.level.as_str(), printable(&finding.text));
        writeln!(out, "{level:<8} {:<10} {text}", finding.area)?;
        if let Some(mend) = &finding.mend {
            writeln!(out, "{:19} mend: {}", "", printable(mend))?;
        }
    }
    out.flush()?;
    Ok(())
}
