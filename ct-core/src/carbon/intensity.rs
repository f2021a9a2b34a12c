//! Carbon intensity of one zone as a time series, looked up by hour. Values only.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::units::CarbonIntensity;

/// Shortest time a value may hold for, and the grain in which an hour is put together.
const SLOT_S: i64 = 300;
/// Longest time a value holds for.
const HOUR_S: i64 = 3600;

/// One value: from an instant on, in a zone, by a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// From when on it holds, until the next one of its kind, an hour at most.
    pub time: DateTime<Utc>,
    /// Zone it holds for.
    pub zone: String,
    /// The value.
    pub intensity: CarbonIntensity,
    /// Who says so; the last word is `forecast` where it is one.
    pub source: String,
}

impl Point {
    /// Whether it was said beforehand: the last word of its source is `forecast`.
    pub fn is_forecast(&self) -> bool {
        is_forecast(&self.source)
    }
}

fn is_forecast(source: &str) -> bool {
    source.rsplit([' ', ':', '/']).next().is_some_and(|word| word.eq_ignore_ascii_case("forecast"))
}

/// The value of one hour.
#[derive(Clone, Debug, PartialEq)]
pub struct HourIntensity {
    /// Mean over the part of the hour that is known, in gCO2e/kWh.
    pub intensity: CarbonIntensity,
    /// Source of most of it.
    pub source: String,
    /// Share of the hour that is known, above 0 to 1.
    pub covered: f64,
    /// Whether some of it is a forecast.
    pub is_forecast: bool,
}

/// A zone's intensity by hour of UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntensitySeries {
    zone: String,
    hours: BTreeMap<DateTime<Utc>, HourIntensity>,
}

impl IntensitySeries {
    /// The hours of a zone, from points of any zones, in any order, 5 minutes to an hour apart.
    ///
    /// What was measured comes before what was forecast, five minutes by five minutes; of two
    /// points of one kind and instant the later in the list counts.
    pub fn new(zone: &str, points: &[Point]) -> Self {
        let mut slots = BTreeMap::new();
        for is_forecast in [true, false] {
            let of_kind =
                points.iter().filter(|p| p.zone == zone && p.is_forecast() == is_forecast);
            fill(&mut slots, &of_kind.map(|p| (p.time.timestamp(), p)).collect());
        }
        let mut hours: BTreeMap<i64, Vec<&Point>> = BTreeMap::new();
        for (slot, point) in &slots {
            hours.entry(slot * SLOT_S / HOUR_S).or_default().push(*point);
        }
        let hours = hours.into_iter().filter_map(|(hour, points)| {
            Some((DateTime::from_timestamp(hour * HOUR_S, 0)?, mean(&points)?))
        });
        Self { zone: zone.to_owned(), hours: hours.collect() }
    }

    /// The zone.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The value of the hour in which an instant lies.
    pub fn at(&self, at: DateTime<Utc>) -> Option<&HourIntensity> {
        self.hours.get(&hour_of(at))
    }

    /// The hours that have a value, oldest first.
    pub fn hours(&self) -> impl DoubleEndedIterator<Item = (DateTime<Utc>, &HourIntensity)> {
        self.hours.iter().map(|(hour, value)| (*hour, value))
    }

    /// Whether no hour has a value.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }
}

/// The start of the hour in which an instant lies.
pub fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

/// Lets each point hold for its slots; it overwrites what stands there.
///
/// A point holds for the shorter of its distances to the one before and the one after: a hole in a
/// series of five minutes stays a hole, and a lone point is one of an hour.
fn fill<'a>(slots: &mut BTreeMap<i64, &'a Point>, points: &BTreeMap<i64, &'a Point>) {
    let times: Vec<i64> = points.keys().copied().collect();
    for (index, (from, point)) in points.iter().enumerate() {
        let before = index.checked_sub(1).map(|i| from - times[i]);
        let after = times.get(index + 1).map(|next| next - from);
        let width = before.into_iter().chain(after).min().unwrap_or(HOUR_S).min(HOUR_S);
        let first = (from + SLOT_S - 1).div_euclid(SLOT_S);
        let end = (from + width.max(SLOT_S)).div_euclid(SLOT_S).max(first + 1);
        for slot in first..end {
            slots.insert(slot, point);
        }
    }
}

