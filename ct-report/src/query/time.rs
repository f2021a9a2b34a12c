//! Times as users write them, and the zone they are meant in.

use chrono::{
    DateTime, Datelike, Days, Local, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta,
    TimeZone, Utc,
};
use chrono_tz::Tz;

/// Where months and days begin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// The machine's own zone.
    Local,
    /// A zone of the tz database.
    Named(Tz),
}

impl std::str::FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "utc" => Ok(Self::Utc),
            "local" => Ok(Self::Local),
            _ => text.parse().map(Self::Named).map_err(|_| {
                format!(
                    "time zone is {text:?}, expected UTC, local or a name such as Europe/Berlin"
                )
            }),
        }
    }
}

impl Zone {
    /// What the zone is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utc => "UTC",
            Self::Local => "local time",
            Self::Named(tz) => tz.name(),
        }
    }

    /// The wall clock of the zone at an instant.
    pub(crate) fn wall(self, at: DateTime<Utc>) -> NaiveDateTime {
        match self {
            Self::Utc => at.naive_utc(),
            Self::Local => at.with_timezone(&Local).naive_local(),
            Self::Named(tz) => at.with_timezone(&tz).naive_local(),
        }
    }

    /// The name of the month, week, day or hour an instant lies in.
    pub(crate) fn label(self, period: Period, at: DateTime<Utc>) -> String {
        match (period, self) {
            (Period::Month, _) => {
                let wall = self.wall(at);
                format!("{:04}-{:02}", wall.year(), wall.month())
            }
            (Period::Week, _) => self.wall(at).format("%G-W%V").to_string(),
            (Period::Day, _) => self.wall(at).format("%Y-%m-%d").to_string(),
            (Period::Hour, Self::Utc) => at.format("%Y-%m-%dT%H:%MZ").to_string(),
            // One hour a year is there twice, and only the offset tells which it is.
            (Period::Hour, Self::Local) => hour_label(&at.with_timezone(&Local)),
            (Period::Hour, Self::Named(tz)) => hour_label(&at.with_timezone(&tz)),
        }
    }

    /// A number that two instants share if they lie in one month, week, day or hour.
    pub(crate) fn number(self, period: Period, at: DateTime<Utc>) -> i64 {
        match period {
            Period::Month => {
                let wall = self.wall(at);
                i64::from(wall.year()) * 12 + i64::from(wall.month0())
            }
            // Day 1 is a Monday.
            Period::Week => (i64::from(self.wall(at).num_days_from_ce()) - 1).div_euclid(7),
            Period::Day => i64::from(self.wall(at).num_days_from_ce()),
            // Hours of UTC are not split.
            Period::Hour => at.timestamp().div_euclid(3600),
        }
    }

    /// The instant the wall clock of the zone first shows a time, or the first one after it where
    /// the clock is put forward over it.
    fn instant(self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let find = |wall: NaiveDateTime| match self {
            Self::Utc => Some(wall.and_utc()),
            Self::Local => Local.from_local_datetime(&wall).earliest().map(|t| t.to_utc()),
            Self::Named(tz) => tz.from_local_datetime(&wall).earliest().map(|t| t.to_utc()),
        };
        // Clocks are put forward by two hours at most.
        (0..=8).find_map(|quarter| find(wall.checked_add_signed(TimeDelta::minutes(quarter * 15))?))
    }
}

fn hour_label<T: TimeZone<Offset: std::fmt::Display>>(at: &DateTime<T>) -> String {
    at.format("%Y-%m-%dT%H:%M%:z").to_string()
}

/// What times are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Period {
    Month,
    /// Of ISO 8601: from Monday on, and named by the year in which its Thursday lies.
    Week,
    Day,
    Hour,
}

/// Which end of a span a time is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

/// Reads a time: RFC 3339, a date, or a word such as `now-30days`.
///
/// As in sacct a date is its first instant, so a span that ends on a date ends before it. A month
/// word is the month's first instant for a start, and that of the next month for an end.
///
/// # Errors
///
/// What is none of these, with all that is allowed.
pub(crate) fn parse_time(
    text: &str,
    edge: Edge,
    zone: Zone,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, String> {
    let lower = text.trim().to_ascii_lowercase();
    absolute(text.trim(), zone).or_else(|| relative(&lower, edge, zone, now)).ok_or_else(|| {
        format!(
            "time is {text:?}, expected a date (2026-10-01), a date and time \
             (2026-10-01T12:00:00Z), now, today, yesterday, lastmonth, thismonth, or one of these \
             with an offset (now-30days)"
        )
    })
}

fn absolute(text: &str, zone: Zone) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return zone.instant(date.and_time(NaiveTime::MIN));
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let wall =
        formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    zone.instant(wall)
}

