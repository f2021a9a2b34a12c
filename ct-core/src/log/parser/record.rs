//! What a message of the standard log says.

use std::borrow::Cow;

use super::components::{Devices, parse_components};
use super::line::{rsplit_once, split_once};
use super::number::{parse_float, parse_list};
use super::session::Writer;

const VERSION: &[u8] = b"carbontracker version ";
const SIMULATED: &[u8] = b"Using simulated ";
const COMPONENTS: &[u8] = b"The following components were found:";

/// A message of the standard log, as far as it matters.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Version(Cow<'a, str>, Writer),
    Pue(f64),
    Components(Vec<Devices<'a>>),
    /// `Epoch N:`, written when the epoch ends.
    Epoch(u64),
    /// `Epoch N started.`, up to 1.0.6.
    EpochStarted(u64),
    /// `Epoch N ended.`, up to 1.0.6.
    EpochEnded(u64),
    Duration(&'a [u8]),
    /// Component and value, which may go on in the next lines.
    Power(&'a [u8], &'a [u8]),
    /// Component and list of samples, up to 1.0.6.
    Samples(&'a [u8], &'a [u8]),
    Intensities(Option<Vec<f64>>, Cow<'a, str>),
    MeanIntensity(Option<f64>, Option<Cow<'a, str>>),
    Interrupted(Option<i64>),
    Ended,
    /// Components are simulated; only carbontracker-slurm writes so, Python's tells the terminal.
    Simulated,
    /// The monitoring's start and what else shows that a log is one of carbontracker's.
    Other,
}

/// Reads a message; `None` is one that says nothing this parser needs.
pub(super) fn parse_message(text: &[u8]) -> Option<Message<'_>> {
    // By its first letter: a log is mostly epochs, durations and powers.
    match text.first()? {
        b'A' => power(text).or_else(|| intensity(text)),
        b'D' => text.strip_prefix(b"Duration: ").map(Message::Duration),
        b'E' => epoch(text),
        b'P' => power(text),
        b'C' => intensity(text),
        b'U' if text.starts_with(SIMULATED) => Some(Message::Simulated),
        b'c' if text.starts_with(VERSION) => Some(version(&text[VERSION.len()..])),
        b'T' if text.starts_with(COMPONENTS) => {
            Some(Message::Components(parse_components(&text[COMPONENTS.len()..])))
        }
        _ => None,
    }
    .or_else(|| status(text))
}

fn version(rest: &[u8]) -> Message<'_> {
    let (number, writer) = split_once(rest, b" ").unwrap_or((rest, b""));
    let is_ours = writer.trim_ascii() == b"(carbontracker-slurm)";
    let writer = if is_ours { Writer::Slurm } else { Writer::Python };
    Message::Version(String::from_utf8_lossy(number), writer)
}

fn epoch(text: &[u8]) -> Option<Message<'_>> {
    let rest = text.strip_prefix(b"Epoch ")?;
    if let Some(number) = rest.strip_suffix(b":") {
        return number_of(number).map(Message::Epoch);
    }
    let (number, what) = split_once(rest, b" ")?;
    match what {
        b"started." => number_of(number).map(Message::EpochStarted),
        b"ended." => number_of(number).map(Message::EpochEnded),
        _ => None,
    }
}

fn power(text: &[u8]) -> Option<Message<'_>> {
    if let Some(rest) = text.strip_prefix(b"Average power usage (W) for ") {
        let (component, value) = split_once(rest, b":")?;
        return Some(Message::Power(component, value));
    }
    let rest = text.strip_prefix(b"Power usages ")?;
    let rest = rest.strip_prefix(b"(W) ").unwrap_or(rest).strip_prefix(b"for ")?;
    let (component, value) = split_once(rest, b":")?;
    Some(Message::Samples(component, value))
}

fn intensity(text: &[u8]) -> Option<Message<'_>> {
    if text.starts_with(b"Carbon intensities (") {
        let (place, list) = rsplit_once(place_in(text)?, b": [")?;
        let list = parse_list(&[b"[", list].concat());
        return Some(Message::Intensities(list, String::from_utf8_lossy(place)));
    }
    let rest = text.strip_prefix(b"Average carbon intensity during training was ")?;
    let mean = rest.split(|b| *b == b' ').next().and_then(parse_float);
    let place = place_in(text).map(|p| String::from_utf8_lossy(p.strip_suffix(b".").unwrap_or(p)));
    Some(Message::MeanIntensity(mean, place))
}

