//! Joules per count of a perf event, exactly.
//!
//! The kernel counts in 2^-32 J and says so as a decimal, `2.3283064365386962890625e-10`. Kept as a
//! fraction, the energy of a count is rounded down once, from the whole count, so that the parts of
//! any number of intervals add up to the microjoule.

/// Decimal places that fit: 10^38 is the last power of ten in 128 bits.
const MOST_PLACES: i32 = 38;

/// Microjoules per count, as a reduced fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    numerator: u128,
    denominator: u128,
}

impl Scale {
    /// Reads joules per count, a positive decimal with or without an exponent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
        let exponent: i32 = exponent.parse().ok()?;
        let places = i32::try_from(fraction.len()).ok()?;
        // Six places fewer, as it is microjoules from here.
        let exponent = exponent.checked_sub(places)?.checked_add(6)?;
        if mantissa == 0 || exponent.abs() > MOST_PLACES {
            return None;
        }
        let power = 10_u128.pow(exponent.unsigned_abs());
        if exponent >= 0 {
            return Some(Self { numerator: mantissa.checked_mul(power)?, denominator: 1 });
        }
        let divisor = greatest_common_divisor(mantissa, power);
        Some(Self { numerator: mantissa / divisor, denominator: power / divisor })
    }

    /// Microjoules of a count, rounded down; `None` beyond 64 bits.
    pub(super) fn to_microjoules(self, count: u64) -> Option<u64> {
        let product = u128::from(count).checked_mul(self.numerator)?;
        u64::try_from(product / self.denominator).ok()
    }
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KERNELS: &str = "2.3283064365386962890625e-10";

    #[test]
    fn the_kernels_scale_is_exact() {
        let scale = Scale::parse(KERNELS).unwrap();
        // 10^6 / 2^32 = 15625 / 2^26
        assert_eq!(scale, Scale { numerator: 15_625, denominator: 1 << 26 });
        assert_eq!(scale.to_microjoules(1 << 32), Some(1_000_000));
        assert_eq!(scale.to_microjoules((1 << 32) - 1), Some(999_999));
        // 2^64 counts are 2^32 J, that is 136 years at 1 W.
        assert_eq!(scale.to_microjoules(u64::MAX), Some((1 << 32) * 1_000_000 - 1));
    }

    #[test]
    fn other_scales_by_table() {
        for (text, count, expected) in [
            ("1e-6", 7, Some(7)),
            ("0.5", 3, Some(1_500_000)),
            ("1", 2, Some(2_000_000)),
            ("6.103515625e-05", 16_384, Some(1_000_000)),
            ("1e3", u64::MAX, None),
        ] {
            assert_eq!(Scale::parse(text).unwrap().to_microjoules(count), expected, "{text}");
        }
        for text in ["", "0", "-1", "1e", "1e-99", "1e99", "x", "1.2.3"] {
            assert_eq!(Scale::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(steps in proptest::collection::vec(0..u64::MAX >> 10, 0..60)) {
            let scale = Scale::parse(KERNELS).unwrap();
            let (mut count, mut sum, mut last) = (0, 0, 0);
            for step in steps {
                count += step;
                let now = scale.to_microjoules(count).unwrap();
                sum += now - last;
                last = now;
            }
            prop_assert_eq!(Some(sum), scale.to_microjoules(count));
        }
    }
}
