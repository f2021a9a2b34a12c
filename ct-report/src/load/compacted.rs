//! Rows of the dataset: those of one node, from which its lines are read back.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use crate::parquet::reader::{BATCH, TableFile};

/// Rows of one node in one group.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    file: TableFile,
    node: Arc<str>,
    group: usize,
    from: usize,
    to: usize,
}

impl Rows {
    /// The node they are of.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Where they stand: file, group, first row.
    pub(super) fn place(&self) -> (&Path, usize, usize) {
        (self.file.path(), self.group, self.from)
    }

    /// Gives each line to `take`, with its row in the group from 1.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub(super) fn each_line(&self, mut take: impl FnMut(usize, &str)) -> Result<()> {
        self.file.each_record(self.group, self.from..self.to, |row, line| {
            take(row + 1, line);
            Ok(())
        })
    }
}

/// The rows of a file, by node and group.
///
/// # Errors
///
/// A file that cannot be read.
pub(super) fn rows(path: &Path) -> Result<Vec<Rows>> {
    let file = TableFile::open(path)?;
    let mut all: Vec<Rows> = Vec::new();
    for group in 0..file.n_groups() {
        let (mut nodes, n_rows) = (file.texts(group, "node")?, file.n_rows(group));
        for from in (0..n_rows).step_by(BATCH) {
            nodes.each(BATCH.min(n_rows - from), |at, node| {
                let (node, row) = (node.unwrap_or_default(), from + at);
                match all.last_mut() {
                    Some(last) if last.group == group && last.node.as_bytes() == node => {
                        last.to = row + 1;
                    }
                    _ => {
                        let node = String::from_utf8_lossy(node).into();
                        all.push(Rows { file: file.clone(), node, group, from: row, to: row + 1 });
                    }
                }
            })?;
        }
    }
    Ok(all)
}
