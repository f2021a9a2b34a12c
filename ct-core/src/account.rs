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

/// What jobs of an account have used. With PUE, as the grams are.
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
    /// Of the jobs that have ended, by account; one that is not there has used nothing.
    pub accounts: BTreeMap<String, Used>,
    /// Of those that ran then, as far as they had told.
    #[serde(default)]
    pub running: BTreeMap<String, Used>,
}

/// A job that asks what the others of its account have used.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// When it began.
    pub start: DateTime<Utc>,
    /// What it has used itself by now.
    pub own: Used,
}

impl Used {
    fn plus(self, other: Self) -> Self {
        Self { energy_kwh: self.energy_kwh + other.energy_kwh, co2e_g: self.co2e_g + other.co2e_g }
    }

    /// The difference, nowhere below zero.
    fn minus(self, other: Self) -> Self {
        Self {
            energy_kwh: (self.energy_kwh - other.energy_kwh).max(0.0),
            co2e_g: (self.co2e_g - other.co2e_g).max(0.0),
        }
    }
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
        Self {
            v: VERSION,
            as_of,
            month,
            timezone,
            from,
            to,
            accounts: BTreeMap::new(),
            running: BTreeMap::new(),
        }
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

    /// Whether this is of the month of an instant.
    pub fn is_of(&self, at: DateTime<Utc>) -> bool {
        self.from <= at && at < self.to
    }

    /// What the other jobs of an account have used, if this is of the month of `at`; never more.
    ///
    /// A job that had begun may be among those that ran. What it had used then is not known, but no
    /// more than it has by now: so much is taken off.
    pub fn of_others(&self, account: &str, asker: Asker, at: DateTime<Utc>) -> Option<Used> {
        if !self.is_of(at) {
            return None;
        }
        let of = |sums: &BTreeMap<String, Used>| sums.get(account).copied().unwrap_or_default();
        let own = if asker.start > self.as_of { Used::default() } else { asker.own };
        Some(of(&self.accounts).plus(of(&self.running).minus(own)))
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
        let asker = Asker { start: month.0, own: Used::default() };
        let of = |account, at| read.of_others(account, asker, at);
        assert_eq!(of("physics", time("2026-10-31T23:30:00Z")), Some(used));
        assert_eq!(of("arts", at), Some(Used::default()));
        assert_eq!(of("physics", month.1), None);
        // As an earlier version wrote it.
        let earlier = text.replace(",\"running\":{}", "");
        assert_eq!(AccountUse::parse(&earlier).unwrap(), sums);
        let later = text.replace("\"v\":1", "\"v\":2");
        assert!(AccountUse::parse(&later).unwrap_err().to_string().contains("later version"));
        assert!(AccountUse::parse("{").unwrap_err().to_string().contains("ct-report budget"));
    }

    #[test]
    fn of_what_ran_a_jobs_own_part_is_taken_off_and_no_more() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let at = time("2026-11-20T10:00:00Z");
        let month = (time("2026-11-01T00:00:00Z"), time("2026-12-01T00:00:00Z"));
        let mut sums = AccountUse::new(at, "2026-11".into(), "UTC".into(), month);
        let used = |kwh: f64| Used { energy_kwh: kwh, co2e_g: 100.0 * kwh };
        sums.accounts.insert("physics".to_owned(), used(1.0));
        sums.running.insert("physics".to_owned(), used(0.5));
        let of = |start: &str, own: f64| {
            let asker = Asker { start: time(start), own: used(own) };
            sums.of_others("physics", asker, at).unwrap()
        };
        // It ran then, and had at most 0.2 of the 0.5 kWh.
        assert_eq!(of("2026-11-20T09:00:00Z", 0.2), used(1.3));
        // It has drawn more since than all of them had.
        assert_eq!(of("2026-11-20T09:00:00Z", 3.0), used(1.0));
        // It began later, and had nothing.
        assert_eq!(of("2026-11-20T10:00:01Z", 0.2), used(1.5));
    }
}
