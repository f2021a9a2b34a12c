//! Whole microjoules by weight, with nothing lost: largest-remainder rounding.

use crate::units::Microjoules;

/// Splits `energy` in proportion to `weights`; the parts sum to it exactly.
///
/// A weight that is not a positive number counts as zero. Where all are zero, the last part takes
/// everything. Equal remainders go to the earlier part.
pub fn apportion(energy: Microjoules, weights: &[f64]) -> Vec<Microjoules> {
    let clean = |w: &f64| if w.is_finite() && *w > 0.0 { *w } else { 0.0 };
    let weights: Vec<f64> = weights.iter().map(clean).collect();
    let sum: f64 = weights.iter().sum();
    let mut parts = vec![0_u64; weights.len()];
    let total = energy.as_u64();
    if sum <= 0.0 || !sum.is_finite() {
        if let Some(last) = parts.last_mut() {
            *last = total;
        }
        return parts.into_iter().map(Microjoules::new).collect();
    }
    let mut left = total;
    let mut remainders = Vec::with_capacity(weights.len());
    for (i, weight) in weights.iter().enumerate() {
        let exact = total as f64 * (weight / sum);
        // A float beyond 2^53 may round up past what is there.
        let whole = (exact.floor() as u64).min(left);
        parts[i] = whole;
        left -= whole;
        remainders.push((exact - exact.floor(), i));
    }
    remainders.retain(|(_, i)| weights[*i] > 0.0);
    remainders.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let n = remainders.len() as u64;
    for (k, (_, i)) in remainders.iter().enumerate() {
        parts[*i] += left / n + u64::from((k as u64) < left % n);
    }
    parts.into_iter().map(Microjoules::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(total: u64, weights: &[f64]) -> Vec<u64> {
        apportion(Microjoules::new(total), weights).iter().map(|p| p.as_u64()).collect()
    }

    #[test]
    fn parts_by_table() {
        assert_eq!(parts(100, &[1.0, 1.0, 2.0]), [25, 25, 50]);
        assert_eq!(parts(100, &[1.0, 1.0, 1.0]), [34, 33, 33]);
        assert_eq!(parts(2, &[1.0, 1.0, 1.0, 0.0]), [1, 1, 0, 0]);
        assert_eq!(parts(7, &[0.0, 0.0]), [0, 7]);
        assert_eq!(parts(7, &[f64::NAN, -1.0, 1.0]), [0, 0, 7]);
        assert_eq!(parts(7, &[]), [0_u64; 0]);
        assert_eq!(parts(u64::MAX, &[1.0, 1.0, 1.0]).iter().sum::<u64>(), u64::MAX);
    }
}
