//! What Python does with text where Rust does otherwise.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;

use super::raise;

/// A regular expression of upstream's.
///
/// White space is Python's: besides Unicode's the four separators from U+001C on.
pub(super) fn regex(pattern: &str) -> Regex {
    let pattern = pattern.replace(r"\s", r"[\s\x1c-\x1f]");
    Regex::new(&pattern).expect("upstream's patterns are constants of this program")
}

/// Reads a file as `open(path).read()` does: strict UTF-8, all line ends made `\n`.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let (at, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let reason = match (error.utf8_error().error_len(), bytes[at]) {
            (None, _) => "unexpected end of data",
            (_, 0x80..=0xc1 | 0xf5..) => "invalid start byte",
            _ => "invalid continuation byte",
        };
        raise(&format!(
            "UnicodeDecodeError: 'utf-8' codec can't decode byte {:#04x} in position {at}: {reason}",
            bytes[at]
        ))
    })?;
    Ok(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text })
}

/// Python's `float(text)`.
pub(super) fn float(text: &str) -> Result<f64> {
    parse_float(text)
        .ok_or_else(|| raise(&format!("ValueError: could not convert string to float: '{text}'")))
}

/// Python's `float(text)`, where it does not raise.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    if !text.contains('_') {
        return text.parse().ok();
    }
    // Underscores stand between digits only.
    let bytes = text.as_bytes();
    let is_digit =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let is_fine = |(at, _): (usize, _)| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    text.match_indices('_').all(is_fine).then(|| text.replace('_', "").parse().ok())?
}

/// Python's `str.isspace` of one character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_those_of_python() {
        for (text, value) in [(" 1.5\t", 1.5), ("1_0.", 10.0), ("+.5", 0.5), ("1e3", 1000.0)] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        assert_eq!(parse_float("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
        for text in ["", "_1", "1__0", "1_", "1 2", "0x1", "1._0"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_fails_as_python_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_text(&path).map_err(|error| error.chain().nth(1).unwrap().to_string())
        };
        assert_eq!(read(b"a\r\nb\rc").unwrap(), "a\nb\nc");
        for (bytes, end) in [
            (&b"ab\x9f"[..], "byte 0x9f in position 2: invalid start byte"),
            (b"\xc3(", "byte 0xc3 in position 0: invalid continuation byte"),
            (b"\xe2\x82", "byte 0xe2 in position 0: unexpected end of data"),
        ] {
            assert!(read(bytes).unwrap_err().ends_with(end), "{bytes:?}");
        }
    }
}