/// What follows `at detected location`, with a colon or without.
fn place_in(text: &[u8]) -> Option<&[u8]> {
    let (_, place) = split_once(text, b"at detected location")?;
    let place = place.trim_ascii();
    Some(place.strip_prefix(b":").unwrap_or(place).trim_ascii_start())
}

fn status(text: &[u8]) -> Option<Message<'_>> {
    const INTERRUPTED: &[u8] = b"Training was interrupted before all ";
    if let Some((head, rest)) = text.split_at_checked(INTERRUPTED.len())
        && head.eq_ignore_ascii_case(INTERRUPTED)
    {
        let number = rest.split(|b| *b == b' ').next();
        let number = number.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
        return Some(Message::Interrupted(number));
    }
    match text {
        b"Monitoring thread ended." => return Some(Message::Ended),
        b"Monitoring thread started." | b"Session ended by user." => return Some(Message::Other),
        _ => {}
    }
    let (_, rest) = split_once(text, b"PUE coefficient of ")?;
    rest.split(|b| *b == b' ').next().and_then(parse_float).map(Message::Pue)
}

fn number_of(bytes: &[u8]) -> Option<u64> {
    let add = |number: u64, byte: &u8| {
        let digit = byte.wrapping_sub(b'0');
        number.checked_mul(10)?.checked_add(digit.into()).filter(|_| digit < 10)
    };
    bytes.iter().try_fold(0, add).filter(|_| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(text: &str) -> (Vec<f64>, String) {
        match parse_message(text.as_bytes()) {
            Some(Message::Intensities(Some(list), place)) => (list, place.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_are_found_with_and_without_colon() {
        let new = "Carbon intensities (gCO2eq/kWh) fetched every 900 s at detected location: \
                   Copenhagen, Capital Region, DK: [123.0, 98.4]";
        assert_eq!(place_of(new), (vec![123.0, 98.4], "Copenhagen, Capital Region, DK".to_owned()));
        let old = "Carbon intensities (gCO2/kWh) fetched every 900 s at detected location \
                   UNDETECTED: [np.float64(475)]";
        assert_eq!(place_of(old), (vec![475.0], "UNDETECTED".to_owned()));
    }

    #[test]
    fn the_mean_is_read_with_and_without_a_place() {
        let read = |text: &str| match parse_message(text.as_bytes()) {
            Some(Message::MeanIntensity(mean, place)) => (mean, place.map(Cow::into_owned)),
            other => panic!("{other:?}"),
        };
        let prefix = "Average carbon intensity during training was 445.00 ";
        assert_eq!(read(&format!("{prefix}gCO2eq/kWh. ")), (Some(445.0), None));
        let text = format!("{prefix}gCO2/kWh at detected location: St. Ives, GB.");
        assert_eq!(read(&text), (Some(445.0), Some("St. Ives, GB".to_owned())));
    }

    #[test]
    fn the_pue_is_taken_from_the_text() {
        let text = "Only predicted and actual consumptions are multiplied by a PUE coefficient of \
                    1.59 (Rhonda Ascierto, 2019, Uptime Institute Global Data Center Survey).";
        assert!(matches!(parse_message(text.as_bytes()), Some(Message::Pue(pue)) if pue == 1.59));
    }

    #[test]
    fn our_own_version_is_known_by_its_name() {
        let read = |text: &str| match parse_message(text.as_bytes()) {
            Some(Message::Version(version, writer)) => (version.into_owned(), writer),
            other => panic!("{other:?}"),
        };
        assert_eq!(read("carbontracker version 2.4.7"), ("2.4.7".to_owned(), Writer::Python));
        assert_eq!(
            read("carbontracker version 0.1.0 (carbontracker-slurm)"),
            ("0.1.0".to_owned(), Writer::Slurm)
        );
    }

    #[test]
    fn an_interruption_is_read_in_any_case() {
        let text = b"TRAINING was interrupted before all -1 epochs were monitored.";
        assert!(matches!(parse_message(text), Some(Message::Interrupted(Some(-1)))));
    }
}
