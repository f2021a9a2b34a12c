//! Records of jobs from the ledger and from log directories, no job twice.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::config::Config;
#[cfg(feature = "parquet")]
use ct_core::ledger::reader::parse_brief;
use ct_core::ledger::reader::{BriefEntry, Briefs};
use ct_core::record::{Brief, RecordKey};

use crate::dataset::Table;
use crate::diagnostic::{Hint, Outcome};
use crate::load::Loaded;
use crate::load::groups::{self, NodeId, Order, Piece};
use crate::load::logs::{self, LogFile, LogSets};
use crate::load::pieces::Ledger;
use crate::load::whole_job::whole_job;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// Its line, from 1.
    pub(crate) line: usize,
    /// The whole record, as JSON.
    pub(crate) text: &'a [u8],
}

/// Where records come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The ledger, if it is to be read.
    pub(crate) ledger: Option<Ledger>,
    /// Log directories and log files.
    pub(crate) logs: Vec<PathBuf>,
    /// Whether directories below are read, too.
    pub(crate) is_recursive: bool,
    /// Jobs that ended before this time are not asked for.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Whether a job over several nodes is wanted as a whole where only logs tell of it, which have
    /// the record of its first node alone.
    pub(crate) wants_whole_jobs: bool,
}

/// The directory of the ledger: as named, else as configured.
///
/// # Errors
///
/// A configuration that cannot be read.
pub(crate) fn ledger_dir(named: Option<&Path>, config: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None => Ok(Config::load(config)?.ledger.dir),
    }
}

/// Gives every record to `add`, and adds up with `merge` what comes of it: those of the ledger on
/// all processors, in the order that is named, then those of the logs. Of copies the first is taken,
/// and the ledger's before that of a log.
///
/// # Errors
///
/// A directory that cannot be read. Files and lines that cannot be read are reported in `outcome`.
pub(crate) fn fold<T: Default + Send>(
    sources: &Sources,
    order: Order,
    outcome: &mut Outcome,
    add: impl Fn(&mut T, &Brief<'_>, Place<'_>, &mut Outcome) + Sync,
    merge: impl Fn(&mut T, T),
) -> Result<T> {
    let sets = logs::find(&sources.logs, sources.is_recursive, outcome)?;
    let mut all = T::default();
    // Of the logs' records, whether the ledger has them.
    let mut in_ledger = HashMap::new();
    if let Some(ledger) = &sources.ledger {
        let pieces = ledger.pieces(sources.since, &[Table::Jobs])?;
        // What cannot be read is noted when it is read to be counted.
        let mut known = |record: &Brief<'_>, _: Place<'_>, _: &mut Outcome| {
            in_ledger.insert(identity(record), AtomicBool::new(false));
        };
        for_each_log(&sets, &mut Outcome::default(), &mut known);
        all = fold_pieces(pieces, order, outcome, &in_ledger, &add, merge);
    }
    let mut seen = HashSet::new();
    for_each_log(&sets, outcome, &mut |record, place, outcome| {
        let identity = identity(record);
        let is_in_ledger = in_ledger.get(&identity).is_some_and(|is| is.load(Ordering::Relaxed));
        if !is_in_ledger && seen.insert(identity) {
            let is_wanted = sources.wants_whole_jobs && sources.ledger.is_none();
            let whole = is_wanted.then(|| whole_job(place.text)).flatten();
            let brief = whole.as_ref().map(Brief::from);
            add(&mut all, brief.as_ref().unwrap_or(record), place, outcome);
        }
    });
    Ok(all)
}

/// Gives every record of these pieces to `add`, of copies the first, and notes which of those in
/// `in_ledger` came up.
pub(super) fn fold_pieces<T: Default + Send>(
    pieces: Vec<Piece>,
    order: Order,
    outcome: &mut Outcome,
    in_ledger: &HashMap<Identity, AtomicBool>,
    add: &(impl Fn(&mut T, &Brief<'_>, Place<'_>, &mut Outcome) + Sync),
    merge: impl Fn(&mut T, T),
) -> T {
    let read = |pieces: &[Piece], sum: &mut T, outcome: &mut Outcome| {
        read_pieces(pieces, outcome, in_ledger, &mut |record, place, outcome| {
            add(sum, record, place, outcome);
        })
    };
    groups::fold(pieces, order, outcome, read, merge)
}

/// Gives the record beside each pair of logs to `take`.
pub(super) fn for_each_log(
    sets: &LogSets,
    outcome: &mut Outcome,
    take: &mut impl FnMut(&Brief<'_>, Place<'_>, &mut Outcome),
) {
    let mut loaded = Loaded::default();
    let mut n_records = 0;
    for set in sets.iter() {
        // The logs themselves do not say whose they are.
        loaded.read_record(set, outcome);
        if let Some(record) = loaded.record(set, outcome) {
            n_records += 1;
            let path = set.path(LogFile::Record).unwrap_or_default();
            let place = Place { path: &path, line: 1, text: loaded.record_text() };
            take(&Brief::from(&record), place, outcome);
        }
    }
    outcome.count_records(n_records);
}

