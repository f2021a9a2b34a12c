//! Text that users chose, made fit for a terminal, a log of an administrator's, a line of JSON.

use std::borrow::Cow;

/// Replaces what a terminal could obey, or what hides or reorders text, by its escape.
///
/// Users choose job names and log prefixes; what is written of them must not move a cursor or look
/// like something else.
pub fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, |c, out| out.extend(c.escape_unicode()))
}

/// JSON whose strings hold nothing that [`printable`] would replace: the same value, by JSON's own
/// escapes. Outside of strings JSON has no such character but its white space, which stays.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    replaced(json, |c, out| {
        if matches!(c, '\n' | '\r' | '\t') {
            out.push(c);
            return;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn replaced(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    // Nearly all text is ASCII and harmless, and this is asked of each byte alone.
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) || text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmless(c) { out.push(c) } else { escape(c, &mut out) }
    }
    Cow::Owned(out)
}

/// Whether a character does nothing but stand there.
pub fn is_harmless(c: char) -> bool {
    // Besides C0, C1 and DEL: zero-width and direction marks, line and paragraph separators, the
    // invisible letters of plane 14.
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    !c.is_control() && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_hidden_characters_are_shown_as_what_they_are() {
        assert_eq!(printable("\x1b[31mred\n"), "\\u{1b}[31mred\\u{a}");
        assert_eq!(printable("a\u{202e}b\u{9b}c\u{e0041}"), "a\\u{202e}b\\u{9b}c\\u{e0041}");
        assert!(matches!(printable("Zoë, 実験 1"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_the_same_value_without_a_character_that_a_terminal_obeys() {
        let value = serde_json::json!({"name": "a\u{9b}2J\u{202e}\u{7f}\u{e0041}\n\"ë"});
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = printable_json(&json);
            let again: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(again, value);
            assert!(shown.chars().all(|c| is_harmless(c) || c == '\n'), "{shown:?}");
            assert!(shown.contains("\\u009b") && shown.contains("\\udb40\\udc41"), "{shown}");
        }
    }
}
