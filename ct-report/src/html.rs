//! What the page of a site says: sums by day, user and account, and how sure they are.
//!
//! Records come in one by one, from any thread; [`Site`] is what they come to. Knows no format.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use ct_core::energy::Component;
use ct_core::record::Brief;

use crate::aggregate::slice::energy_by_hour;
use crate::aggregate::{Key, Report, Sums};
use crate::query::Query;

/// More days than this are shown by week, more weeks by month.
const BARS_MAX: usize = 62;

/// What was used in a day, by component in the order of [`Component::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Day {
    /// Energy in microjoules.
    pub(crate) energy_uj: [u128; 4],
    /// Operational footprint in gCO2e.
    pub(crate) co2e_g: [f64; 4],
}

impl Day {
    fn add(&mut self, other: &Self) {
        for at in 0..4 {
            self.energy_uj[at] += other.energy_uj[at];
            self.co2e_g[at] += other.co2e_g[at];
        }
    }
}

/// What a page is made of.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// Everything, as one group.
    all: Report,
    /// By cluster, user, account, partition and end.
    pub(crate) clusters: Report,
    pub(crate) users: Report,
    pub(crate) accounts: Report,
    pub(crate) partitions: Report,
    pub(crate) ends: Report,
    days: BTreeMap<NaiveDate, Day>,
    /// Energy in microjoules by component and how it was found.
    pub(crate) methods: BTreeMap<(String, String), u128>,
    /// Energy in microjoules by what the grams were reckoned with: zone, source, g/kWh, PUE.
    pub(crate) intensities: BTreeMap<String, u128>,
    /// Energy in microjoules by the policy it was split by.
    pub(crate) policies: BTreeMap<String, u128>,
    /// How many records have a warning.
    pub(crate) warnings: BTreeMap<String, usize>,
}

impl Site {
    /// Adds a record, as far as the query asks for it; says whether it did.
    ///
    /// # Errors
    ///
    /// A record that cannot be split by time.
    pub(crate) fn add(&mut self, record: &Brief<'_>, query: &Query) -> Result<bool, String> {
        if !self.all.add(record, &[], query, None)? {
            return Ok(false);
        }
        let groups = [
            (&mut self.clusters, Key::Cluster),
            (&mut self.users, Key::User),
            (&mut self.accounts, Key::Account),
            (&mut self.partitions, Key::Partition),
            (&mut self.ends, Key::EndReason),
        ];
        for (report, key) in groups {
            report.add(record, &[key], query, None)?;
        }
        self.add_hours(record, query);
        for warning in &record.warnings {
            *self.warnings.entry(warning.as_ref().to_owned()).or_default() += 1;
        }
        Ok(true)
    }

    fn add_hours(&mut self, record: &Brief<'_>, query: &Query) {
        let all = record.energy_j.total().as_u64();
        let mut used = Day::default();
        for (hour, energy) in energy_by_hour(record) {
            if !query.covers(hour.max(record.start)) {
                continue;
            }
            let mut part = Day::default();
            for (at, component) in Component::ALL.into_iter().enumerate() {
                let uj = energy.get(component).as_u64();
                part.energy_uj[at] = uj.into();
                part.co2e_g[at] = record.co2e_g * uj as f64 / all.max(1) as f64;
            }
            self.days.entry(query.zone.wall(hour).date()).or_default().add(&part);
            used.add(&part);
        }
        self.add_sources(record, &used);
    }

    fn add_sources(&mut self, record: &Brief<'_>, used: &Day) {
        for (component, uj) in Component::ALL.into_iter().zip(used.energy_uj) {
            let name = component.as_str();
            if let Some(method) = record.method.get(component).as_deref().filter(|_| uj > 0) {
                *self.methods.entry((name.to_owned(), method.to_owned())).or_default() += uj;
            }
        }
        let (uj, used) = (used.energy_uj.iter().sum::<u128>(), &record.intensity);
        let intensity =
            format!("{}: {} g/kWh, {}, PUE {}", used.zone, used.g_per_kwh, used.source, record.pue);
        *self.intensities.entry(intensity).or_default() += uj;
        *self.policies.entry(record.attribution.as_ref().to_owned()).or_default() += uj;
    }

    /// Adds what came of other records.
    pub(crate) fn append(&mut self, other: Self) {
        self.all.append(other.all);
        self.clusters.append(other.clusters);
        self.users.append(other.users);
        self.accounts.append(other.accounts);
        self.partitions.append(other.partitions);
        self.ends.append(other.ends);
        for (day, used) in &other.days {
            self.days.entry(*day).or_default().add(used);
        }
        add_counts(&mut self.methods, other.methods);
        add_counts(&mut self.intensities, other.intensities);
        add_counts(&mut self.policies, other.policies);
        for (warning, n) in other.warnings {
            *self.warnings.entry(warning).or_default() += n;
        }
    }

