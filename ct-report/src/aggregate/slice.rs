//! Splits a record by hour, so that a job over the end of a month counts in both.

use chrono::{DateTime, TimeDelta, Utc};
use ct_core::energy::{ByComponent, Component};
use ct_core::record::Brief;
use ct_core::units::Microjoules;

/// Longest job that is split: ten years of hours. A longer one is a clock gone wrong.
const HOURS_MAX: i64 = 10 * 366 * 24;

/// A part of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    /// When it begins.
    pub(super) at: DateTime<Utc>,
    /// The hour of UTC it lies in, to which its energy is booked.
    pub(super) hour: DateTime<Utc>,
    /// Its energy.
    pub(super) energy: ByComponent<Microjoules>,
    /// Of it, the idle part, in microjoules.
    pub(super) idle_uj: u128,
    /// Energy of GPUs that were held but not used, in microjoules.
    pub(super) gpu_unused_uj: u128,
    /// Its share of the record's time, 0 to 1.
    pub(super) time_share: f64,
}

impl Slice {
    fn empty(at: DateTime<Utc>, time_share: f64) -> Self {
        let energy = ByComponent::default();
        Self { at, hour: hour_of(at), energy, idle_uj: 0, gpu_unused_uj: 0, time_share }
    }
}

/// The record as one slice.
pub(super) fn whole(record: &Brief<'_>) -> Slice {
    Slice {
        energy: record.energy_j,
        idle_uj: Component::ALL.into_iter().map(|c| idle_uj(record, c)).sum(),
        gpu_unused_uj: gpu_unused_uj(record),
        ..Slice::empty(record.start, 1.0)
    }
}

/// Puts the record by hour of UTC into `slices`, which is emptied before.
///
/// Its idle part, which the record has only as a whole, goes with the energy of each component.
///
/// # Errors
///
/// A record that is longer than ten years. That its hours add up to its energy is the reader's to
/// see.
pub(super) fn by_hour(record: &Brief<'_>, slices: &mut Vec<Slice>) -> Result<(), String> {
    let n_hours = (record.end - record.start).num_hours();
    if n_hours > HOURS_MAX {
        return Err(format!("job takes {n_hours} hours, expected {HOURS_MAX} at most"));
    }
    time_by_hour(record, slices);
    let is_stray = |(hour, energy): &_| !book(slices, *hour, energy);
    let strays: Vec<_> = energy_by_hour(record).filter(is_stray).collect();
    book_strays(slices, strays);
    for component in Component::ALL {
        split(idle_uj(record, component), slices, component, |slice| &mut slice.idle_uj);
    }
    split(gpu_unused_uj(record), slices, Component::Gpu, |slice| &mut slice.gpu_unused_uj);
    Ok(())
}

/// Adds energy to the slice of an hour, among slices in the order of their hours; whether there is one.
fn book(slices: &mut [Slice], hour: DateTime<Utc>, energy: &ByComponent<Microjoules>) -> bool {
    let from_first = slices.first().map(|first| (hour - first.hour).num_hours());
    let likely = from_first.and_then(|n| usize::try_from(n).ok());
    let is_it = |at: &usize| slices.get(*at).is_some_and(|slice| slice.hour == hour);
    let search = || slices.binary_search_by_key(&hour, |slice| slice.hour).ok();
    let Some(at) = likely.filter(is_it).or_else(search) else { return false };
    for component in Component::ALL {
        let sum = slices[at].energy.get(component).as_u64();
        let sum = sum.saturating_add(energy.get(component).as_u64());
        *slices[at].energy.get_mut(component) = Microjoules::new(sum);
    }
    true
}

/// Adds energy of hours in which the job did not run, as a clock was set. Their slices are made all at
/// once: somebody may have written a record with a hundred thousand.
fn book_strays(slices: &mut Vec<Slice>, strays: Vec<(DateTime<Utc>, ByComponent<Microjoules>)>) {
    if strays.is_empty() {
        return;
    }
    slices.extend(strays.iter().map(|(hour, _)| Slice::empty(*hour, 0.0)));
    slices.sort_by_key(|slice| slice.hour);
    slices.dedup_by_key(|slice| slice.hour);
    for (hour, energy) in strays {
        book(slices, hour, &energy);
    }
}

/// Adds the parts of `total`, in proportion to the energy of a component.
fn split(
    total: u128,
    slices: &mut [Slice],
    component: Component,
    of: impl Fn(&mut Slice) -> &mut u128,
) {
    if total > 0 {
        let weight = |slice: &Slice| u128::from(slice.energy.get(component).as_u64());
        let mut parts = Proportion::new(total, slices.iter().map(weight).sum());
        slices.iter_mut().for_each(|slice| *of(slice) += parts.next(weight(slice)));
    }
}

