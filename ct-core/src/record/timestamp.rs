//! Instants on the wire: RFC 3339, UTC, milliseconds.

use std::fmt;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserializer, Serializer, de};

/// Writes `2026-11-23T04:37:00.123Z`.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(at: &DateTime<Utc>, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Reads any RFC 3339 instant.
///
/// # Errors
///
/// What is no RFC 3339 instant.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<DateTime<Utc>, D::Error> {
    d.deserialize_str(Instant)
}

/// Reads text in place: a ledger has an instant for every hour of a job.
struct Instant;

impl de::Visitor<'_> for Instant {
    type Value = DateTime<Utc>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 instant")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse(text).map_err(|e| E::custom(format_args!("time is {text:?}, expected RFC 3339: {e}")))
    }
}

fn parse(text: &str) -> Result<DateTime<Utc>, chrono::ParseError> {
    match parse_own_form(text.as_bytes()) {
        Some(at) => Ok(at),
        None => DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()),
    }
}

/// Bytes of the form our writer gives.
pub(crate) const LEN: usize = "2026-11-23T04:37:00.123Z".len();

/// Reads the form our writer gives; nothing where it is another, or a time that needs a closer look
/// (a leap second).
pub(crate) fn parse_own_form(text: &[u8]) -> Option<DateTime<Utc>> {
    let text: &[u8; LEN] = text.try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if !marks.iter().all(|(at, mark)| text[*at] == *mark) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let year = i32::try_from(number(0, 4)?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    Some(date.and_hms_milli_opt(hour, minute, number(17, 19)?, number(20, 23)?)?.and_utc())
}

/// The same for an instant that may not have come.
pub mod option {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct At(#[serde(with = "super")] DateTime<Utc>);

    /// Writes the instant, or null.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, s: S) -> Result<S::Ok, S::Error> {
        at.map(At).serialize(s)
    }

    /// Reads any RFC 3339 instant, or null.
    ///
    /// # Errors
    ///
    /// What is no RFC 3339 instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        Ok(Option::<At>::deserialize(d)?.map(|at| at.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_reading_agree() {
        for text in [
            "2026-11-23T04:37:00.123Z",
            "1969-12-31T23:59:59.999Z",
            "0000-02-29T00:00:00.000Z",
            "9999-12-31T23:59:59.999Z",
            "2026-02-29T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-11-23T24:00:00.000Z",
            "2026-11-23T23:60:00.000Z",
            "2016-12-31T23:59:60.500Z",
            "2026-11-23T04:37:0+.123Z",
            "2026-11-23t04:37:00.123z",
            "2026-11-23T04:37:00+01:00",
            "",
        ] {
            let slow = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
            if let Some(fast) = parse_own_form(text.as_bytes()) {
                assert_eq!(Ok(fast), slow, "{text}");
            }
            assert_eq!(parse(text), slow, "{text}");
        }
    }
}
