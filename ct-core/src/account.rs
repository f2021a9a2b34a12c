//! What accounts have used this month: the small file that `ct-report budget` makes of the ledger and
//! that every node reads.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::record::timestamp;

/// Name of the file in the ledger's directory.
pub const FILE_NAME: &str = "budgets.json";
/// Version of its form, the field `v`.
const VERSION: u32 = 1;

/// What the jobs of an account have used, of those that have ended. With PUE, as the grams are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Energy in kWh.
    pub energy_kwh: f64,
    /// Footprint in gCO2e.
    pub co2e_g: f64,
}

/// The accounts' sums of a month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountUse {
    v: u32,
    /// When the ledger was read for them, UTC.
    #[serde(with = "timestamp")]
    pub as_of: DateTime<Utc>,
    /// The month, `2026-11`.
    pub month: String,
    /// The zone in which it begins and ends.
    pub timezone: String,
    /// Its first instant, UTC.
    #[serde(with = "timestamp")]
    pub from: DateTime<Utc>,
    /// The first instant after it, UTC.
    #[serde(with = "timestamp")]
    pub to: DateTime<Utc>,
    /// By account; one that is not there has used nothing.
    pub accounts: BTreeMap<String, Used>,
}

/// Why the file is not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountUseError {
    /// Not JSON of this form.
    #[error("not understood: {source}; run \"ct-report budget --write\" again")]
    Form {
        /// What the JSON reader says.
        #[from]
        source: serde_json::Error,
    },
    /// A later version.
    #[error("\"v\" is {seen}, expected {VERSION}: written by a later version")]
    Version {
        /// The version seen.
        seen: u32,
    },
}

impl AccountUse {
    /// Sums of a month, as the ledger had them at an instant.
    pub fn new(
        as_of: DateTime<Utc>,
        month: String,
        timezone: String,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        Self { v: VERSION, as_of, month, timezone, from, to, accounts: BTreeMap::new() }
    }

    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// [`AccountUseError`].
    pub fn parse(text: &str) -> Result<Self, AccountUseError> {
        let found: Self = serde_json::from_str(text)?;
        if found.v != VERSION {
            return Err(AccountUseError::Version { seen: found.v });
        }
        Ok(found)
    }

    /// What an account has used, if this is of the month of `at`.
    pub fn of(&self, account: &str, at: DateTime<Utc>) -> Option<Used> {
        let is_this_month = self.from <= at && at < self.to;
        is_this_month.then(|| self.accounts.get(account).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_count_in_their_month_alone() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let month = (time("2026-10-31T23:00:00Z"), time("2026-11-30T23:00:00Z"));
        let at = time("2026-11-20T10:00:00Z");
        let mut sums = AccountUse::new(at, "2026-11".into(), "Europe/Berlin".into(), month);
        let used = Used { energy_kwh: 1.5, co2e_g: 200.0 };
        sums.accounts.insert("physics".to_owned(), used);
        let text = serde_json::to_string(&sums).unwrap();
        let read = AccountUse::parse(&text).unwrap();
        assert_eq!(read, sums);
        assert_eq!(read.of("physics", time("2026-10-31T23:30:00Z")), Some(used));
        assert_eq!(read.of("arts", at), Some(Used::default()));
        assert_eq!(read.of("physics", month.1), None);
        let later = text.replace("\"v\":1", "\"v\":2");
        assert!(AccountUse::parse(&later).unwrap_err().to_string().contains("later version"));
        assert!(AccountUse::parse("{").unwrap_err().to_string().contains("ct-report budget"));
    }
}
