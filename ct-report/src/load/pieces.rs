//! What a ledger's directory holds, compacted or not, as pieces of one node each.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use ct_core::ledger::reader::ledger_files;

use crate::dataset::{BELOW_LEDGER, Dataset, MonthList, Table};
use crate::diagnostic::Hint;
use crate::load::groups::Piece;

/// A ledger and the dataset that was made of it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// Directory of the ledger.
    pub(crate) dir: PathBuf,
    /// Its dataset, which may be empty.
    pub(crate) dataset: Dataset,
}

impl Ledger {
    /// The ledger in `dir`, with its dataset below it or as named.
    pub(crate) fn new(dir: PathBuf, dataset: Option<&Path>) -> Self {
        let below = || dir.join(BELOW_LEDGER);
        let dataset = Dataset::new(dataset.map_or_else(below, Path::to_owned));
        Self { dir, dataset }
    }

    /// The files of the ledger that may hold lines from `since` on and are not, as a whole, in the
    /// dataset; and the months of the dataset.
    ///
    /// # Errors
    ///
    /// A directory or a list that cannot be read.
    pub(crate) fn contents(&self, since: Option<DateTime<Utc>>) -> Result<Contents> {
        let months = self.dataset.months().map_err(|error| self.no_dataset(error))?;
        let mut files =
            ledger_files(&self.dir).map_err(|e| super::jobs::no_ledger(&self.dir, e))?;
        files.retain(|file| is_asked_for(month_of(file), since));
        let mut left = Vec::new();
        for file in files {
            if !is_covered(&file, &months)? {
                left.push(file);
            }
        }
        let months = months.into_iter().filter(|(month, _)| is_asked_for(month, since)).collect();
        Ok(Contents { files: left, months })
    }

    /// A dataset that cannot be read: who may not look into the ledger does not know of one.
    fn no_dataset(&self, error: io::Error) -> anyhow::Error {
        let (dir, is_denied) = (self.dataset.dir(), error.kind() == ErrorKind::PermissionDenied);
        let ledger = fs::read_dir(&self.dir).err().filter(|e| e.kind() == error.kind());
        if let Some(error) = ledger.filter(|_| is_denied && dir.starts_with(&self.dir)) {
            return super::jobs::no_ledger(&self.dir, error);
        }
        let hint = if is_denied {
            super::jobs::OF_THE_GROUP
        } else {
            "run ct-report compact again: what it lists has to be there as it was written"
        };
        let what = format!("cannot read dataset {}", dir.display());
        anyhow::anyhow!(error).context(what).context(Hint(hint))
    }

    /// All that may hold lines from `since` on, by node.
    ///
    /// # Errors
    ///
    /// As [`Self::contents`], and a file of the dataset that cannot be read.
    pub(crate) fn pieces(
        &self,
        since: Option<DateTime<Utc>>,
        tables: &[Table],
    ) -> Result<Vec<Piece>> {
        let contents = self.contents(since)?;
        let mut pieces: Vec<Piece> = contents.files.into_iter().map(Piece::File).collect();
        for list in contents.months.values() {
            for table in tables {
                for file in list.of_table(*table) {
                    add_rows(&self.dataset, file, &mut pieces)?;
                }
            }
        }
        Ok(pieces)
    }
}

/// What a ledger holds.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Files that are not, as a whole, in the dataset.
    pub(crate) files: Vec<PathBuf>,
    /// Months of the dataset.
    pub(crate) months: BTreeMap<String, MonthList>,
}

#[cfg(feature = "parquet")]
fn add_rows(dataset: &Dataset, file: &str, pieces: &mut Vec<Piece>) -> Result<()> {
    let rows = super::compacted::rows(&dataset.path(file))?;
    pieces.extend(rows.into_iter().map(Piece::Rows));
    Ok(())
}

#[cfg(not(feature = "parquet"))]
fn add_rows(dataset: &Dataset, file: &str, _: &mut Vec<Piece>) -> Result<()> {
    let path = dataset.path(file);
    let error = anyhow::anyhow!("cannot read {}: this ct-report has no Parquet", path.display());
    Err(error.context(Hint("build it with the feature \"parquet\"")))
}

fn is_covered(file: &Path, months: &BTreeMap<String, MonthList>) -> Result<bool> {
    let Some(list) = months.get(month_of(file)) else { return Ok(false) };
    let bytes = fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(list.covers(&name, bytes))
}

/// The month in whose directory a file of the ledger lies.
pub(crate) fn month_of(file: &Path) -> &str {
    let month = file.parent().and_then(Path::file_name);
    month.and_then(|name| name.to_str()).unwrap_or_default()
}

/// Whether a month, in which jobs ended, is not over before `since`.
fn is_asked_for(month: &str, since: Option<DateTime<Utc>>) -> bool {
    let since = since.map(|since| since.format("%Y-%m").to_string());
    since.is_none_or(|since| *month >= *since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_the_ledger_is_told_of_its_group_and_of_their_own_logs() {
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        let (dir, other) = (PathBuf::from("/ledger"), Path::new("/parquet"));
        let own = super::super::jobs::no_ledger(&dir, denied());
        // The dataset alone is closed.
        let below = Ledger::new(dir.clone(), None).no_dataset(denied());
        let elsewhere = Ledger::new(dir.clone(), Some(other)).no_dataset(denied());
        for (error, what) in [
            (own, "ledger /ledger"),
            (below, "dataset /ledger/parquet"),
            (elsewhere, "dataset /parquet"),
        ] {
            let said: Vec<String> = error.chain().map(ToString::to_string).collect();
            assert!(said[0].contains("group") && said[0].contains("carbontracker/"), "{said:?}");
            assert_eq!(said[1], format!("cannot read {what}"));
        }
        // What is damaged has another mend.
        let torn = Ledger::new(dir, None).no_dataset(io::Error::other("it has 4 bytes"));
        assert!(torn.to_string().contains("ct-report compact again"), "{torn:?}");
    }
}
