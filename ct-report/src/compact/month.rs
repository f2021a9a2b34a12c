//! Compacts one month: reads, writes beside the dataset, verifies, and only then puts it in place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ct_core::ledger::reader::{Entry, parse_entry};

use super::index::{Index, ledger_files_of};
use super::tables::Tables;
use super::verify::{Sums, verify};
use crate::dataset::{Dataset, MonthList, Source, Table, Written};
use crate::diagnostic::{Outcome, note};
use crate::load::pieces::Ledger;
use crate::parquet::reader::TableFile;

/// Directory below the dataset's where files are written first.
const UNFINISHED: &str = "unfinished";

/// What came of a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Rows of jobs.
    pub(crate) jobs: u64,
    /// Rows of hours.
    pub(crate) hours: u64,
    /// Rows of nodes.
    pub(crate) nodes: u64,
    /// Bytes of the ledger's files.
    pub(crate) ledger_bytes: u64,
    /// Bytes of the dataset's files.
    pub(crate) bytes: u64,
    /// Whether anything was written: else all was there already.
    pub(crate) is_new: bool,
}

/// Compacts a month of a ledger, with what was compacted of it before.
///
/// # Errors
///
/// What cannot be read or written, and a file that does not read back as the ledger's lines; the
/// dataset is then as it was.
pub(crate) fn compact(ledger: &Ledger, month: &str, outcome: &mut Outcome) -> Result<Compacted> {
    let dataset = &ledger.dataset;
    let before = dataset.month(month).or_else(|error| {
        // What an interrupted run left is made again, as long as the ledger has it.
        note(&format!("{error}: {month} is compacted again"));
        interrupted(dataset, month, error)
    })?;
    let files = ledger_files_of(&ledger.dir, month)?;
    if is_there(&before, &files)? {
        return Ok(summary(&before, false));
    }
    let dir = dataset.path(UNFINISHED).join(month);
    clear(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot write {}", dir.display()))?;
    let mut index = Index::default();
    let old = dir.join("before.jsonl");
    if !before.files.is_empty() {
        spool(dataset, &before, &old)?;
        index.read(&old, month, &mut Outcome::default())?;
    }
    let mut sources = BTreeMap::new();
    for file in &files {
        let source = index.read(file, month, outcome)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sources.insert(name, source);
    }
    index.settle();
    let files = write(&index, &dir, month)?;
    put_in_place(dataset, month, &dir, MonthList { sources, files, ..MonthList::default() })
}

/// A month whose files are not as its list says, where nothing of the ledger was pruned since.
fn interrupted(dataset: &Dataset, month: &str, error: std::io::Error) -> Result<MonthList> {
    let path = dataset.list_path(month);
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let list: MonthList = serde_json::from_str(&text)?;
    // Each file of the dataset has all rows that its predecessor had: those that are there serve.
    let files = list.files.into_iter().filter(|(file, _)| dataset.path(file).is_file()).collect();
    let list = MonthList { files, sources: BTreeMap::new(), v: list.v };
    let jobs = list.of_table(Table::Jobs).count() + list.of_table(Table::Nodes).count();
    if jobs == 0 { Err(error.into()) } else { Ok(list) }
}

/// Whether all files of the ledger are in the dataset as they are now.
fn is_there(list: &MonthList, files: &[PathBuf]) -> Result<bool> {
    for file in files {
        let bytes = fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if list.sources.get(&*name).is_none_or(|source| source.bytes != bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the lines that were compacted before to a file, as they stood in the ledger.
fn spool(dataset: &Dataset, list: &MonthList, path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create_new(path)?);
    for table in [Table::Nodes, Table::Jobs] {
        for file in list.of_table(table) {
            let file = TableFile::open(&dataset.path(file))?;
            for group in 0..file.n_groups() {
                file.each_record(group, 0..file.n_rows(group), |_, line| {
                    Ok(writeln!(out, "{line}")?)
                })?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Writes the tables and reads them back.
fn write(index: &Index, dir: &Path, month: &str) -> Result<BTreeMap<String, Written>> {
    let mut files = BTreeMap::new();
    let mut open: Option<(Tables, Sums)> = None;
    let mut finish = |open: &mut Option<(Tables, Sums)>| -> Result<()> {
        if let Some((tables, sums)) = open.take() {
            let cluster = tables.cluster().to_owned();
            let written = tables.finish()?;
            verify(dir, &cluster, &written, &sums)
                .context("what was written does not read back as the ledger's lines")?;
            files.extend(written);
        }
        Ok(())
    };
    index.each(|cluster, line| {
        if open.as_ref().is_some_and(|(tables, _)| tables.cluster() != cluster) {
            finish(&mut open)?;
        }
        let new = || (Tables::new(dir, cluster, month), Sums::default());
        let (tables, sums) = open.get_or_insert_with(new);
        match parse_entry(line.as_bytes())? {
            Entry::Job(record) => {
                sums.add_job(&record, line);
                tables.add_job(&record, line)
            }
            Entry::Node(node) => {
                sums.add_node(&node, line);
                tables.add_node(&node, line)
            }
            Entry::Other | Entry::Skipped(_) => bail!("a line changed while it was read"),
        }
    })?;
    finish(&mut open)?;
    let rows = |(file, written): (&String, &Written)| {
        if file.starts_with(Table::Hours.as_str()) { 0 } else { written.rows }
    };
    let (seen, expected) = (files.iter().map(rows).sum::<u64>(), index.len() as u64);
    ensure!(seen == expected, "{seen} rows were written, expected {expected}");
    Ok(files)
}

/// Renames the files into the dataset, its list last.
fn put_in_place(dataset: &Dataset, month: &str, dir: &Path, list: MonthList) -> Result<Compacted> {
    for file in list.files.keys() {
        let to = dataset.path(file);
        let named = || format!("cannot write {}", to.display());
        let parent = to.parent().context("a file lies in a directory")?;
        fs::create_dir_all(parent).with_context(named)?;
        fs::rename(dir.join(file), &to).with_context(named)?;
        File::open(parent).and_then(|parent| parent.sync_all()).with_context(named)?;
    }
    let to = dataset.list_path(month);
    let named = || format!("cannot write {}", to.display());
    let parent = to.parent().context("a file lies in a directory")?;
    fs::create_dir_all(parent).with_context(named)?;
    let new = dir.join("list.json");
    let mut file = File::create(&new).with_context(named)?;
    serde_json::to_writer_pretty(&mut file, &list)?;
    file.write_all(b"\n").and_then(|()| file.sync_all()).with_context(named)?;
    fs::rename(&new, &to).with_context(named)?;
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(named)?;
    clear(dir)?;
    Ok(summary(&list, true))
}

fn clear(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot clear {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn summary(list: &MonthList, is_new: bool) -> Compacted {
    let rows = |table: Table| {
        let of_table = list.of_table(table).filter_map(|file| list.files.get(file));
        of_table.map(|written| written.rows).sum()
    };
    Compacted {
        jobs: rows(Table::Jobs),
        hours: rows(Table::Hours),
        nodes: rows(Table::Nodes),
        ledger_bytes: list.sources.values().map(|source: &Source| source.bytes).sum(),
        bytes: list.files.values().map(|written| written.bytes).sum(),
        is_new,
    }
}