fn mean(points: &[&Point]) -> Option<HourIntensity> {
    let sum: f64 = points.iter().map(|p| p.intensity.as_g_per_kwh()).sum();
    let mut by_source: BTreeMap<&str, usize> = BTreeMap::new();
    for point in points {
        *by_source.entry(&point.source).or_default() += 1;
    }
    let (source, _) = by_source.iter().max_by_key(|(_, n)| **n)?;
    Some(HourIntensity {
        intensity: CarbonIntensity::new(sum / points.len() as f64)?,
        source: (*source).to_owned(),
        covered: points.len() as f64 / (HOUR_S / SLOT_S) as f64,
        is_forecast: points.iter().any(|p| p.is_forecast()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time: &str, g: f64, source: &str) -> Point {
        let time = format!("2026-11-23T{time}Z").parse().unwrap();
        let intensity = CarbonIntensity::new(g).unwrap();
        Point { time, zone: "DK1".to_owned(), intensity, source: source.to_owned() }
    }

    fn hour(series: &IntensitySeries, hour: u32) -> Option<(f64, f64)> {
        let at = format!("2026-11-23T{hour:02}:59:59Z").parse().unwrap();
        series.at(at).map(|h| (h.intensity.as_g_per_kwh(), h.covered))
    }

    #[test]
    fn an_hour_is_the_mean_of_its_parts_at_any_resolution() {
        let hourly = [point("10:00:00", 100.0, "a"), point("11:00:00", 50.0, "a")];
        let series = IntensitySeries::new("DK1", &hourly);
        assert_eq!((hour(&series, 10), hour(&series, 11)), (Some((100.0, 1.0)), Some((50.0, 1.0))));
        assert_eq!((hour(&series, 9), hour(&series, 12)), (None, None));

        let halves = [point("10:30:00", 300.0, "a"), point("10:00:00", 100.0, "a")];
        assert_eq!(hour(&IntensitySeries::new("DK1", &halves), 10), Some((200.0, 1.0)));

        let five: Vec<Point> =
            (0..12).map(|i| point(&format!("10:{:02}:00", i * 5), f64::from(i), "a")).collect();
        assert_eq!(hour(&IntensitySeries::new("DK1", &five), 10), Some((5.5, 1.0)));
        // Only the first quarter of the hour is known: it does not stand for what comes after it.
        let first = IntensitySeries::new("DK1", &five[..3]);
        assert_eq!(hour(&first, 10), Some((1.0, 0.25)));
        assert!(IntensitySeries::new("DK2", &five).is_empty());
    }

    #[test]
    fn what_was_measured_comes_before_what_was_forecast() {
        let points = [
            point("10:00:00", 80.0, "X actual"),
            point("10:00:00", 999.0, "X forecast"),
            point("11:00:00", 70.0, "X forecast"),
            point("12:00:00", 60.0, "X forecast"),
        ];
        let series = IntensitySeries::new("DK1", &points);
        assert_eq!((hour(&series, 10), hour(&series, 11)), (Some((80.0, 1.0)), Some((70.0, 1.0))));
        let at = |text: &str| series.at(text.parse().unwrap()).unwrap();
        assert!(!at("2026-11-23T10:00:00Z").is_forecast);
        assert!(at("2026-11-23T11:00:00Z").is_forecast);

        // Actual for the first half in steps of a quarter, forecast for the hour.
        let mixed = [
            point("10:00:00", 100.0, "X forecast"),
            point("10:00:00", 20.0, "X actual"),
            point("10:15:00", 40.0, "X actual"),
        ];
        // (20 + 40 + 100 + 100) / 4.
        assert_eq!(hour(&IntensitySeries::new("DK1", &mixed), 10), Some((65.0, 1.0)));
    }

    #[test]
    fn of_two_points_of_one_instant_the_later_counts_and_odd_instants_are_taken() {
        let twice = [point("10:00:00", 1.0, "a"), point("10:00:00", 2.0, "a")];
        assert_eq!(hour(&IntensitySeries::new("DK1", &twice), 10), Some((2.0, 1.0)));
        let odd = [point("10:58:30", 7.0, "a"), point("10:58:31", 7.0, "a")];
        let series = IntensitySeries::new("DK1", &odd);
        assert!(hour(&series, 10).is_some() || hour(&series, 11).is_some());
    }
}
