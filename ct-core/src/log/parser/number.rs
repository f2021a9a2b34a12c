//! Numbers and times as Python and numpy print them.

use super::line::split_once;

/// Reads one float as Python's `repr`, numpy or C print it: `127.5`, `200.`, `8.4e-05`, `nan`,
/// `np.float64(151.65)`.
pub(super) fn parse_float(bytes: &[u8]) -> Option<f64> {
    let text = bytes.trim_ascii();
    let text = match text.strip_prefix(b"np.") {
        Some(numpy) => split_once(numpy, b"(")?.1.strip_suffix(b")")?,
        None => text,
    };
    if let Some(value) = plain_decimal(text) {
        return Some(value);
    }
    if matches!(text, b"nan" | b"inf" | b"-inf") {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    // One that begins with a digit cannot be one of the words that Rust takes for numbers.
    let first =
        text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text).first()?;
    let is_number = first.is_ascii_digit() || *first == b'.';
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// Reads `127.5`, as nearly all numbers of a log are: up to 19 digits, with a point among or behind
/// them.
fn plain_decimal(text: &[u8]) -> Option<f64> {
    if text.len() > 20 {
        return None;
    }
    let n_whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(n_whole);
    let decimals = match rest {
        [] => rest,
        [b'.', decimals @ ..] => decimals,
        _ => return None,
    };
    if !(1..=19 - decimals.len().min(19)).contains(&n_whole) {
        return None;
    }
    Some(quotient(add_digits(add_digits(0, whole)?, decimals)?, decimals.len()))
}

/// `number` with more digits behind it; wraps around where there are more than 19 in all.
fn add_digits(mut number: u64, digits: &[u8]) -> Option<u64> {
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(digit.into());
    }
    Some(number)
}

/// Whole numbers up to here are exact in 64 bits of float.
const EXACT_MAX: u64 = 1 << 53;

/// `digits` over ten to the power of `n_decimals`, up to 19, rounded once, as the standard library
/// rounds it.
fn quotient(digits: u64, n_decimals: usize) -> f64 {
    let divisor = POWERS_OF_TEN[n_decimals];
    if n_decimals == 0 {
        return digits as f64;
    }
    if digits <= EXACT_MAX {
        // The divisor is exact, too: five to the power of 19 has 45 bits.
        return digits as f64 / divisor as f64;
    }
    // A quotient of 62 bits or more, the last of which is set where something is left over.
    let shift = digits.leading_zeros() + 63;
    let (dividend, divisor) = (u128::from(digits) << shift, u128::from(divisor));
    let quotient = (dividend / divisor) | u128::from(dividend % divisor != 0);
    quotient as f64 / (1_u128 << shift) as f64
}

const POWERS_OF_TEN: [u64; 20] = {
    let (mut powers, mut at) = ([1; 20], 1);
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Reads a duration in seconds.
///
/// `H:MM:SS` with any number of hours and decimals, not necessarily padded, with a leading `-`
/// where negative; `4 days, 3:25:45` as Python's `timedelta` prints it; a trailing ` s`.
pub fn parse_duration(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b" s").unwrap_or(text).trim_ascii_end();
    let (days, clock) = match split_once(text, b", ") {
        Some((days, clock)) => (parse_days(days)?, clock),
        None => (0.0, text),
    };
    let (sign, clock) = clock.strip_prefix(b"-").map_or((1.0, clock), |rest| (-1.0, rest));
    let mut parts = clock.split(|b| *b == b':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let seconds = whole(hours)? * 3600.0 + whole(minutes)? * 60.0 + unsigned(seconds)?;
    Some(days * 86_400.0 + sign * seconds)
}

/// Reads `4 days` or `-1 day`.
fn parse_days(text: &[u8]) -> Option<f64> {
    let number = text.strip_suffix(b" days").or_else(|| text.strip_suffix(b" day"))?;
    let (sign, number) = number.strip_prefix(b"-").map_or((1.0, number), |rest| (-1.0, rest));
    Some(sign * whole(number)?)
}

/// Reads digits alone.
fn whole(bytes: &[u8]) -> Option<f64> {
    if (1..=19).contains(&bytes.len()) {
        return add_digits(0, bytes).map(|digits| digits as f64);
    }
    unsigned(bytes).filter(|_| !bytes.contains(&b'.'))
}

/// Reads digits, with a point among them or not.
fn unsigned(bytes: &[u8]) -> Option<f64> {
    if let Some(value) = plain_decimal(bytes) {
        return Some(value);
    }
    let is_part = |b: &u8| b.is_ascii_digit() || *b == b'.';
    bytes.iter().all(is_part).then(|| std::str::from_utf8(bytes).ok()?.parse().ok())?
}

/// Reads a numpy array, brackets included: `[  9.5   152.565]`.
pub(super) fn parse_array(bytes: &[u8]) -> Option<Vec<f64>> {
    let inner = bytes.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?;
    inner.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).map(parse_float).collect()
}

