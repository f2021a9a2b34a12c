//! Removes from the ledger what the dataset has, line by line and to the byte.
//!
//! A file is read against the dataset, moved aside, so that what is appended from now on goes to a
//! new file, read once more, and removed. Lines that are not in the dataset are appended to the new
//! file: they stay in the ledger and are reported by every reader.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::index::ledger_files_of;
use crate::dataset::{Dataset, MonthList, Table};
use crate::load::pieces::Ledger;
use crate::parquet::reader::TableFile;

/// Extension of a file that is being removed.
pub(super) const ASIDE: &str = "pruning";

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Lines that the dataset has.
    pub(crate) lines: u64,
    /// Lines that it does not have, which stay.
    pub(crate) kept: u64,
}

/// Removes the lines of a month that are in the dataset.
///
/// # Errors
///
/// What cannot be read or written; no line is lost by it.
pub(crate) fn prune(ledger: &Ledger, month: &str) -> Result<Pruned> {
    let dataset = &ledger.dataset;
    let list = dataset.month(month).with_context(|| format!("cannot read {month} back"))?;
    let lines = Lines::read(dataset, &list)?;
    let mut pruned = Pruned::default();
    for file in ledger_files_of(&ledger.dir, month)? {
        let (removed, kept) = lines.compare(&file)?;
        if removed > 0 {
            forget(dataset, month, &file)?;
            pruned.lines += remove(&file, &lines)?;
        }
        pruned.kept += kept.len() as u64;
    }
    Ok(pruned)
}

/// Takes a file from the month's list: one that comes by its name later is another.
fn forget(dataset: &Dataset, month: &str, file: &Path) -> Result<()> {
    let path = dataset.list_path(month);
    let named = || format!("cannot write {}", path.display());
    let mut list = dataset.month(month)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if list.sources.remove(&*name).is_none() {
        return Ok(());
    }
    let new = path.with_extension("new");
    let mut out = File::create(&new).with_context(named)?;
    serde_json::to_writer_pretty(&mut out, &list)?;
    out.write_all(b"\n").and_then(|()| out.sync_all()).with_context(named)?;
    fs::rename(&new, &path).with_context(named)
}

/// Removes a file; its lines that are not in the dataset go to the ledger's file of its name.
fn remove(file: &Path, lines: &Lines) -> Result<u64> {
    let named = || format!("cannot remove {}", file.display());
    let aside = file.with_extension(ASIDE);
    if file != aside {
        // One that was left by an interrupted run is done with first: see the order of files.
        fs::rename(file, &aside).with_context(named)?;
    }
    let (removed, kept) = lines.compare(&aside)?;
    if !kept.is_empty() {
        append(&file.with_extension("jsonl"), &kept)?;
    }
    fs::remove_file(&aside).with_context(named)?;
    let dir: PathBuf = file.parent().unwrap_or(Path::new(".")).to_owned();
    File::open(&dir).and_then(|dir| dir.sync_all()).with_context(named)?;
    Ok(removed)
}

/// Appends lines in one write, as the ledger's writer does.
fn append(file: &Path, lines: &[Vec<u8>]) -> Result<()> {
    let named = || format!("cannot append to {}", file.display());
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(file).with_context(named)?;
    file.write_all(&text).and_then(|()| file.sync_all()).with_context(named)
}

/// The texts of a month's lines as the dataset has them.
struct Lines {
    /// Two keyed hashes of each: nobody can choose a text that passes for another.
    texts: HashSet<(u64, u64)>,
    keys: (RandomState, RandomState),
}

impl Lines {
    fn read(dataset: &Dataset, list: &MonthList) -> Result<Self> {
        let mut lines =
            Self { texts: HashSet::new(), keys: (RandomState::new(), RandomState::new()) };
        for table in [Table::Jobs, Table::Nodes] {
            for file in list.of_table(table) {
                let file = TableFile::open(&dataset.path(file))?;
                for group in 0..file.n_groups() {
                    file.each_record(group, 0..file.n_rows(group), |_, line| {
                        lines.texts.insert(lines.hash(line.as_bytes()));
                        Ok(())
                    })?;
                }
            }
        }
        Ok(lines)
    }

    fn hash(&self, text: &[u8]) -> (u64, u64) {
        (self.keys.0.hash_one(text), self.keys.1.hash_one(text))
    }

    /// How many lines of a file the dataset has, and those it does not have.
    fn compare(&self, path: &Path) -> Result<(u64, Vec<Vec<u8>>)> {
        let named = || format!("cannot read {}", path.display());
        let mut input = BufReader::new(File::open(path).with_context(named)?);
        let (mut n, mut kept, mut line) = (0, Vec::new(), Vec::new());
        loop {
            line.clear();
            if input.read_until(b'\n', &mut line).with_context(named)? == 0 {
                return Ok((n, kept));
            }
            let text = line.trim_ascii();
            if self.texts.contains(&self.hash(text)) {
                n += 1;
            } else if !text.is_empty() {
                kept.push(text.to_owned());
            }
        }
    }
}
