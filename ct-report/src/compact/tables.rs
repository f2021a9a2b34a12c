//! The tables of one cluster and month, while they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::record::{Brief, NodeRecord, Record};

use crate::aggregate::part::Part;
use crate::dataset::{Table, Written, partition};
use crate::parquet::columns::{HOURS, JOBS, NODES};
use crate::parquet::rows::{self, Position};
use crate::parquet::writer::{TableWriter, Value};

/// A row in `jobs`, and parts with their day for `hours`.
pub(super) struct JobRows<'a> {
    job: Vec<Value<'a>>,
    parts: Vec<(Part, String)>,
}

/// What a record comes to.
///
/// # Errors
///
/// A record that does not fit the tables.
pub(super) fn job_rows<'a>(record: &'a Record, line: &'a str) -> Result<JobRows<'a>, String> {
    let job = rows::job(record, line)?;
    let parts = Part::by_hour(&Brief::from(record))?;
    for part in &parts {
        rows::hour(record, part, Position::default())?;
    }
    Ok(JobRows { job, parts: parts.into_iter().map(|part| (part, day(part.hour))).collect() })
}

/// What a node's line comes to; `day` is that of its hour.
///
/// # Errors
///
/// A line that does not fit the table.
pub(super) fn node_row<'a>(
    node: &'a NodeRecord,
    day: &'a str,
    line: &'a str,
) -> Result<Vec<Value<'a>>, String> {
    rows::node(node, day, line)
}

pub(super) fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

/// The files of one cluster that are being written.
pub(super) struct Tables {
    dir: PathBuf,
    cluster: String,
    month: String,
    open: BTreeMap<String, TableWriter>,
}

impl Tables {
    /// Tables below `dir`, where nothing is yet.
    pub(super) fn new(dir: &Path, cluster: &str, month: &str) -> Self {
        let (dir, open) = (dir.to_owned(), BTreeMap::new());
        Self { dir, cluster: cluster.to_owned(), month: month.to_owned(), open }
    }

    /// The cluster they are of.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn add_job(&mut self, record: &Record, line: &str) -> Result<()> {
        let JobRows { job, parts } = job_rows(record, line).map_err(|reason| anyhow!(reason))?;
        self.writer(Table::Jobs, &self.month.clone())?.add(&[job])?;
        let months: BTreeSet<&str> = parts.iter().map(|(_, day)| &day[..day.len() - 3]).collect();
        let split_id = if months.len() > 1 { rows::split_id(record) } else { 0 };
        for month in &months {
            let of_month = parts.iter().filter(|(_, day)| day.starts_with(month)).enumerate();
            let rows = of_month.map(|(nth, (part, day))| {
                rows::hour(record, part, Position { day, nth, split_id })
            });
            let rows: Vec<_> = rows.collect::<Result<_, _>>().map_err(|reason| anyhow!(reason))?;
            self.writer(Table::Hours, month)?.add(&rows)?;
        }
        Ok(())
    }

    /// Adds a node's line.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn add_node(&mut self, node: &NodeRecord, line: &str) -> Result<()> {
        let day = day(node.start);
        let row = node_row(node, &day, line).map_err(|reason| anyhow!(reason))?;
        self.writer(Table::Nodes, &self.month.clone())?.add(&[row])
    }

    /// The file of a table and month: hours lie in the month they are of, in one file for each
    /// month of the ledger that has some.
    fn writer(&mut self, table: Table, month: &str) -> Result<&mut TableWriter> {
        let dir = partition(table, &self.cluster, month);
        let file = format!("{dir}/ended-{}.parquet", self.month);
        match self.open.entry(file) {
            std::collections::btree_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) => {
                let dir = self.dir.join(dir);
                fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
                let columns = match table {
                    Table::Jobs => JOBS,
                    Table::Hours => HOURS,
                    Table::Nodes => NODES,
                };
                let writer = TableWriter::create(&self.dir.join(new.key()), columns)?;
                Ok(new.insert(writer))
            }
        }
    }

    /// Ends the files and says what they are.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn finish(self) -> Result<BTreeMap<String, Written>> {
        let mut files = BTreeMap::new();
        for (file, writer) in self.open {
            let path = self.dir.join(&file);
            let rows = writer.finish().with_context(|| format!("{}", path.display()))?;
            let bytes = fs::metadata(&path)?.len();
            files.insert(file, Written { bytes, rows });
        }
        Ok(files)
    }
}
