//! `ct-report reconcile`.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use ct_core::slurm::expand_hostlist;

use crate::aggregate::slice::hour_of;
use crate::cli::output::OutputArgs;
use crate::diagnostic::{Outcome, note};
use crate::load::jobs;
use crate::load::nodes::{self, Books, NodeQuery};
use crate::load::pieces::Ledger;
use crate::query::Query;
use crate::query::time::{Edge, Zone, parse_time};
use crate::reconcile::row::heads;
use crate::reconcile::{Key, Rows};

/// Jobs that are named one by one; the rest is counted.
const NAMED: usize = 20;

/// Arguments of `ct-report reconcile`.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// Group by these, in this order, and by cluster first
    #[arg(long, value_enum, value_delimiter = ',', default_value = "node,month")]
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
    /// Look at hours from this time on: 2026-10-01, 2026-10-01T12:00:00Z, now-30days, lastmonth
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    starttime: Option<String>,
    /// Look at hours before this time; lastmonth means up to its end
    #[arg(short = 'E', long, value_name = "TIME", allow_hyphen_values = true)]
    endtime: Option<String>,
    /// Look only at these clusters
    #[arg(short = 'M', long, value_name = "CLUSTER", value_delimiter = ',')]
    clusters: Vec<String>,
    /// Look only at these nodes, named as Slurm does: n1,n[3-8]
    #[arg(short = 'N', long, value_name = "NODES")]
    nodes: Vec<String>,
    /// Begin months, weeks and days in this zone: UTC, local or a name such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: Zone,
    #[command(flatten)]
    output: OutputArgs,
}

/// Holds records against lines of nodes, prints the sums and names what does not fit.
pub(crate) fn run(args: &ReconcileArgs) -> Result<Outcome> {
    let query = query(args)?;
    let keys = keys(&args.by);
    let mut outcome = Outcome::default();
    let dir = jobs::ledger_dir(args.ledger.as_deref(), args.config.as_deref())?;
    let ledger = Ledger::new(dir, args.parquet.as_deref());
    let node_query = NodeQuery {
        clusters: args.clusters.clone(),
        nodes: args.nodes.iter().flat_map(|list| expand_hostlist(list)).collect(),
        since: query.start,
    };
    let reckon = |books: &Books| {
        let mut rows = Rows::default();
        books.iter().for_each(|(node, book)| rows.add(node, book, &keys, &query));
        rows
    };
    let rows = nodes::fold_books(&ledger, &node_query, &mut outcome, reckon, Rows::append)?;
    outcome.matched = rows.n_hours;
    print(args, &keys, &rows)?;
    explain(&keys, &rows, &mut outcome);
    Ok(outcome)
}

/// The cluster comes first: names of nodes are unique within it only.
fn keys(by: &[Key]) -> Vec<Key> {
    let mut keys = Vec::new();
    for key in [Key::Cluster].iter().chain(by) {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    keys
}

fn query(args: &ReconcileArgs) -> Result<Query> {
    let (zone, now) = (args.timezone, Utc::now());
    let time = |text: &Option<String>, edge| {
        let time = text.as_deref().map(|text| parse_time(text, edge, zone, now));
        time.transpose().map_err(|error| anyhow!(error))
    };
    let start = time(&args.starttime, Edge::Start)?.map(|at| whole_hour(at, Edge::Start));
    let end = time(&args.endtime, Edge::End)?.map(|at| whole_hour(at, Edge::End));
    Ok(Query { start, end, zone, ..Query::default() })
}

/// Moves a time outwards to a full hour: books are kept by the hour.
fn whole_hour(at: DateTime<Utc>, edge: Edge) -> DateTime<Utc> {
    let hour = hour_of(at);
    let moved = match edge {
        _ if hour == at => return at,
        Edge::Start => hour,
        Edge::End => hour + TimeDelta::hours(1),
    };
    let (what, text) = match edge {
        Edge::Start => ("from", moved.format("%Y-%m-%dT%H:%MZ")),
        Edge::End => ("up to", moved.format("%Y-%m-%dT%H:%MZ")),
    };
    note(&format!("books are kept by the hour: counted {what} {text}"));
    moved
}

fn print(args: &ReconcileArgs, keys: &[Key], rows: &Rows) -> Result<()> {
    let mut cells = rows.cells();
    if args.output.is_table() && cells.len() > 1 {
        cells.push(rows.total(keys));
    }
    args.output.print(&heads(keys), &cells)
}

/// Says what does not fit, and what cannot.
fn explain(keys: &[Key], rows: &Rows, outcome: &mut Outcome) {
    for (values, balance) in rows.iter().filter(|(_, balance)| balance.has_whole_nodes) {
        let name = values.join(" ");
        let jobs = balance.jobs_uj;
        note(&format!(
            "{name}: by the policy \"node\" each job is charged the whole node ({jobs} µJ in all): \
             no difference is given"
        ));
    }
    let has_node = keys.contains(&Key::Node);
    let findings: Vec<_> = rows.findings().collect();
    for (values, node, finding) in findings.iter().take(NAMED) {
        let of = if has_node { String::new() } else { format!(" {}", node.1) };
        outcome.fail(format!("{}{of}: {finding}", values.join(" ")));
    }
    if findings.len() > NAMED {
        outcome.fail(format!("{} more jobs do not fit", findings.len() - NAMED));
    }
}
