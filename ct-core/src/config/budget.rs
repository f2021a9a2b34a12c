//! `[budget]`: what accounts may draw in a month.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::option::OnBudget;

/// The name that stands for every account without a budget of its own.
pub const ANY_ACCOUNT: &str = "*";

/// `[budget]`; without an account nothing is watched.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    /// Time zone in which months begin.
    pub timezone: String,
    /// Seconds between two looks whether `ct-report budget` has written new sums.
    pub check_s: f64,
    /// The accounts, by name.
    pub account: BTreeMap<String, AccountBudget>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { timezone: "UTC".to_owned(), check_s: 60.0, account: BTreeMap::new() }
    }
}

/// `[budget.account.NAME]`: energy and footprint of a month, with PUE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountBudget {
    /// Energy in kWh.
    pub energy_kwh: Option<f64>,
    /// Footprint in gCO2e.
    pub co2_g: Option<f64>,
    /// What happens to a job that passes it.
    pub on_budget: OnBudget,
}

impl Budgets {
    /// The budget of an account, its own or that of all others.
    pub fn of(&self, account: &str) -> Option<&AccountBudget> {
        self.account.get(account).or_else(|| self.account.get(ANY_ACCOUNT))
    }

    /// Whether any account has one.
    pub fn is_set(&self) -> bool {
        !self.account.is_empty()
    }

    /// The first value that is not allowed: its key, the value, what is expected.
    pub(super) fn check(&self) -> Result<(), (String, String, String)> {
        let bad = |key: String, value: String, expected: &str| {
            Err((format!("budget.{key}"), value, expected.to_owned()))
        };
        if !(0.1..=3600.0).contains(&self.check_s) {
            let expected = "a number of seconds from 0.1 to 3600";
            return bad("check_s".to_owned(), self.check_s.to_string(), expected);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
        if self.timezone.is_empty() || !self.timezone.chars().all(is_word) {
            let expected = "UTC, local or a name such as \"Europe/Berlin\"";
            return bad("timezone".to_owned(), format!("{:?}", self.timezone), expected);
        }
        for (name, budget) in &self.account {
            for (key, value) in [("energy_kwh", budget.energy_kwh), ("co2_g", budget.co2_g)] {
                if let Some(v) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
                    let key = format!("account.{name:?}.{key}");
                    return bad(key, v.to_string(), "a number above 0");
                }
            }
            if budget.energy_kwh.is_none() && budget.co2_g.is_none() {
                let expected = "energy_kwh, co2_g or both in it";
                return bad(format!("account.{name:?}"), "empty".to_owned(), expected);
            }
        }
        Ok(())
    }
}
