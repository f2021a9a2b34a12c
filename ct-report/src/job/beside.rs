//! What is known of a run beside its records.

use std::path::PathBuf;

use super::share::NodeShare;

/// What files other than records say of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Whose the energy of its nodes was.
    pub(crate) share: NodeShare,
    /// Its log files, where log directories were named.
    pub(crate) logs: Vec<PathBuf>,
}

impl Beside {
    /// The share, where lines of nodes tell it.
    pub(crate) fn known_share(&self) -> Option<&NodeShare> {
        Some(&self.share).filter(|share| share.meter_uj > 0)
    }

    /// The names of the log files.
    pub(crate) fn log_names(&self) -> Vec<String> {
        self.logs.iter().map(|path| path.display().to_string()).collect()
    }
}
