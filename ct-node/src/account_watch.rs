//! Watches the file of what accounts have used this month, which `ct-report budget` writes.
//!
//! One small file for all nodes, read where it has changed: no node reads the ledger.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ct_core::account::{AccountUse, FILE_NAME};
use ct_core::config::Config;

use crate::file_watch::{FileWatch, Watched};

/// The file, for as long as this lives.
pub struct AccountWatch(FileWatch<AccountUse>);

impl AccountWatch {
    /// Starts watching; `None` where no account has a budget.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(config: &Config) -> io::Result<Option<Self>> {
        if !config.budget.is_set() {
            return Ok(None);
        }
        Self::watch(&config.ledger.dir, config.budget.check_s).map(Some)
    }

    fn watch(dir: &Path, check_s: f64) -> io::Result<Self> {
        let watched = Watched {
            thread: "accounts",
            name: "",
            path: dir.join(FILE_NAME),
            pause: Duration::from_secs_f64(check_s),
            parse: Box::new(|text| AccountUse::parse(text).map_err(|e| e.to_string())),
            consequence: "a job alone is held against the budget of its account",
        };
        FileWatch::start(watched).map(Self)
    }

    /// The sums, or why they are not known; those that were read last where the file's system hangs.
    ///
    /// # Errors
    ///
    /// The reason, for records.
    pub fn latest(&self) -> Result<Arc<AccountUse>, String> {
        let seen = self.0.latest();
        seen.value.ok_or_else(|| seen.problem.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    fn wait_until<T>(what: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = what() {
                return found;
            }
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn sums_are_taken_up_as_they_are_written_and_missed_where_they_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let watch = AccountWatch::watch(dir.path(), 0.02).unwrap();
        assert!(watch.latest().unwrap_err().contains("budgets.json: No such file"));
        let at = "2026-11-20T10:00:00Z".parse().unwrap();
        let sums = AccountUse::new(at, "2026-11".into(), "UTC".into(), (at, at));
        let text = serde_json::to_string(&sums).unwrap();
        fs::write(dir.path().join("new"), &text).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(*wait_until(|| watch.latest().ok()), sums);
        fs::write(dir.path().join(FILE_NAME), "{}").unwrap();
        let problem = wait_until(|| watch.latest().err());
        assert!(problem.contains("run \"ct-report budget --write\" again"), "{problem}");
        assert!(AccountWatch::start(&Config::default()).unwrap().is_none());
    }
}