    /// Everything.
    pub(crate) fn all(&self) -> Option<&Sums> {
        self.all.groups().next().map(|(_, sums)| sums)
    }

    /// The first and the last day with energy.
    pub(crate) fn span(&self) -> Option<(NaiveDate, NaiveDate)> {
        let first = self.days.first_key_value()?;
        Some((*first.0, *self.days.last_key_value()?.0))
    }

    /// What was used by day, by week or by month, whichever has not too many bars; those between
    /// without any are there, too. The first is what they are.
    pub(crate) fn periods(&self) -> (&'static str, Vec<(String, Day)>) {
        let Some((first, last)) = self.span() else { return ("day", Vec::new()) };
        let n_days = usize::try_from((last - first).num_days()).unwrap_or(0) + 1;
        let (what, format) = match n_days {
            n if n <= BARS_MAX => ("day", "%Y-%m-%d"),
            n if n <= BARS_MAX * 7 => ("week", "%G-W%V"),
            _ => ("month", "%Y-%m"),
        };
        let mut periods: Vec<(String, Day)> = Vec::new();
        for n in 0..n_days as u64 {
            let Some(date) = first.checked_add_days(Days::new(n)) else { break };
            let label = date.format(format).to_string();
            if periods.last().is_none_or(|(last, _)| *last != label) {
                periods.push((label, Day::default()));
            }
            if let (Some(day), Some((_, sum))) = (self.days.get(&date), periods.last_mut()) {
                sum.add(day);
            }
        }
        (what, periods)
    }
}

fn add_counts<K: Ord>(all: &mut BTreeMap<K, u128>, other: BTreeMap<K, u128>) {
    for (key, uj) in other {
        *all.entry(key).or_default() += uj;
    }
}

/// Groups with the most energy first, and how many more there are with what energy.
pub(crate) fn top(report: &Report, n: usize) -> (Vec<(String, &Sums)>, usize, u128) {
    let name = |group: &[Option<String>]| {
        group.first().cloned().flatten().unwrap_or_else(|| "(none)".to_owned())
    };
    let mut all: Vec<_> = report.groups().map(|(group, sums)| (name(group), sums)).collect();
    all.sort_by(|a, b| b.1.energy_uj().cmp(&a.1.energy_uj()).then_with(|| a.0.cmp(&b.0)));
    let rest = all.split_off(n.min(all.len()));
    (all, rest.len(), rest.iter().map(|(_, sums)| sums.energy_uj()).sum())
}

#[cfg(test)]
mod tests {
    use ct_core::record::Record;

    use super::*;
    use crate::job::tests::record;

    fn site(records: &[Record]) -> Site {
        let mut site = Site::default();
        for record in records {
            site.add(&record.into(), &Query::default()).unwrap();
        }
        site
    }

    #[test]
    fn days_add_up_to_everything() {
        let other = Record { user: "bob".into(), ..record("n2") };
        let mut site = site(&[record("n1")]);
        site.append(self::site(&[other]));
        let (what, days) = site.periods();
        assert_eq!((what, days.len()), ("day", 2));
        let uj: u128 = days.iter().flat_map(|(_, day)| day.energy_uj).sum();
        assert_eq!(uj, site.all().unwrap().energy_uj());
        let g: f64 = days.iter().flat_map(|(_, day)| day.co2e_g).sum();
        assert!((g - 960.0).abs() < 1e-9, "{g}");
        // 1.2 MJ of each job before midnight.
        assert_eq!((&*days[0].0, days[0].1.energy_uj[0]), ("2026-09-30", 2_400_000_000_000));
        assert_eq!(site.methods[&("cpu".to_owned(), "rapl".to_owned())], uj);
        let (users, n_rest, rest) = top(&site.users, 1);
        assert_eq!((&*users[0].0, n_rest, rest), ("bob", 1, 3_600_000_000_000));
    }

    #[test]
    fn many_days_are_weeks_and_many_weeks_months() {
        let later = |days: i64| {
            let by = chrono::TimeDelta::days(days);
            let mut record = record("n1");
            (record.start, record.end) = (record.start + by, record.end + by);
            record.energy_by_hour.iter_mut().for_each(|hour| hour.0 += by);
            record
        };
        let shape = |days| {
            let site = site(&[record("n1"), later(days)]);
            let (what, periods) = site.periods();
            (what, periods.len(), periods[1].1.energy_uj[0] > 0)
        };
        assert_eq!(shape(60), ("day", 62, true));
        // From Wednesday 2026-09-30 to Thursday 2026-12-10: weeks 40 to 50.
        assert_eq!(shape(70), ("week", 11, false));
        assert_eq!(shape(730), ("month", 25, true));
    }
}
