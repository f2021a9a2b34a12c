//! The Parquet dataset beside a ledger: where its files lie, and what was made of which.
//!
//! Knows paths and the lists of compacted months, not Parquet: whether a month is there has to be
//! seen also by a build that cannot read it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Directory of the dataset below that of the ledger.
pub(crate) const BELOW_LEDGER: &str = "parquet";
/// Directory of the months' lists below that of the dataset.
const LISTS: &str = "compacted";
/// Version of the lists' form.
const VERSION: u32 = 1;

/// What rows are of; each has a directory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// A job on a node.
    Jobs,
    /// An hour of a job on a node.
    Hours,
    /// A node in a part of an hour.
    Nodes,
}

impl Table {
    /// The name of its directory.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Hours => "hours",
            Self::Nodes => "nodes",
        }
    }
}

/// What was made of a ledger's month: written last, so that what it lists is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MonthList {
    /// Version of this form.
    pub(crate) v: u32,
    /// Files of the ledger that are in the dataset, by name.
    pub(crate) sources: BTreeMap<String, Source>,
    /// Files of the dataset, by their path in it.
    pub(crate) files: BTreeMap<String, Written>,
}

/// A file of the ledger as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Its length.
    pub(crate) bytes: u64,
    /// Lines that could not be read, and are not in the dataset.
    pub(crate) skipped: u64,
}

/// A file of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// Its length.
    pub(crate) bytes: u64,
    /// Its rows.
    pub(crate) rows: u64,
}

impl Default for MonthList {
    fn default() -> Self {
        Self { v: VERSION, sources: BTreeMap::new(), files: BTreeMap::new() }
    }
}

impl MonthList {
    /// Whether all that a file of the ledger says is in the dataset: it only grows.
    pub(crate) fn covers(&self, name: &str, bytes: u64) -> bool {
        self.sources.get(name).is_some_and(|s| s.bytes == bytes && s.skipped == 0)
    }

    /// The files of a table, by their path in the dataset.
    pub(crate) fn of_table(&self, table: Table) -> impl Iterator<Item = &str> {
        let dir = format!("{}/", table.as_str());
        self.files.keys().filter(move |path| path.starts_with(&dir)).map(String::as_str)
    }
}

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dataset {
    dir: PathBuf,
}

impl Dataset {
    /// The dataset in a directory, which need not exist.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one of its files.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The path of a month's list.
    pub(crate) fn list_path(&self, month: &str) -> PathBuf {
        self.dir.join(LISTS).join(format!("{month}.json"))
    }

    /// The list of a ledger's month; empty where it was not compacted.
    ///
    /// # Errors
    ///
    /// A list that cannot be read, or lists a file that is not as it was written.
    pub(crate) fn month(&self, month: &str) -> io::Result<MonthList> {
        let path = self.list_path(month);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(MonthList::default()),
            text => text.map_err(|error| at(&path, &error))?,
        };
        let list: MonthList =
            serde_json::from_str(&text).map_err(|e| at(&path, &io::Error::from(e)))?;
        if list.v != VERSION {
            let text = format!("\"v\" is {}, expected {VERSION}", list.v);
            return Err(at(&path, &io::Error::other(text)));
        }
        for (file, written) in &list.files {
            self.check(file, written)?;
        }
        Ok(list)
    }

    fn check(&self, file: &str, written: &Written) -> io::Result<()> {
        let path = self.path(file);
        let bytes = fs::metadata(&path).map_err(|error| at(&path, &error))?.len();
        if bytes == written.bytes {
            return Ok(());
        }
        let text = format!("it has {bytes} bytes, expected {}", written.bytes);
        Err(at(&path, &io::Error::other(text)))
    }

    /// All compacted months with their lists, in order.
    ///
    /// # Errors
    ///
    /// As [`Self::month`], and those of reading the directory.
    pub(crate) fn months(&self) -> io::Result<BTreeMap<String, MonthList>> {
        let dir = self.dir.join(LISTS);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(|error| at(&dir, &error))?,
        };
        let mut months = BTreeMap::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(month) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                months.insert(month.to_owned(), self.month(month)?);
            }
        }
        Ok(months)
    }
}

/// The directory of a table's partition, as Hive names them.
pub(crate) fn partition(table: Table, cluster: &str, month: &str) -> String {
    format!("{}/cluster={}/month={month}", table.as_str(), escape(cluster))
}

/// Cluster and month of a file of the dataset.
pub(crate) fn parts_of(file: &str) -> Option<(String, String)> {
    let mut parts = file.split('/').skip(1);
    let cluster = parts.next()?.strip_prefix("cluster=")?;
    let month = parts.next()?.strip_prefix("month=")?;
    Some((unescape(cluster)?, month.to_owned()))
}

/// A value as Hive has it in paths: what is no plain character by its number.
fn escape(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// An error with the path it is about.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_found_in_paths_whatever_their_name() {
        for cluster in ["lab", "a b/c=d%", "zoë", "..", ""] {
            let dir = partition(Table::Hours, cluster, "2026-10");
            assert_eq!(dir.matches('/').count(), 2, "{dir}");
            let parts = parts_of(&format!("{dir}/x.parquet"));
            assert_eq!(parts, Some((cluster.to_owned(), "2026-10".to_owned())));
        }
        assert_eq!(parts_of("hours/month=2026-10/x.parquet"), None);
    }

    #[test]
    fn a_file_that_grew_is_not_covered() {
        let mut list = MonthList::default();
        list.sources.insert("n1.jsonl".to_owned(), Source { bytes: 10, skipped: 0 });
        list.sources.insert("n2.jsonl".to_owned(), Source { bytes: 10, skipped: 1 });
        let covered = [("n1.jsonl", 10), ("n1.jsonl", 11), ("n2.jsonl", 10), ("n3.jsonl", 0)];
        assert_eq!(covered.map(|(name, n)| list.covers(name, n)), [true, false, false, false]);
    }

    #[test]
    fn a_list_that_does_not_hold_is_an_error_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = Dataset::new(dir.path().to_owned());
        assert_eq!(dataset.months().unwrap().len(), 0);
        fs::create_dir_all(dataset.list_path("2026-10").parent().unwrap()).unwrap();
        let mut list = MonthList::default();
        list.files.insert("jobs/x".to_owned(), Written { bytes: 3, rows: 1 });
        fs::write(dataset.list_path("2026-10"), serde_json::to_string(&list).unwrap()).unwrap();
        let error = |dataset: &Dataset| dataset.months().unwrap_err().to_string();
        assert!(error(&dataset).contains("jobs/x: No such file"), "{}", error(&dataset));
        fs::create_dir(dataset.path("jobs")).unwrap();
        fs::write(dataset.path("jobs/x"), "four").unwrap();
        assert!(error(&dataset).ends_with("it has 4 bytes, expected 3"), "{}", error(&dataset));
        fs::write(dataset.path("jobs/x"), "123").unwrap();
        assert_eq!(dataset.months().unwrap()["2026-10"], list);
    }
}
