//! Text from logs and ledgers, made fit for a terminal.

use std::borrow::Cow;

/// Replaces what a terminal could obey, or what hides or reorders text, by its escape.
///
/// Users choose job names and log prefixes; a report of them must not move the cursor.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) { out.push(c) } else { out.extend(c.escape_unicode()) }
    }
    Cow::Owned(out)
}

/// Whether a character does nothing but stand there.
pub(super) fn is_harmless(c: char) -> bool {
    // Besides C0, C1 and DEL: zero-width and direction marks, line and paragraph separators.
    let is_hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    !c.is_control() && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_hidden_characters_are_shown_as_what_they_are() {
        assert_eq!(printable("\x1b[31mred\n"), "\\u{1b}[31mred\\u{a}");
        assert_eq!(printable("a\u{202e}b\u{9b}c"), "a\\u{202e}b\\u{9b}c");
        assert!(matches!(printable("Zoë, 実験 1"), Cow::Borrowed(_)));
    }
}
