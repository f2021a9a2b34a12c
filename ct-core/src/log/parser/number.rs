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
    if let Some(value) = short_decimal(text) {
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

/// Reads `127.5`, as nearly all numbers of a log are: up to 15 digits, with a point among or behind
/// them. The digits and the power of ten are exact, so that their quotient is rounded once, as by the
/// standard library.
fn short_decimal(text: &[u8]) -> Option<f64> {
    if text.len() > 16 {
        return None;
    }
    let (mut digits, mut n_digits, mut n_decimals) = (0_u64, 0_usize, None);
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                digits = digits * 10 + u64::from(byte - b'0');
                n_digits += 1;
                n_decimals = n_decimals.map(|n| n + 1);
            }
            b'.' if n_decimals.is_none() => n_decimals = Some(0),
            _ => return None,
        }
    }
    ((1..=15).contains(&n_digits) && text[0] != b'.')
        .then(|| digits as f64 / POWERS_OF_TEN[n_decimals.unwrap_or(0)])
}

/// Exact, as all up to 10^22 are.
const POWERS_OF_TEN: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

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
    let seconds = unsigned(hours, false)? * 3600.0
        + unsigned(minutes, false)? * 60.0
        + unsigned(seconds, true)?;
    Some(days * 86_400.0 + sign * seconds)
}

/// Reads `4 days` or `-1 day`.
fn parse_days(text: &[u8]) -> Option<f64> {
    let number = text.strip_suffix(b" days").or_else(|| text.strip_suffix(b" day"))?;
    let (sign, number) = number.strip_prefix(b"-").map_or((1.0, number), |rest| (-1.0, rest));
    Some(sign * unsigned(number, false)?)
}

fn unsigned(bytes: &[u8], has_decimals: bool) -> Option<f64> {
    if let Some(value) = short_decimal(bytes).filter(|_| has_decimals || !bytes.contains(&b'.')) {
        return Some(value);
    }
    let is_part = |b: &u8| b.is_ascii_digit() || (has_decimals && *b == b'.');
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
    fn short_numbers_are_what_the_standard_library_says() {
        let mut state = 1_u64;
        for n in 0..200_000_u64 {
            // Digits of a linear congruential generator, cut to 1 to 15, and a point anywhere.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n | 1);
            let mut text = (state % 10_u64.pow(u32::try_from(n % 15).unwrap() + 1)).to_string();
            let at = usize::try_from(state >> 40).unwrap() % (text.len() + 2);
            if (1..=text.len()).contains(&at) {
                text.insert(at, '.');
            }
            assert_eq!(short_decimal(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", ".", ".5", "1.2.3", "-1", "1e3", "1234567890123456"] {
            assert_eq!(short_decimal(text.as_bytes()), None, "{text}");
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
