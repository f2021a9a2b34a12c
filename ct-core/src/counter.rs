//! The difference of two readings of a counter that may wrap.

/// Counts between two readings.
///
/// `modulus` is the value at which the counter starts over (`max_energy_range_uj` for RAPL), `None`
/// for one that never does. A counter that went backwards without a modulus was reset: `None`. More
/// than one wrap between two readings cannot be told from one.
pub fn difference(earlier: u64, later: u64, modulus: Option<u64>) -> Option<u64> {
    match later.checked_sub(earlier) {
        Some(difference) => Some(difference),
        None => modulus.filter(|m| earlier <= *m).map(|m| m - earlier + later),
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn differences_by_table() {
        let m = Some(262_143_328_850);
        for (row, (earlier, later, modulus, expected)) in [
            (5, 9, None, Some(4)),
            (5, 5, None, Some(0)),
            (9, 5, None, None),
            (262_143_328_850 - 10, 15, m, Some(25)),
            // A range that shrank below the reading: not this counter.
            (262_143_328_851, 15, m, None),
            (0, u64::MAX, None, Some(u64::MAX)),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(difference(earlier, later, modulus), expected, "row {row}");
        }
    }
}
