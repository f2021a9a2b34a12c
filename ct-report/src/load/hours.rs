//! Adds up the hours of the dataset, column by column, without making records of them.
//!
//! Gives what the records would give: energies to the microjoule, jobs each once. Only the columns
//! that the report shows are read.

mod group;
mod hash;
mod lane;
mod tally;
mod text;
mod totals;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use chrono::{Months, NaiveDate};
use ct_core::record::Brief;

use self::tally::Tally;
use crate::aggregate::needs::Needs;
use crate::aggregate::{Key, Report};
use crate::dataset::{Table, parts_of};
use crate::diagnostic::Outcome;
use crate::load::groups::{Order, Piece};
use crate::load::jobs::{self, Place, Sources};
use crate::load::pieces::{Contents, Ledger, month_of};
use crate::parquet::reader::TableFile;
use crate::query::Query;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) query: &'a Query,
    pub(crate) keys: &'a [Key],
    pub(crate) needs: Needs,
}

/// What records come to, where hours alone can give it: `None` where records have to be read. Lines
/// that are not compacted go to `add`, hours to the report that `report_of` finds.
///
/// # Errors
///
/// A directory or a file of the dataset that cannot be read.
pub(crate) fn fold<T: Default + Send>(
    sources: &Sources,
    ask: Ask<'_>,
    outcome: &mut Outcome,
    add: impl Fn(&mut T, &Brief<'_>, Place<'_>, &mut Outcome) + Sync,
    merge: impl Fn(&mut T, T),
    report_of: impl Fn(&mut T) -> &mut Report,
) -> Result<Option<T>> {
    let Some(ledger) = &sources.ledger else { return Ok(None) };
    // Logs are compared with the ledger record by record; and hours do not know array jobs.
    if !sources.logs.is_empty() || !ask.query.jobs.is_empty() {
        return Ok(None);
    }
    let contents = ledger.contents(sources.since)?;
    let is_twice = |month: &str| contents.months.contains_key(month);
    if contents.months.is_empty() || contents.files.iter().any(|file| is_twice(month_of(file))) {
        return Ok(None);
    }
    // A line that lies in the wrong month may be a copy of one that was compacted.
    let has_stray = AtomicBool::new(false);
    let watch = |sum: &mut T, record: &Brief<'_>, place: Place<'_>, outcome: &mut Outcome| {
        if is_twice(&record.end.format("%Y-%m").to_string()) {
            has_stray.store(true, Ordering::Relaxed);
        }
        add(sum, record, place, outcome);
    };
    let mut own = Outcome::default();
    let pieces: Vec<Piece> = contents.files.iter().cloned().map(Piece::File).collect();
    let mut sum = jobs::fold_pieces(pieces, Order::Any, &mut own, &HashMap::new(), &watch, merge);
    if has_stray.into_inner() {
        return Ok(None);
    }
    outcome.append(own);
    add_months(ledger, &contents, ask, outcome, report_of(&mut sum))?;
    Ok(Some(sum))
}

fn add_months(
    ledger: &Ledger,
    contents: &Contents,
    ask: Ask<'_>,
    outcome: &mut Outcome,
    report: &mut Report,
) -> Result<()> {
    let mut groups = Vec::new();
    for file in contents.months.values().flat_map(|list| list.of_table(Table::Hours)) {
        let (cluster, month) = parts_of(file).with_context(|| format!("{file} is of no table"))?;
        if !selects(ask.query, &cluster, &month) {
            continue;
        }
        let file = TableFile::open(&ledger.dataset.path(file))?;
        groups.extend((0..file.n_groups()).map(|group| (file.clone(), cluster.clone(), group)));
    }
    for tally in tally_all(&groups, ask)? {
        outcome.matched += tally.n_counted();
        tally.add_to(report);
    }
    Ok(())
}

/// What each thread added up, of groups of rows as it got to them.
fn tally_all<'a>(groups: &'a [(TableFile, String, usize)], ask: Ask<'a>) -> Result<Vec<Tally<'a>>> {
    let next = AtomicUsize::new(0);
    let of_thread = |_: rayon::BroadcastContext<'_>| {
        let mut tally = Tally::new(ask);
        while let Some((file, cluster, group)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let named = || format!("cannot read {}", file.path().display());
            tally.read(file, *group, cluster).with_context(named)?;
        }
        Ok(tally)
    };
    rayon::broadcast(of_thread).into_iter().collect()
}

/// Whether a partition may hold what is asked for.
fn selects(query: &Query, cluster: &str, month: &str) -> bool {
    let is_asked = query.clusters.is_empty() || query.clusters.iter().any(|c| c == cluster);
    let first = NaiveDate::parse_from_str(&format!("{month}-01"), "%Y-%m-%d").ok();
    let span = first.and_then(|first| Some((first, first.checked_add_months(Months::new(1))?)));
    let begins = |date: NaiveDate| date.and_hms_opt(0, 0, 0).map(|at| at.and_utc());
    let is_in_time = span.is_none_or(|(first, next)| {
        let starts_after = query.start.zip(begins(next)).is_some_and(|(start, end)| end <= start);
        let ends_before = query.end.zip(begins(first)).is_some_and(|(end, start)| start >= end);
        !starts_after && !ends_before
    });
    is_asked && is_in_time
}