/// The energy of a record by the hour of UTC it is booked to.
///
/// A record without energy by hour is charged to the hour it ends in.
pub(crate) fn energy_by_hour<'a>(
    record: &'a Brief<'_>,
) -> impl Iterator<Item = (DateTime<Utc>, ByComponent<Microjoules>)> + use<'a> {
    let last = (record.end - TimeDelta::milliseconds(1)).max(record.start);
    let whole = record.energy_by_hour.is_empty().then(|| (hour_of(last), record.energy_j));
    let hours = record.energy_by_hour.iter().map(|hour| (hour_of(hour.0), hour.energy()));
    whole.into_iter().chain(hours)
}

/// The hour of UTC an instant lies in.
pub(crate) fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = at.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(3600), 0).unwrap_or(at)
}

/// The idle part of a component, which is never more than its energy.
fn idle_uj(record: &Brief<'_>, component: Component) -> u128 {
    u128::from((*record.idle_j.get(component)).min(*record.energy_j.get(component)).as_u64())
}

fn gpu_unused_uj(record: &Brief<'_>) -> u128 {
    u128::from(record.gpu_unused_j.min(record.energy_j.gpu).as_u64())
}

/// Splits `total` in proportion to `weights`, exactly: each part is rounded so that the parts up
/// to it are the nearest whole number below, and none is more than its weight where the total is
/// not more than theirs.
pub(crate) fn in_proportion(total: u128, weights: &[u128]) -> Vec<u128> {
    let mut parts = Proportion::new(total, weights.iter().sum());
    weights.iter().map(|weight| parts.next(*weight)).collect()
}

/// A total that is split, weight by weight.
struct Proportion {
    total: u128,
    sum: u128,
    seen: u128,
    given: u128,
}

impl Proportion {
    fn new(total: u128, sum: u128) -> Self {
        Self { total, sum, seen: 0, given: 0 }
    }

    /// The part of the next weight.
    fn next(&mut self, weight: u128) -> u128 {
        self.seen += weight;
        // Both factors are sums of 64-bit numbers that do not exceed one.
        let due = self.total.checked_mul(self.seen).and_then(|all| all.checked_div(self.sum));
        let part = due.unwrap_or_default().saturating_sub(self.given);
        self.given += part;
        part
    }
}

/// Slices without energy: the hours from start to end, each with its share of the time.
fn time_by_hour(record: &Brief<'_>, slices: &mut Vec<Slice>) {
    let total_ms = (record.end - record.start).num_milliseconds();
    slices.clear();
    let mut at = record.start;
    while slices.is_empty() || at < record.end {
        let hour = hour_of(at);
        let next = (hour + TimeDelta::hours(1)).min(record.end);
        let ms = (next - at).num_milliseconds();
        let time_share = if total_ms > 0 { ms as f64 / total_ms as f64 } else { 1.0 };
        slices.push(Slice::empty(at, time_share));
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use ct_core::energy::HourEnergy;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_in_proportion_are_exact_and_no_more_than_their_weights() {
        assert_eq!(in_proportion(10, &[1, 1, 1]), [3, 3, 4]);
        assert_eq!(in_proportion(3, &[1, 1, 1]), [1, 1, 1]);
        assert_eq!(in_proportion(5, &[0, 9, 0]), [0, 5, 0]);
        assert_eq!(in_proportion(0, &[0, 0]), [0, 0]);
        let most = u128::from(u64::MAX);
        assert_eq!(in_proportion(most, &[most / 2, most - most / 2]), [most / 2, most - most / 2]);
    }

    #[test]
    fn energy_of_hours_outside_of_the_job_is_booked_to_them() {
        let mut record = crate::job::tests::record("n1");
        let first = hour_of(record.start);
        let hour = |n: i64, uj| {
            let zero = Microjoules::new(0);
            HourEnergy(first - TimeDelta::hours(n), Microjoules::new(uj), zero, zero, zero)
        };
        // Two of one hour, in no order, and many.
        record.energy_by_hour = vec![hour(1, 3), hour(5, 2), hour(0, 7), hour(1, 4)];
        record.energy_by_hour.extend((6..100_000).map(|n| hour(n, 1)));
        let mut slices = Vec::new();
        by_hour(&Brief::from(&record), &mut slices).unwrap();
        assert!(slices.is_sorted_by(|a, b| a.hour < b.hour));
        let of = |n: i64| slices.iter().find(|s| s.hour == first - TimeDelta::hours(n)).unwrap();
        assert_eq!([0, 1, 5, 99_999].map(|n| of(n).energy.cpu.as_u64()), [7, 7, 2, 1]);
        assert_eq!(of(1).time_share, 0.0);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_total(
            weights in proptest::collection::vec(0_u64..1 << 40, 1..50),
            of_a_million in 0_u128..=1_000_000,
        ) {
            let weights: Vec<u128> = weights.into_iter().map(u128::from).collect();
            let total = weights.iter().sum::<u128>() * of_a_million / 1_000_000;
            let parts = in_proportion(total, &weights);
            prop_assert_eq!(parts.iter().sum::<u128>(), total);
            prop_assert!(parts.iter().zip(&weights).all(|(part, weight)| part <= weight));
        }
    }
}
