//! Lines of a job's output, and those that begin an epoch.

use regex::bytes::{Regex, RegexBuilder};

use super::follower::OwnLines;

/// Bytes of a line that are looked at; the rest of a longer one is not.
const MOST_OF_LINE: usize = 4096;
/// Bytes of a label that tell epochs apart.
const MOST_OF_LABEL: usize = 64;
/// Bytes a compiled expression may take: it is a user's, and our time is nobody's.
const MOST_OF_PATTERN: usize = 128 << 10;
/// Bytes its cache may take.
const MOST_OF_CACHE: usize = 1 << 20;

/// What an expression's first group took; `None` where it has no group, or that took nothing.
pub type Label = Option<String>;

/// An expression that is not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "epoch_pattern is {pattern:?}, expected a regular expression such as {example:?}: {reason}"
)]
pub struct PatternError {
    pattern: String,
    example: &'static str,
    reason: String,
}

/// Makes an engine of an expression; it takes time linear in the text, whatever the expression.
///
/// # Errors
///
/// [`PatternError`], which says what is wrong and gives an example.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(pattern)
        .size_limit(MOST_OF_PATTERN)
        .dfa_size_limit(MOST_OF_CACHE)
        .build();
    built.map_err(|e| PatternError {
        pattern: pattern.to_owned(),
        example: "Epoch ([0-9]+)",
        // The last line of its message is the reason, those before draw an arrow.
        reason: e.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    })
}

/// Cuts bytes into lines and finds those that match.
pub(super) struct Scanner {
    pattern: Regex,
    line: Vec<u8>,
    /// Bytes since the last line's end.
    n_pending: u64,
    own: OwnLines,
}

impl Scanner {
    pub(super) fn new(pattern: Regex) -> Self {
        Self { pattern, line: Vec::new(), n_pending: 0, own: OwnLines::default() }
    }

    /// Takes more of the output: labels of the lines that begin epochs.
    ///
    /// A line ends with a newline or, as a progress bar's does, with a carriage return.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Label> {
        let mut labels = Vec::new();
        for part in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let is_whole = matches!(part.last(), Some(b'\n' | b'\r'));
            let text = &part[..part.len() - usize::from(is_whole)];
            let room = MOST_OF_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.n_pending += part.len() as u64;
            if is_whole {
                labels.extend(self.end_line());
            }
        }
        labels
    }

    /// Bytes that were taken of a line whose end is still to come.
    pub(super) fn n_pending(&self) -> u64 {
        self.n_pending
    }

    /// Lines that are our own, and will be in the output.
    pub(super) fn leave_out(&mut self, text: &str) {
        self.own.add(text);
    }

    /// The output is at its end: its last line may have none.
    pub(super) fn end_line(&mut self) -> Option<Label> {
        self.n_pending = 0;
        self.own.take_from(&mut self.line);
        let found = self.pattern.captures(&self.line).map(|groups| {
            let group = groups.get(1).map(|g| g.as_bytes()).filter(|g| !g.is_empty());
            group.map(|g| String::from_utf8_lossy(&g[..g.len().min(MOST_OF_LABEL)]).into_owned())
        });
        self.line.clear();
        found
    }
}

#[cfg(test)]
mod tests {
    use ct_core::option::{DEFAULT_PATTERN, parse};

    use super::*;

    fn labels(pattern: &str, text: &[u8]) -> Vec<Label> {
        Scanner::new(compile(pattern).unwrap()).take(text)
    }

    #[test]
    fn lines_that_begin_an_epoch_are_found_however_the_text_is_cut() {
        let text = b"Epoch 1/3\nloss 0.1\n\xff\xfe\rEpoch 2/3: 10%\rEpoch 2/3: 20%\rEpoch 3/3";
        let some = |n: &str| Some(n.to_owned());
        let expected = [some("1"), some("2"), some("2")];
        assert_eq!(labels(DEFAULT_PATTERN, text), expected);
        let mut scanner = Scanner::new(compile(DEFAULT_PATTERN).unwrap());
        let cut: Vec<Label> = text.iter().flat_map(|b| scanner.take(&[*b])).collect();
        assert_eq!(cut, expected);
        assert_eq!(scanner.end_line(), Some(some("3")));
        assert_eq!(labels("^step", b"step\nstep\n"), [None, None]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut scanner = Scanner::new(compile("E").unwrap());
        for _ in 0..1000 {
            scanner.take(&[b'x'; 4096]);
        }
        assert!(scanner.line.capacity() <= 2 * MOST_OF_LINE);
    }

    #[test]
    fn an_expression_that_is_none_is_told_with_its_reason_and_an_example() {
        for pattern in ["a{2,1}", "x{1000}{1000}{1000}", r"\p{Nothing}", "(?<n"] {
            let message = compile(pattern).unwrap_err().to_string();
            assert!(message.contains("such as \"Epoch ([0-9]+)\""), "{message}");
            assert!(message.lines().count() == 1, "{message}");
        }
    }

    #[test]
    fn an_expression_that_takes_more_than_its_part_is_refused_though_the_engine_would_take_it() {
        // 891 and 9,801 states; each takes some tens of bytes.
        assert!(compile("(a{99}){9}").is_ok());
        assert!(Regex::new("(a{99}){99}").is_ok());
        let message = compile("(a{99}){99}").unwrap_err().to_string();
        assert!(message.contains("size limit of 131072"), "{message}");
    }

    #[test]
    fn what_the_option_refuses_is_no_expression_here_either() {
        // Every text of up to five of these characters.
        let alphabet = ['a', '(', ')', '[', ']', '^', '-', '\\', '*', '|'];
        let mut n_refused = 0;
        for n in 1..100_000_usize {
            let digits = n.to_string();
            let text: String = digits.bytes().map(|d| alphabet[usize::from(d - b'0')]).collect();
            let escaped = text.replace('\\', "\\\\");
            if parse(&format!("epoch_pattern:{escaped}")).is_err() {
                n_refused += 1;
                assert!(compile(&text).is_err(), "{text:?} is refused and is an expression");
            }
        }
        assert!(n_refused > 10_000);
    }
}