/// Bytes of a ledger file that are read at once.
const AT_ONCE: usize = 128 * 1024;

/// What tells records apart.
pub(super) type Identity = (RecordKey, i64);

/// The identity of a record: Slurm gives an id again once its numbers are used up, or its state was
/// lost, but copies of one record have one start.
pub(super) fn identity(record: &Brief<'_>) -> Identity {
    (record.key(), record.start.timestamp_millis())
}

/// The mend for a user who may not read what is the group's.
pub(super) const OF_THE_GROUP: &str = "the ledger is its group's: have yourself made a member; for \
     jobs of your own name their log directory: `ct-report job 5 carbontracker/`, `ct-report usage \
     carbontracker/`";

pub(super) fn no_ledger(dir: &Path, error: std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => OF_THE_GROUP,
        _ => "name its directory with --ledger, or a configuration with --config",
    };
    anyhow!(error).context(format!("cannot read ledger {}", dir.display())).context(Hint(hint))
}

fn read_pieces(
    pieces: &[Piece],
    outcome: &mut Outcome,
    in_ledger: &HashMap<Identity, AtomicBool>,
    take: &mut impl FnMut(&Brief<'_>, Place<'_>, &mut Outcome),
) -> Vec<NodeId> {
    let (mut seen, mut nodes) = (foldhash::HashSet::default(), Nodes::default());
    for piece in pieces {
        let mut once = |record: &Brief<'_>, place: Place<'_>, outcome: &mut Outcome| {
            if !in_ledger.is_empty()
                && let Some(is_in_ledger) = in_ledger.get(&identity(record))
            {
                is_in_ledger.store(true, Ordering::Relaxed);
            }
            let run = (record.job_id, record.restart, record.start.timestamp_millis());
            if seen.insert((nodes.number(&record.cluster, &record.node), run)) {
                take(record, place, outcome);
            }
        };
        read_piece(piece, outcome, &mut once);
    }
    nodes.all
}

/// The nodes of some files: few, as a rule one.
#[derive(Default)]
struct Nodes {
    all: Vec<NodeId>,
    numbers: HashMap<NodeId, usize>,
    last: usize,
}

impl Nodes {
    /// The node's place in `all`.
    fn number(&mut self, cluster: &str, node: &str) -> usize {
        let is_last = |(of_cluster, name): &NodeId| of_cluster == cluster && name == node;
        if !self.all.get(self.last).is_some_and(is_last) {
            let id = (cluster.to_owned(), node.to_owned());
            self.last = *self.numbers.entry(id).or_insert_with_key(|id| {
                self.all.push(id.clone());
                self.all.len() - 1
            });
        }
        self.last
    }
}

fn read_piece(
    piece: &Piece,
    outcome: &mut Outcome,
    once: &mut impl FnMut(&Brief<'_>, Place<'_>, &mut Outcome),
) {
    match piece {
        Piece::File(file) => read_ledger_file(file, outcome, once),
        #[cfg(feature = "parquet")]
        Piece::Rows(rows) => read_rows(rows, outcome, once),
    }
}

#[cfg(feature = "parquet")]
fn read_rows(
    rows: &super::compacted::Rows,
    outcome: &mut Outcome,
    once: &mut impl FnMut(&Brief<'_>, Place<'_>, &mut Outcome),
) {
    let (path, ..) = rows.place();
    let mut slow = None;
    let all = rows.each_line(|line, text| match parse_brief(text.as_bytes(), &mut slow) {
        Ok(Some(record)) => once(&record, Place { path, line, text: text.as_bytes() }, outcome),
        Ok(None) => {}
        Err(error) => outcome.skip_part(path, Some(line), error.to_string()),
    });
    if let Err(error) = all {
        outcome.skip_part(path, None, format!("{error:#}"));
    }
}

fn read_ledger_file(
    file: &Path,
    outcome: &mut Outcome,
    once: &mut impl FnMut(&Brief<'_>, Place<'_>, &mut Outcome),
) {
    let mut entries = match File::open(file) {
        Ok(open) => Briefs::new(BufReader::with_capacity(AT_ONCE, open)),
        Err(error) => return outcome.skip_file(file, &error),
    };
    loop {
        match entries.read_next() {
            Ok(Some(BriefEntry::Job { brief, text, line })) => {
                once(&brief, Place { path: file, line, text }, outcome);
            }
            Ok(Some(BriefEntry::Other)) => {}
            Ok(Some(BriefEntry::Skipped(skipped))) => outcome.skip(file, &skipped),
            Ok(None) => return,
            Err(error) => return outcome.skip_file(file, &error),
        }
    }
}
