//! Many values in few bars.

/// A bar: what it is of, and its value.
pub(crate) type Bar = (String, f64);

/// The values in at most `n` bars of about equal size, each the mean of its values; `name` names
/// those from one index up to another.
pub(crate) fn binned(values: &[f64], n: usize, name: impl Fn(usize, usize) -> String) -> Vec<Bar> {
    let n = values.len().min(n);
    let edge = |bar: usize| bar * values.len() / n;
    let bar = |bar: usize| {
        let (from, to) = (edge(bar), edge(bar + 1));
        let sum: f64 = values[from..to].iter().sum();
        (name(from, to), sum / (to - from) as f64)
    };
    (0..n).map(bar).collect()
}

/// The name of epochs by their indices: `3`, or `3-5`.
pub(crate) fn epoch_name(from: usize, to: usize) -> String {
    match to - from {
        1 => to.to_string(),
        _ => format!("{}-{to}", from + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_values_share_bars_and_none_is_lost() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let bars = binned(&values, 16, epoch_name);
        assert_eq!((bars.len(), &*bars[0].0, &*bars[15].0), (16, "1-6", "94-100"));
        // 1 to 6 and 94 to 100.
        assert_eq!((bars[0].1, bars[15].1), (3.5, 97.0));
        assert_eq!(binned(&values[..2], 16, epoch_name)[1].0, "2");
        assert!(binned(&[], 16, epoch_name).is_empty());
    }
}
