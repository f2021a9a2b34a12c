//! A sum of floats that is the same in whatever order they come.
//!
//! Threads take nodes as they get to them, and a report must not depend on that. So what is added is
//! not rounded: it is an integer of 128 bits in units of 2⁻⁷⁶, which holds every bit of a float from
//! 10⁻⁷ on, up to 2.8·10¹⁴ (2⁴⁸). What is greater is added as floats are, in the order it comes.

use std::ops::AddAssign;

/// Binary places behind the point.
const PLACES: i32 = 76;
/// Values from 2⁴⁸ on, which no amount of ours has, are added as floats.
const MOST_EXPONENT: i32 = 48;

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    fixed: i128,
    /// What is too much for that.
    beyond: f64,
}

impl ExactSum {
    /// The sum, rounded to the nearest float.
    pub(crate) fn value(self) -> f64 {
        self.fixed as f64 / f64::from(PLACES).exp2() + self.beyond
    }

    #[inline]
    fn add_fixed(&mut self, fixed: i128) {
        match self.fixed.checked_add(fixed) {
            Some(sum) => self.fixed = sum,
            None => self.beyond += fixed as f64 / f64::from(PLACES).exp2(),
        }
    }
}

impl From<f64> for ExactSum {
    fn from(value: f64) -> Self {
        let mut sum = Self::default();
        sum += value;
        sum
    }
}

impl AddAssign<f64> for ExactSum {
    #[inline]
    fn add_assign(&mut self, value: f64) {
        // Often there is nothing to add: no GPU, or a column that is not asked for.
        if value != 0.0 {
            match to_fixed(value) {
                Some(fixed) => self.add_fixed(fixed),
                None => self.beyond += value,
            }
        }
    }
}

impl AddAssign for ExactSum {
    fn add_assign(&mut self, other: Self) {
        self.add_fixed(other.fixed);
        self.beyond += other.beyond;
    }
}

/// The value in units of 2⁻⁷⁶, without what is less; `None` where it is too large.
#[inline]
fn to_fixed(value: f64) -> Option<i128> {
    let bits = value.to_bits();
    // IEEE 754: a sign, 11 bits of exponent with a bias of 1023, 52 bits behind the leading one.
    let exponent = i32::try_from(bits >> 52 & 0x7ff).ok()? - 1023;
    if exponent >= MOST_EXPONENT {
        return None;
    }
    let digits = i128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let shift = exponent - 52 + PLACES;
    // What is smaller than any unit has a small exponent.
    let size = if shift >= 0 {
        digits << shift
    } else {
        digits.checked_shr(shift.unsigned_abs()).unwrap_or(0)
    };
    Some(if value.is_sign_negative() { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        values.iter().for_each(|value| sum += *value);
        sum
    }

    #[test]
    fn one_value_is_itself() {
        for value in [0.0, 1.0, 0.1, 1e-7, 12.5, 1e14, 2.5e14, 1e300, -0.3, f64::INFINITY] {
            assert_eq!(sum(&[value]).value(), value);
        }
        // Below the last place.
        assert_eq!(sum(&[1e-300, f64::MIN_POSITIVE, -0.0, 5e-324]).value(), 0.0);
        assert!(sum(&[f64::NAN]).value().is_nan());
    }

    #[test]
    fn nothing_is_rounded_on_the_way() {
        // As floats, 2⁵³ + 1 + 1 is 2⁵³ or 2⁵³ + 2, as the order is; here 2⁴⁷ + 2⁻⁷ is at the edge.
        let (large, small) = (47_f64.exp2(), (-7_f64).exp2());
        assert_eq!(large + small, large);
        assert_eq!(sum(&[large, small, small]).value(), large + 2.0 * small);
        assert_eq!(sum(&[small, large, small, -large]).value(), 2.0 * small);
        // More than fits.
        let many = sum(&[large; 100]);
        assert_eq!(many.value(), 100.0 * large);
    }

    proptest! {
        #[test]
        fn the_order_does_not_matter(
            mut values in proptest::collection::vec(0.0..1e9, 0..50),
            at in 0_usize..50,
        ) {
            let one = sum(&values);
            let plain: f64 = values.iter().sum();
            prop_assert!((one.value() - plain).abs() <= 1e-14 * plain);
            values.reverse();
            let (left, right) = values.split_at(at.min(values.len()));
            let mut other = sum(right);
            other += sum(left);
            prop_assert_eq!(one, other);
        }
    }
}
