//! "Did you mean": the nearest known word.

/// The known word nearest to `word`, if it is near enough to be what was meant.
///
/// A third of the letters may be wrong, and one always. Words whose lengths differ by more are not
/// compared, so a long stranger costs nothing.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let n_letters = word.chars().take(MAX_LETTERS + 1).count();
    if n_letters > MAX_LETTERS {
        return None;
    }
    let word = word.to_lowercase();
    let near = |k: &'a str| {
        let n = k.chars().count();
        let most = (n.max(n_letters) / 3).max(1);
        if n.abs_diff(n_letters) > most {
            return None;
        }
        let distance = strsim::osa_distance(&word, k);
        (distance <= most).then_some((distance, k))
    };
    known.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, k)| k)
}

/// Longest word that may be a slip of the pen; the longest known one has 24 letters.
const MAX_LETTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["epochs", "epochs_before_pred", "components"];
        assert_eq!(nearest("epoch", known), Some("epochs"));
        assert_eq!(nearest("EPOCHS", known), Some("epochs"));
        assert_eq!(nearest("componets", known), Some("components"));
        assert_eq!(nearest("wall_time", known), None);
        assert_eq!(nearest("epohcs", known), Some("epochs"));
        assert_eq!(nearest("ep", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_long_word_is_not_compared() {
        // Comparing a megabyte with a word of a megabyte would take hours.
        let long = "e".repeat(1 << 20);
        assert_eq!(nearest(&long, ["epochs", &long[1..]]), None);
    }
}
