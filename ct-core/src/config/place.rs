//! On which line of its file a key stands, for messages.

use toml::de::{DeTable, DeValue};

/// The line of a key such as `power.pue`, counted from 1; where the key is missing, the line of the
/// section it belongs to.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let (mut table, mut at) = (table.get_ref(), None);
    for part in parts(key) {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part.as_str())
        else {
            break;
        };
        at = Some(name.span().start);
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    let before = text.get(..at?)?;
    Some(before.matches('\n').count() + 1)
}

/// The names in a dotted key, of which one may be quoted.
fn parts(key: &str) -> Vec<String> {
    let (mut parts, mut is_quoted) = (vec![String::new()], false);
    for c in key.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_on_its_line_and_a_missing_one_in_its_section() {
        let text = "# a\n[power]\npue = 0.5\n\n[carbon]\nzone = \"X\"\nfetch.provider = \"p\"\n\
                    [budget.account.\"a.b\"]\nenergy_kwh = -1\n";
        for (key, line) in [
            ("power", Some(2)),
            ("power.pue", Some(3)),
            ("carbon.fetch.provider", Some(7)),
            ("carbon.series_file", Some(5)),
            ("budget.account.\"a.b\".energy_kwh", Some(9)),
            ("budget.account.\"a.b\"", Some(8)),
            ("nothing", None),
        ] {
            assert_eq!(line_of(text, key), line, "{key}");
        }
        assert_eq!(line_of("[", "power"), None);
    }
}
