//! The line that begins an epoch: a light check of the expression.
//!
//! The plugin, which refuses an option, is kept free of an engine for regular expressions; ct-noded
//! has one and checks the rest. What is refused here every such engine refuses.

/// The line that begins an epoch where the owner gives none: `Epoch 3/100`, `epoch: 3`.
pub const DEFAULT_PATTERN: &str = "[Ee]poch[ :=#]*([0-9]+)";

/// Longest expression in bytes.
const MAX_LEN: usize = 256;

/// Refuses an expression by saying what is expected.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    if pattern.is_empty() || pattern.len() > MAX_LEN {
        return Err("a regular expression of 1 to 256 bytes, such as Epoch ([0-9]+)");
    }
    if pattern.starts_with(['*', '+', '?']) {
        return Err("something to repeat before *, + or ?; a literal one is written [*]");
    }
    // Under the flag x, comments may hold any bracket.
    if pattern.contains("(?") && pattern.contains('x') {
        return Ok(());
    }
    brackets(pattern)
}

fn brackets(pattern: &str) -> Result<(), &'static str> {
    let (mut groups, mut is_class) = (0_usize, false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next().ok_or("a character after the last backslash")?;
            }
            // One class in another, or a range that ends with a bracket: left to the engine.
            '[' if is_class => return Ok(()),
            '[' => {
                is_class = true;
                chars.next_if_eq(&'^');
                // A bracket that comes first stands for itself.
                chars.next_if_eq(&']');
            }
            ']' => is_class = false,
            '(' if !is_class => groups += 1,
            ')' if !is_class => {
                groups = groups.checked_sub(1).ok_or("an opening ( for each )")?;
            }
            _ => {}
        }
    }
    match (groups, is_class) {
        (0, false) => Ok(()),
        (_, false) => Err("a closing ) for each (; a literal one is written [(]"),
        _ => Err(r"a closing ] for each [; a literal one is written \["),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_engine_takes_is_refused_with_what_is_expected() {
        for (pattern, part) in [
            ("", "1 to 256 bytes"),
            (&"x".repeat(257), "1 to 256 bytes"),
            ("*x", "something to repeat"),
            ("Epoch (", "closing )"),
            ("Epoch )", "opening ("),
            ("[0-9", "closing ]"),
            ("x\\", "after the last backslash"),
        ] {
            assert!(check(pattern).unwrap_err().contains(part), "{pattern}");
        }
        for pattern in
            [DEFAULT_PATTERN, "[]x]", "[^]x]", r"\[\(", "[(]", "[[:alpha:]]", "(?x) a # ("]
        {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }
}
