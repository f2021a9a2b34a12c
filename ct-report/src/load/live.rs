//! Records of running jobs as they stand, which their first nodes keep beside the ledger.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ct_core::ledger::{LIVE_DIR, LIVE_RECORD};
use ct_core::record::Record;

use crate::diagnostic::Outcome;

/// The records of the jobs that run, or ran until their node went down; what is not there, or was
/// taken away meanwhile, is no fault.
pub(crate) fn records(ledger: &Path, outcome: &mut Outcome) -> Vec<Record> {
    let jobs = fs::read_dir(ledger.join(LIVE_DIR)).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for job in jobs {
        let path = job.path().join(LIVE_RECORD);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(record) => found.push(record),
                Err(error) => outcome.skip_part(&path, None, error.to_string()),
            },
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => outcome.skip_file(&path, &error),
        }
    }
    found
}
