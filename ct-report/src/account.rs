//! What accounts have used this month, by jobs that have ended and by those that run: for their
//! budgets.
//!
//! Records come in, [`AccountUse`] goes out, which every node reads. Energies are with PUE, as the
//! grams and the numbers of `max_energy` are.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use chrono::{DateTime, Utc};
use ct_core::account::{AccountUse, Used};
use ct_core::energy::Component;
use ct_core::record::Brief;
use ct_core::units::Joules;

use crate::aggregate::slice::energy_by_hour;
use crate::query::time::{Edge, Period, Zone, parse_time};

/// A month of a zone.
#[derive(Clone, Debug)]
pub(crate) struct Month {
    name: String,
    zone: String,
    pub(crate) from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Month {
    /// The month that `now` lies in.
    ///
    /// # Errors
    ///
    /// A zone that does not exist.
    pub(crate) fn of(zone: &str, now: DateTime<Utc>) -> Result<Self> {
        let named: Zone =
            zone.parse().map_err(|e: String| anyhow!(e)).context("budget.timezone")?;
        let edge = |edge| parse_time("thismonth", edge, named, now).map_err(|error| anyhow!(error));
        Ok(Self {
            name: named.label(Period::Month, now),
            zone: zone.to_owned(),
            from: edge(Edge::Start)?,
            to: edge(Edge::End)?,
        })
    }

    /// The sums of this month.
    pub(crate) fn with(self, as_of: DateTime<Utc>, ended: Sums, running: Sums) -> AccountUse {
        let mut all = AccountUse::new(as_of, self.name, self.zone, (self.from, self.to));
        (all.accounts, all.running) = (ended.0, running.0);
        all
    }
}

/// Sums by account.
#[derive(Debug, Default)]
pub(crate) struct Sums(BTreeMap<String, Used>);

impl Sums {
    /// Adds what a job drew on a node in the hours that begin in the month; whether it did.
    pub(crate) fn add(&mut self, record: &Brief<'_>, month: &Month) -> bool {
        self.add_with(record, 0, month)
    }

    /// The same with what its other nodes have drawn so far; of them it is not known in which hours.
    pub(crate) fn add_with(&mut self, record: &Brief<'_>, others_uj: u128, month: &Month) -> bool {
        let Some(account) = &record.account else { return false };
        let microjoules = |is_wanted: &dyn Fn(DateTime<Utc>) -> bool| {
            let hours = energy_by_hour(record).filter(|(hour, _)| is_wanted(*hour));
            let parts = hours.flat_map(|(_, e)| Component::ALL.map(|c| e.get(c).as_u64()));
            parts.map(u128::from).sum::<u128>()
        };
        let all = microjoules(&|_| true);
        let own = microjoules(&|hour| month.from <= hour && hour < month.to);
        if own == 0 {
            return false;
        }
        let share = own as f64 / all as f64;
        let kwh = |uj: f64| Joules::new(uj * 1e-6).to_kilowatt_hours().as_kwh() * record.pue;
        let others = kwh(others_uj as f64 * share);
        let used = Used {
            energy_kwh: kwh(own as f64) + others,
            co2e_g: record.co2e_g * share + others * record.intensity.g_per_kwh,
        };
        self.add_used(account.as_ref().to_owned(), used);
        true
    }

    fn add_used(&mut self, account: String, used: Used) {
        let sum = self.0.entry(account).or_default();
        sum.energy_kwh += used.energy_kwh;
        sum.co2e_g += used.co2e_g;
    }

    /// Adds sums of other records.
    pub(crate) fn append(&mut self, other: Self) {
        other.0.into_iter().for_each(|(account, used)| self.add_used(account, used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::record;

    #[test]
    fn a_job_counts_in_the_hours_of_the_sites_own_month_with_pue() {
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        let month = Month::of("Europe/Berlin", now).unwrap();
        assert_eq!(month.from.to_rfc3339(), "2026-10-31T23:00:00+00:00");
        let hours = |line: &str| serde_json::from_str(line).unwrap();
        let mut job = record("n1");
        job.account = Some("physics".to_owned());
        // 3.6 MJ before midnight in Berlin and 7.2 MJ after it: 1 and 2 kWh.
        job.energy_by_hour = hours(
            r#"[["2026-10-31T22:00:00Z",3600000.000000,0.000000,0.000000,0.000000],
                ["2026-10-31T23:00:00Z",7200000.000000,0.000000,0.000000,0.000000]]"#,
        );
        (job.pue, job.co2e_g) = (1.5, 900.0);
        let mut sums = Sums::default();
        assert!(sums.add(&(&job).into(), &month));
        let mut more = Sums::default();
        more.add(&(&job).into(), &month);
        sums.append(more);
        job.account = None;
        assert!(!sums.add(&(&job).into(), &month), "of no account");
        // Of a job that runs, with another node that has drawn as much: a third of it before.
        let mut running = Sums::default();
        job.account = Some("physics".to_owned());
        job.intensity.g_per_kwh = 100.0;
        assert!(running.add_with(&(&job).into(), 10_800_000_000_000, &month));
        let used = month.with(now, sums, running);
        // 3 kWh and 600 g, and another 3 kWh at 100 g/kWh.
        let runs = used.running["physics"];
        assert!((runs.energy_kwh - 6.0).abs() < 1e-9, "{runs:?}");
        assert!((runs.co2e_g - 900.0).abs() < 1e-9, "{runs:?}");
        let used = used.accounts["physics"];
        // Twice 2 kWh · 1.5, and two thirds of 900 g.
        assert!((used.energy_kwh - 6.0).abs() < 1e-9, "{used:?}");
        assert!((used.co2e_g - 1200.0).abs() < 1e-9, "{used:?}");
        assert!(format!("{:#}", Month::of("Mars", now).unwrap_err()).contains("Europe/Berlin"));
    }
}
