//! "Did you mean": the nearest known word.

/// The known word nearest to `word`, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &str| strsim::damerau_levenshtein(&word.to_lowercase(), k);
    let (best, d) = known.into_iter().map(|k| (k, distance(k))).min_by_key(|(_, d)| *d)?;
    // A third of the letters may be wrong, and one always.
    (d <= 1 || d * 3 <= best.len().max(word.len())).then_some(best)
}

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
    }
}
