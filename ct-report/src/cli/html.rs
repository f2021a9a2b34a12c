//! `ct-report html`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ct_core::record::Brief;

use crate::aggregate::slice::hour_of;
use crate::cli::output::write_file;
use crate::cli::selection::Selection;
use crate::diagnostic::Outcome;
use crate::html::Site;
use crate::load::groups::Order;
use crate::load::jobs::{self, Place};
use crate::load::nodes::{self, Books, NodeQuery};
use crate::load::pieces::Ledger;
use crate::query::Query;
use crate::reconcile::{Key, Rows};
use crate::render::html::site_page;

/// Arguments of `ct-report html`.
#[derive(Debug, Args)]
pub(crate) struct HtmlArgs {
    #[command(flatten)]
    selection: Selection,
    /// Write the page to this file; `-` for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Adds up what is asked for and writes the page.
pub(crate) fn run(args: &HtmlArgs) -> Result<Outcome> {
    let query = args.selection.query()?;
    let sources = args.selection.sources(&query)?;
    let mut outcome = Outcome::default();
    let add =
        |site: &mut Site, record: &Brief<'_>, place: Place<'_>, outcome: &mut Outcome| match site
            .add(record, &query)
        {
            Ok(is_counted) => outcome.matched += usize::from(is_counted),
            Err(reason) => outcome.skip_part(place.path, Some(place.line), reason),
        };
    let site = jobs::fold(&sources, Order::OfNames, &mut outcome, add, Site::append)?;
    if outcome.matched == 0 {
        return Ok(outcome);
    }
    let rows = sources.ledger.as_ref().map(|ledger| {
        // What cannot be read was noted with the jobs.
        reconcile(ledger, &query, &mut Outcome::default())
    });
    let page = site_page(&site, &rows.transpose()?, query.zone.name())?;
    write_file(&args.output, page.as_bytes())?;
    Ok(outcome)
}

/// The books of the nodes, which tell of whole nodes and hours: whose jobs is not asked.
fn reconcile(ledger: &Ledger, query: &Query, outcome: &mut Outcome) -> Result<Rows> {
    let query = Query {
        start: query.start.map(hour_of),
        end: query.end,
        zone: query.zone,
        clusters: query.clusters.clone(),
        ..Query::default()
    };
    let node_query =
        NodeQuery { clusters: query.clusters.clone(), nodes: Vec::new(), since: query.start };
    let reckon = |books: &Books| {
        let mut rows = Rows::default();
        let keys = [Key::Cluster, Key::Node];
        books.iter().for_each(|(node, book)| rows.add(node, book, &keys, &query));
        rows
    };
    nodes::fold_books(ledger, &node_query, outcome, reckon, Rows::append)
}
