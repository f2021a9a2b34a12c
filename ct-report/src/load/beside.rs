//! The logs that lie beside the record of a run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ct_core::record::Record;

use crate::diagnostic::Outcome;
use crate::job::Run;
use crate::load::jobs::{Sources, for_each_log, identity};
use crate::load::logs;

/// What carbontracker names its files by, behind the stem.
const MARK: &str = "_carbontracker";
/// The rest of the names of one run's files, in the order in which they are read.
const ENDS: [&str; 4] = [".log", "_output.log", "_err.log", ".json"];

/// The files of each run that lie in the log directories.
///
/// # Errors
///
/// A directory that cannot be read.
pub(crate) fn log_files(sources: &Sources, runs: &[Run]) -> Result<Vec<Vec<PathBuf>>> {
    // What cannot be read was noted when the records were looked for.
    let mut outcome = Outcome::default();
    let sets = logs::find(&sources.logs, sources.is_recursive, &mut outcome)?;
    let mut files = vec![Vec::new(); runs.len()];
    for_each_log(&sets, &mut outcome, &mut |record, place, _| {
        let own = identity(record);
        let is_own = |other: &Record| identity(&other.into()) == own;
        for (run, files) in runs.iter().zip(&mut files) {
            if run.records().iter().any(is_own) {
                files.extend(siblings(place.path));
            }
        }
    });
    Ok(files)
}

/// The files that share the stem of a record's, compressed or not.
fn siblings(record: &Path) -> Vec<PathBuf> {
    let name = record.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((stem, _)) = name.rsplit_once(MARK) else { return Vec::new() };
    let file = |end: &&str| {
        let plain = record.with_file_name(format!("{stem}{MARK}{end}"));
        let mut gzip = OsString::from(&plain);
        gzip.push(".gz");
        [plain, gzip.into()].into_iter().find(|path| path.exists())
    };
    ENDS.iter().filter_map(file).collect()
}
