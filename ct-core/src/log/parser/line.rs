//! Lines of a log, and the prefix that makes a line the start of a record.

use std::sync::LazyLock;

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
///
/// A mark of byte order before the first is left out, as are the NULs a crashed machine leaves
/// before a line.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    lines_and_cuts(bytes, Vec::new())
}

/// Splits a standard log into lines, also where a run was appended to the torn line of another.
pub(super) fn standard_lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    // Made once: a log is short, and making a finder takes as long as a search.
    static VERSION: LazyLock<memmem::Finder<'static>> =
        LazyLock::new(|| memmem::Finder::new(b" - carbontracker version "));
    let starts = VERSION.find_iter(bytes).filter_map(|at| at.checked_sub(19));
    let is_cut = |start: &usize| {
        let is_first = *start == 0 || matches!(bytes[start - 1], b'\n' | 0);
        !is_first && *start != BOM.len() && is_stamp(&bytes[*start..start + 19])
    };
    lines_and_cuts(bytes, starts.filter(is_cut).collect())
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Lines, and parts of lines that are cut at the given places.
fn lines_and_cuts(bytes: &[u8], cuts: Vec<usize>) -> impl Iterator<Item = Line<'_>> {
    let mut start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    let mut newlines = memchr_iter(b'\n', bytes);
    let (mut cuts, mut number) = (cuts.into_iter().peekable(), 1);
    let mut newline = newlines.next();
    std::iter::from_fn(move || {
        let at = newline.unwrap_or(bytes.len());
        if start >= bytes.len() {
            return None;
        }
        let cut = cuts.next_if(|cut| *cut < at);
        let (end, is_whole) = (cut.unwrap_or(at), cut.is_none() && newline.is_some());
        let text = &bytes[start..end];
        let nuls = text.iter().take_while(|b| **b == 0).count();
        let text = &text[nuls..];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let line = Line { number, start: start + nuls, text, is_whole };
        start = if cut.is_some() { end } else { end + 1 };
        if cut.is_none() {
            number += 1;
            newline = newlines.next();
        }
        Some(line)
    })
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

/// Splits the lines of a log as [`split_prefix`] does, and looks at a date once: what a record says
/// in several lines has the same in all of them.
#[derive(Debug, Default)]
pub(super) struct Prefixes<'a> {
    /// The prefix of the last record, of the form since 1.0.7.
    last: Option<&'a [u8; 22]>,
}

impl<'a> Prefixes<'a> {
    /// Splits the next line.
    pub(super) fn split(&mut self, line: &'a [u8]) -> Option<(Stamp<'a>, &'a [u8])> {
        let head = line.first_chunk();
        if head.is_some() && head == self.last {
            return Some((Stamp { text: &line[..19], millis: 0 }, &line[22..]));
        }
        let split = split_prefix(line)?;
        self.last = head.filter(|head| head.ends_with(b" - "));
        Some(split)
    }
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
        // A line is short: to make ready for a search in it takes longer than the search.
        [first, ..] if bytes.len() <= 64 && needle.len() <= 3 => {
            memchr_iter(*first, bytes).find(|at| bytes[*at..].starts_with(needle))
        }
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
    fn a_date_is_looked_at_again_where_it_is_another() {
        let mut prefixes = Prefixes::default();
        for line in [
            "2020-05-17 19:02:17 - a",
            "2020-05-17 19:02:17 - ",
            "2020-05-17 19:02:17 -",
            "2020-05-17 19:02:17,989 - MainThread - INFO - b",
            "2020-05-17 19:02:17,989 - MainThread - INFO - c",
            "2020-05-17 19:62:17 - d",
            "2020-05-17 19:02:17 - e",
        ] {
            let text =
                |(stamp, message): (Stamp<'static>, _)| (stamp.as_str(), stamp.millis, message);
            let (seen, expected) = (prefixes.split(line.as_bytes()), split_prefix(line.as_bytes()));
            assert_eq!(seen.map(text), expected.map(text), "{line}");
        }
    }

    #[test]
    fn the_torn_last_line_is_told_apart() {
        let all: Vec<_> = lines(b"a\r\n\nb").map(|l| (l.number, l.text, l.is_whole)).collect();
        assert_eq!(all, [(1, &b"a"[..], true), (2, b"", true), (3, b"b", false)]);
        assert_eq!(lines(b"").count(), 0);
    }

    #[test]
    fn byte_order_marks_and_nuls_are_no_part_of_a_line() {
        let all: Vec<_> = lines(b"\xef\xbb\xbfa\n\0\0b\n\0\0").map(|l| l.text).collect();
        assert_eq!(all, [&b"a"[..], b"b", b""]);
    }

    #[test]
    fn a_run_appended_to_a_torn_line_begins_a_line() {
        let head = "2020-05-17 19:02:17 - carbontracker version 1.1.0";
        let text = format!("{head}\n2020-05-17 19:02:18 - Dura{head}\nx carbontracker version\n");
        let read: Vec<_> = standard_lines(text.as_bytes()).collect();
        let (texts, numbers): (Vec<_>, Vec<_>) = read.iter().map(|l| (l.text, l.number)).unzip();
        assert_eq!(texts[1..3], [&b"2020-05-17 19:02:18 - Dura"[..], head.as_bytes()]);
        assert_eq!((numbers, read[1].is_whole, read[2].is_whole), (vec![1, 2, 2, 3], false, true));
        assert!(read.iter().all(|l| text.as_bytes()[l.start..].starts_with(l.text)));
    }
}