fn relative(text: &str, edge: Edge, zone: Zone, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let sign_at = text.find(['+', '-']).unwrap_or(text.len());
    let (word, offset) = text.split_at(sign_at);
    let today = zone.wall(now).date();
    let month = today.with_day(1)?;
    let midnight = |date: NaiveDate| zone.instant(date.and_time(NaiveTime::MIN));
    let base = match (word, edge) {
        ("now", _) => now,
        ("today", _) => midnight(today)?,
        ("yesterday", _) => midnight(today.checked_sub_days(Days::new(1))?)?,
        ("lastmonth", Edge::Start) => midnight(month.checked_sub_months(Months::new(1))?)?,
        ("thismonth", Edge::Start) | ("lastmonth", Edge::End) => midnight(month)?,
        ("thismonth", Edge::End) => midnight(month.checked_add_months(Months::new(1))?)?,
        _ => return None,
    };
    if offset.is_empty() { Some(base) } else { base.checked_add_signed(parse_offset(offset)?) }
}

/// Reads `-30days`; the unit may be singular.
fn parse_offset(text: &str) -> Option<TimeDelta> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let number: i64 = number.parse().ok()?;
    let seconds = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 7 * 86_400,
        _ => return None,
    };
    TimeDelta::try_seconds(number.checked_mul(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str, edge: Edge, zone: &str) -> String {
        let now = "2026-03-15T10:20:30Z".parse().unwrap();
        parse_time(text, edge, zone.parse().unwrap(), now).map_or_else(|e| e, |t| t.to_rfc3339())
    }

    #[test]
    fn dates_and_words_are_meant_in_the_zone() {
        let start = |text| time(text, Edge::Start, "UTC");
        assert_eq!(start("2026-10-01"), "2026-10-01T00:00:00+00:00");
        assert_eq!(start("2026-10-01T12:00"), "2026-10-01T12:00:00+00:00");
        assert_eq!(start("2026-10-01T12:00:00+02:00"), "2026-10-01T10:00:00+00:00");
        assert_eq!(start("now-30days"), "2026-02-13T10:20:30+00:00");
        assert_eq!(start("today-1week"), "2026-03-08T00:00:00+00:00");
        assert_eq!(start("lastmonth"), "2026-02-01T00:00:00+00:00");
        assert_eq!(time("lastmonth", Edge::End, "UTC"), "2026-03-01T00:00:00+00:00");
        let berlin = |text| time(text, Edge::Start, "Europe/Berlin");
        assert_eq!(berlin("2026-10-01"), "2026-09-30T22:00:00+00:00");
        // 02:30 does not exist on the night clocks are put forward; 03:00 CEST is 01:00 UTC.
        assert_eq!(berlin("2026-03-29T02:30"), "2026-03-29T01:00:00+00:00");
    }

    #[test]
    fn periods_are_those_of_the_zone() {
        let label = |zone: &str, period, at: &str| {
            zone.parse::<Zone>().unwrap().label(period, at.parse().unwrap())
        };
        let berlin = |period, at| label("Europe/Berlin", period, at);
        assert_eq!(berlin(Period::Month, "2026-09-30T22:00:00Z"), "2026-10");
        assert_eq!(berlin(Period::Day, "2026-09-30T21:59:59Z"), "2026-09-30");
        // 2027-01-01 is a Friday: its week is the last of 2026.
        assert_eq!(label("UTC", Period::Week, "2027-01-01T00:00:00Z"), "2026-W53");
        assert_eq!(label("UTC", Period::Hour, "2026-10-25T00:00:00Z"), "2026-10-25T00:00Z");
        // Clocks are put back at 03:00 CEST: 02:00 is there twice.
        assert_eq!(berlin(Period::Hour, "2026-10-25T00:00:00Z"), "2026-10-25T02:00+02:00");
        assert_eq!(berlin(Period::Hour, "2026-10-25T01:00:00Z"), "2026-10-25T02:00+01:00");
    }

    #[test]
    fn periods_have_equal_numbers_where_they_have_equal_names() {
        let start: DateTime<Utc> = "2026-10-20T00:00:00Z".parse().unwrap();
        for zone in ["UTC", "Europe/Berlin", "America/St_Johns"] {
            let zone: Zone = zone.parse().unwrap();
            for period in [Period::Month, Period::Week, Period::Day, Period::Hour] {
                let of = |n| {
                    let at = start + TimeDelta::hours(n);
                    (zone.number(period, at), zone.label(period, at))
                };
                for n in 0..24 * 100 {
                    let (a, b) = (of(n), of(n + 1));
                    assert_eq!(a.0 == b.0, a.1 == b.1, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_all_that_is_allowed() {
        for text in ["", "soon", "now-30", "now-days", "2026-13-01", "now-99999999999999999weeks"] {
            let error = time(text, Edge::Start, "UTC");
            assert!(error.starts_with(&format!("time is {text:?}, expected a date")), "{error}");
        }
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("Europe/Berlin"));
    }
}