/// Reads a Python list of numbers, brackets included: `[151, 98.4, np.float64(3)]`.
pub(super) fn parse_list(bytes: &[u8]) -> Option<Vec<f64>> {
    parse_numbers(bytes.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?)
}

/// Reads numbers with commas between them; nothing is no numbers.
fn parse_numbers(inner: &[u8]) -> Option<Vec<f64>> {
    if inner.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    inner.split(|b| *b == b',').map(parse_float).collect()
}

/// Reads a list of samples, each a list of devices, and returns the mean of each device.
///
/// That is the form of 1.0.x: `[[100.0, 55.0], [300.0, 55.0]]` gives `[200.0, 55.0]`.
pub(super) fn parse_sample_means(bytes: &[u8]) -> Option<Vec<f64>> {
    let text = bytes.trim_ascii();
    if text == b"[]" {
        return Some(Vec::new());
    }
    // Both brackets: a list torn after a sample must not pass for one of fewer samples.
    let mut rest = Some(text.strip_prefix(b"[[")?.strip_suffix(b"]]")?);
    let mut sums: Vec<(f64, f64)> = Vec::new();
    while let Some(samples) = rest {
        let (sample, others) =
            split_once(samples, b"], [").map_or((samples, None), |(a, b)| (a, Some(b)));
        rest = others;
        for (device, value) in parse_numbers(sample)?.iter().enumerate() {
            if sums.len() == device {
                sums.push((0.0, 0.0));
            }
            let (sum, count) = &mut sums[device];
            *sum += value;
            *count += 1.0;
        }
    }
    Some(sums.iter().map(|(sum, count)| sum / count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_of_python_and_numpy_are_read() {
        for (text, value) in [
            ("127.5", 127.5),
            ("200.", 200.0),
            ("8.4e-05", 8.4e-5),
            ("1e+16", 1e16),
            (" -0.5 ", -0.5),
            ("np.float64(151.65)", 151.65),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        assert!(parse_float(b"nan").is_some_and(f64::is_nan));
        for text in ["", "None", "1,5", "infinity", "0x10", "np.float64(1", "1 2", "\u{661}"] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn plain_numbers_are_what_the_standard_library_says() {
        let mut state = 1_u64;
        for n in 0..400_000_u64 {
            // Digits of a linear congruential generator, cut to 1 to 19, and a point anywhere.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n | 1);
            let mut text = (state % 10_u64.pow(u32::try_from(n % 19).unwrap() + 1)).to_string();
            let at = usize::try_from(state >> 40).unwrap() % (text.len() + 2);
            if (1..=text.len()).contains(&at) {
                text.insert(at, '.');
            }
            assert_eq!(plain_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        // Halfway between two floats, just below and just above; the most; a point behind.
        for text in [
            "9007199254740993",
            "9007199254740992.999",
            "9007199254740993.001",
            "900719925474099.25",
            "4503599627370496.5",
            "4503599627370497.5",
            "4503599627370496.501",
            "9999999999999999999",
            "9.999999999999999999",
            "9999999999999999999.",
            "0.000000000000000001",
        ] {
            assert_eq!(plain_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", ".", ".5", "1.2.3", "-1", "1e3", "12345678901234567890"] {
            assert_eq!(plain_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn durations_of_all_versions_are_read() {
        for (text, seconds) in [
            ("0:00:24", 24.0),
            ("0:00:6.03", 6.03),
            ("123:20:34", 444_034.0),
            ("-0:00:05", -5.0),
            ("0:00:06.004870 s", 6.00487),
            // 4 * 86400 + 3 * 3600 + 25 * 60 + 45
            ("4 days, 3:25:45", 357_945.0),
            ("-1 day, 23:59:59", -1.0),
        ] {
            assert_eq!(parse_duration(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in ["", "0:00", "0:00:", "1:2:3:4", "x days, 0:00:01", "0:0.5:00", "0:00:+1"] {
            assert_eq!(parse_duration(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn arrays_and_lists_are_read() {
        assert_eq!(parse_array(b"[  9.5   152.565]"), Some(vec![9.5, 152.565]));
        assert_eq!(parse_array(b"[1. 2.\n 3.]"), Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(parse_array(b"[4.000e-03 3.125e+02]"), Some(vec![0.004, 312.5]));
        assert_eq!(parse_array(b"[1. 2."), None);
        assert_eq!(parse_list(b"[151, np.float64(98)]"), Some(vec![151.0, 98.0]));
        assert_eq!(parse_list(b"[]"), Some(vec![]));
    }

    #[test]
    fn samples_are_averaged_device_by_device() {
        let means = parse_sample_means(b"[[100.0, 55.0], [300.0, 55.0]]");
        assert_eq!(means, Some(vec![200.0, 55.0]));
        assert_eq!(parse_sample_means(b"[]"), Some(vec![]));
        assert_eq!(parse_sample_means(b"[[], [3.0]]"), Some(vec![3.0]));
        for text in ["[[100.0", "[[100.0]", "[100.0]", "[[1.0], 2.0]", "[[1.0]]]"] {
            assert_eq!(parse_sample_means(text.as_bytes()), None, "{text}");
        }
    }
}
