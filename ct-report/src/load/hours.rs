//! Adds up the hours of the dataset, column by column, without making records of them.
//!
//! Gives what the records would give: energies to the microjoule, jobs each once. Only the columns
//! that the report shows are read.

mod hash;
mod lane;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use chrono::{DateTime, Months, NaiveDate, Utc};
use ct_core::record::Brief;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use self::lane::{Groups, Lanes};
use crate::aggregate::needs::Needs;
use crate::aggregate::part::ClusterHash;
use crate::aggregate::{Key, Report, Sums};
use crate::dataset::{Table, parts_of};
use crate::diagnostic::Outcome;
use crate::load::groups::{Order, Piece};
use crate::load::jobs::{self, Place, Sources};
use crate::load::pieces::{Contents, Ledger, month_of};
use crate::parquet::reader::{BATCH, TableFile};
use crate::query::Query;

/// Groups of rows whose sums are in memory at once, per processor.
const GROUPS_AT_ONCE: usize = 4;

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
    let one = |(file, cluster, group): &(TableFile, String, usize)| {
        let named = || format!("cannot read {}", file.path().display());
        read_group(file, *group, cluster, ask).with_context(named)
    };
    for groups in groups.chunks(GROUPS_AT_ONCE * rayon::current_num_threads()) {
        let parts: Vec<Result<_>> = groups.par_iter().map(one).collect();
        for part in parts {
            let (part, n_records) = part?;
            outcome.matched += n_records;
            report.append(part);
        }
    }
    Ok(())
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

/// Adds up a group of rows; says of how many records.
fn read_group(
    file: &TableFile,
    group: usize,
    cluster: &str,
    ask: Ask<'_>,
) -> Result<(Report, usize)> {
    let mut lanes = Lanes::open(file, group, ask)?;
    let mut groups = Groups::new(ask, cluster, &lanes);
    let mut sums: Vec<Box<Sums>> = Vec::new();
    let (mut records, cluster_hash) = (Records::default(), ClusterHash::of(cluster));
    let n_rows = file.n_rows(group);
    for from in (0..n_rows).step_by(BATCH) {
        let rows = lanes.read(BATCH.min(n_rows - from))?;
        for row in 0..rows.len() {
            records.next(rows.is_first(row));
            if !rows.is_selected(row, ask.query) {
                continue;
            }
            records.n_counted += usize::from(std::mem::replace(&mut records.is_new, false));
            let at = groups.of(&rows, row);
            if at == sums.len() {
                sums.push(Box::default());
            }
            sums[at].add(records.number, &rows.job(row, cluster_hash), &rows.part(row));
        }
    }
    let mut report = Report::default();
    groups
        .names(&lanes, ask)
        .into_iter()
        .zip(sums)
        .for_each(|(name, sums)| report.insert(name, sums));
    Ok((report, records.n_counted))
}

/// Counts records by their rows, which come one after another.
#[derive(Default)]
struct Records {
    number: u64,
    is_new: bool,
    n_counted: usize,
}

impl Records {
    /// Takes the next row, which may be the first one of another record.
    fn next(&mut self, is_first: bool) {
        self.number += u64::from(is_first);
        self.is_new |= is_first;
    }
}

/// When a part begins: at its job's start, or at the full hour.
fn begin(start_ms: i64, hour_s: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(hour_s.checked_mul(1000)?).map(|hour| {
        let start = DateTime::from_timestamp_millis(start_ms).unwrap_or(hour);
        if crate::aggregate::slice::hour_of(start) == hour { start } else { hour }
    })
}
