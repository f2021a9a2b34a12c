//! Lines of a log, and the prefix that makes a line the start of a record.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};

/// One line, without its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// Line number, from 1.
    pub(super) number: usize,
    /// Where the line starts in the file.
    pub(super) start: usize,
    /// The line without `\n` and `\r`.
    pub(super) text: &'a [u8],
    /// Whether the line had an end; the last line of a torn file has none.
    pub(super) is_whole: bool,
}

/// Splits a file into lines.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut end = 0;
    bytes.split_inclusive(|b| *b == b'\n').enumerate().map(move |(index, raw)| {
        let start = end;
        end += raw.len();
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let is_whole = text.len() < raw.len();
        Line { number: index + 1, start, text: text.strip_suffix(b"\r").unwrap_or(text), is_whole }
    })
}

/// When a record was written: local time, as the log says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// `YYYY-MM-DD HH:MM:SS`.
    pub(super) text: &'a str,
    /// The same with milliseconds, where the log has them.
    pub(super) at: NaiveDateTime,
}

/// Splits a line into the stamp of its prefix and the message.
///
/// `YYYY-MM-DD HH:MM:SS - MESSAGE` since 1.0.7, before that and in error logs
/// `YYYY-MM-DD HH:MM:SS,mmm - THREAD - LEVEL - MESSAGE`. Lines without a prefix continue a record.
pub(super) fn split_prefix(line: &[u8]) -> Option<(Stamp<'_>, &[u8])> {
    let (stamp, rest) = line.split_at_checked(19)?;
    let text = std::str::from_utf8(stamp).ok()?;
    let at = parse_stamp(text)?;
    if let Some(message) = rest.strip_prefix(b" - ") {
        return Some((Stamp { text, at }, message));
    }
    let (millis, rest) = rest.strip_prefix(b",")?.split_at_checked(3)?;
    let at = at + TimeDelta::milliseconds(i64::from(digits(millis)?));
    let rest = rest.strip_prefix(b" - ")?;
    let (_thread, rest) = split_once(rest, b" - ")?;
    let (level, message) = split_once(rest, b" - ")?;
    is_level(level).then_some((Stamp { text, at }, message))
}

/// Splits at the first occurrence of `separator`.
pub(super) fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(bytes, separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// Splits at the last occurrence of `separator`.
pub(super) fn rsplit_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).rposition(|w| w == separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// Where `needle` first occurs.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}

fn is_level(level: &[u8]) -> bool {
    [&b"DEBUG"[..], b"INFO", b"WARNING", b"ERROR", b"CRITICAL"].contains(&level)
}

fn parse_stamp(text: &str) -> Option<NaiveDateTime> {
    let b = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| b.get(*at) != Some(mark)) {
        return None;
    }
    let part = |from: usize, to: usize| digits(b.get(from..to)?);
    let year = i32::try_from(part(0, 4)?).ok()?;
    NaiveDate::from_ymd_opt(year, part(5, 7)?, part(8, 10)?)?.and_hms_opt(
        part(11, 13)?,
        part(14, 16)?,
        part(17, 19)?,
    )
}

fn digits(bytes: &[u8]) -> Option<u32> {
    let digit = |n: u32, b: &u8| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0'));
    // Four digits at most: no overflow.
    (bytes.len() <= 4).then_some(())?;
    bytes.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_are_understood_and_others_are_not() {
        let message = |line: &'static str| split_prefix(line.as_bytes()).map(|(s, m)| (s.text, m));
        assert_eq!(
            message("2020-05-17 19:02:17 - Epoch 1:"),
            Some(("2020-05-17 19:02:17", &b"Epoch 1:"[..]))
        );
        assert_eq!(
            message("2020-05-17 19:02:17,989 - MainThread - INFO - a - b"),
            Some(("2020-05-17 19:02:17", &b"a - b"[..]))
        );
        for line in [
            "",
            "\tTime:\t0:00:24",
            "2020-13-17 19:02:17 - x",
            "2020-05-17 19:02:17",
            "2020-05-17 19:02:17,98",
            "2020-05-17 19:02:17,989 - MainThread - LOUD - a",
            "2020-05-17 19:02:1é - x",
        ] {
            assert!(message(line).is_none(), "{line}");
        }
    }

    #[test]
    fn the_torn_last_line_is_told_apart() {
        let all: Vec<_> = lines(b"a\r\n\nb").map(|l| (l.number, l.text, l.is_whole)).collect();
        assert_eq!(all, [(1, &b"a"[..], true), (2, b"", true), (3, b"b", false)]);
        assert_eq!(lines(b"").count(), 0);
    }
}
