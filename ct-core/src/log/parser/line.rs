//! Lines of a log, and the prefix that makes a line the start of a record.

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use memchr::{memchr, memchr_iter, memmem};

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
    let is_torn = bytes.last().is_some_and(|last| *last != b'\n');
    let ends = memchr_iter(b'\n', bytes).map(|at| (at, true));
    let mut start = 0;
    ends.chain(is_torn.then_some((bytes.len(), false))).enumerate().map(
        move |(index, (end, is_whole))| {
            let text = &bytes[start..end];
            let line = Line {
                number: index + 1,
                start,
                text: text.strip_suffix(b"\r").unwrap_or(text),
                is_whole,
            };
            start = end + 1;
            line
        },
    )
}

/// When a record was written: local time, as the log says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// `YYYY-MM-DD HH:MM:SS`.
    pub(super) text: &'a [u8],
    /// Milliseconds, where the log has them.
    millis: u16,
}

impl<'a> Stamp<'a> {
    /// The text, which is digits and marks.
    pub(super) fn as_str(&self) -> &'a str {
        std::str::from_utf8(self.text).unwrap_or_default()
    }

    /// The time with milliseconds.
    pub(super) fn at(&self) -> Option<NaiveDateTime> {
        let part = |from: usize, to: usize| digits(self.text.get(from..to)?);
        let year = i32::try_from(part(0, 4)?).ok()?;
        let date = NaiveDate::from_ymd_opt(year, part(5, 7)?, part(8, 10)?)?;
        let time = date.and_hms_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?)?;
        Some(time + TimeDelta::milliseconds(i64::from(self.millis)))
    }
}

/// Splits a line into the stamp of its prefix and the message.
///
/// `YYYY-MM-DD HH:MM:SS - MESSAGE` since 1.0.7, before that and in error logs
/// `YYYY-MM-DD HH:MM:SS,mmm - THREAD - LEVEL - MESSAGE`. Lines without a prefix continue a record.
pub(super) fn split_prefix(line: &[u8]) -> Option<(Stamp<'_>, &[u8])> {
    let (text, rest) = line.split_at_checked(19)?;
    if !is_stamp(text) {
        return None;
    }
    if let Some(message) = rest.strip_prefix(b" - ") {
        return Some((Stamp { text, millis: 0 }, message));
    }
    let (millis, rest) = rest.strip_prefix(b",")?.split_at_checked(3)?;
    let millis = u16::try_from(digits(millis)?).ok()?;
    let rest = rest.strip_prefix(b" - ")?;
    let (_thread, rest) = split_once(rest, b" - ")?;
    let (level, message) = split_once(rest, b" - ")?;
    is_level(level).then_some((Stamp { text, millis }, message))
}

/// Splits at the first occurrence of `separator`.
pub(super) fn split_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(bytes, separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// Splits at the last occurrence of `separator`.
pub(super) fn rsplit_once<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::rfind(bytes, separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// Where `needle` first occurs.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [one] => memchr(*one, bytes),
        _ => memmem::find(bytes, needle),
    }
}

fn is_level(level: &[u8]) -> bool {
    [&b"DEBUG"[..], b"INFO", b"WARNING", b"ERROR", b"CRITICAL"].contains(&level)
}

/// Whether a text is `YYYY-MM-DD HH:MM:SS` with every part in its range.
fn is_stamp(text: &[u8]) -> bool {
    let Ok(b) = <&[u8; 19]>::try_from(text) else { return false };
    let marks = (b[4], b[7], b[10], b[13], b[16]);
    let two = |at: usize| {
        let (tens, ones) = (b[at].wrapping_sub(b'0'), b[at + 1].wrapping_sub(b'0'));
        if tens < 10 && ones < 10 { tens * 10 + ones } else { u8::MAX }
    };
    marks == (b'-', b'-', b' ', b':', b':')
        && two(0) < 100
        && two(2) < 100
        && (1..=12).contains(&two(5))
        && (1..=31).contains(&two(8))
        && two(11) < 24
        && two(14) < 60
        && two(17) < 60
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
        let message =
            |line: &'static str| split_prefix(line.as_bytes()).map(|(s, m)| (s.as_str(), m));
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
