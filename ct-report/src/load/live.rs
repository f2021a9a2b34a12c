//! Records of running jobs as they stand, which their first nodes keep beside the ledger.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ct_core::energy::ByComponent;
use ct_core::ledger::{LIVE_DIR, LIVE_RECORD};
use ct_core::record::Record;
use ct_core::units::Microjoules;
use serde::Deserialize;

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

/// What another node has told of a job.
#[derive(Deserialize)]
struct NodePart {
    restart: u32,
    energy_j: ByComponent<Microjoules>,
}

/// What the other nodes of a running job have drawn, as each has told last.
pub(crate) fn drawn_by_others(ledger: &Path, record: &Record) -> u128 {
    let dir = ledger.join(LIVE_DIR).join(record.job_id.to_string());
    let own = format!("{}.json", record.node);
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    // Not what is being written, nor what was when its writer was killed.
    let is_node = |name: &std::ffi::OsStr| {
        name.as_encoded_bytes().ends_with(b".json") && name != LIVE_RECORD && name != own.as_str()
    };
    let of_others = files.filter(|file| is_node(&file.file_name()));
    // A part that is being replaced, or is gone, is missed once.
    let parts = of_others.filter_map(|file| {
        let part: NodePart = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
        (part.restart == record.restart).then(|| u128::from(part.energy_j.total().as_u64()))
    });
    parts.sum()
}
