//! The output log: consumption blocks, and the records that part one tracker's from the next.

use std::borrow::Cow;

use super::line::{Line, lines, split_once, split_prefix};
use super::number::{parse_duration, parse_float};
use super::{Skipped, excerpt};

/// What a block tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// What was measured.
    Actual,
    /// What is expected for all epochs.
    Predicted,
}

/// A consumption block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block<'a> {
    /// Measured or predicted.
    pub kind: BlockKind,
    /// Epochs it is for; `None` where the title does not say.
    pub epochs: Option<i64>,
    /// Time in seconds; `None` where it could not be read.
    pub duration_s: Option<f64>,
    /// Energy in kWh, PUE included; may be NaN.
    pub energy_kwh: f64,
    /// Footprint in gCO2e; may be NaN.
    pub co2eq_g: f64,
    /// Equivalents, unit and value, in the log's order; `None` where there are none.
    pub equivalents: Option<Vec<(Cow<'a, str>, f64)>>,
    /// Line of the title, from 1.
    pub line: usize,
}

/// What stands in an output log, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The component record: a tracker started.
    Started,
    /// A block, by its index.
    Block(usize),
    /// `Finished monitoring.`
    Finished,
}

/// An output log, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputLog<'a> {
    /// Complete blocks in the order of the file.
    pub blocks: Vec<Block<'a>>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
    pub(super) events: Vec<Event>,
}

/// Reads an output log, `…_carbontracker_output.log`.
///
/// A block counts only if its time, energy and CO2eq lines are complete: a torn number is no
/// smaller number.
pub fn parse_output(bytes: &[u8]) -> OutputLog<'_> {
    let mut log = OutputLog::default();
    let mut lines = lines(bytes).peekable();
    let mut has_records = false;
    while let Some(line) = lines.next() {
        let prefixed = split_prefix(line.text);
        let text = prefixed.map_or(line.text, |(_, message)| message).trim_ascii();
        let text = text.strip_prefix(b"CarbonTracker:").unwrap_or(text).trim_ascii_start();
        has_records |= prefixed.is_some();
        if text.starts_with(b"The following components were found:") {
            log.events.push(Event::Started);
        } else if text == b"Finished monitoring." {
            log.events.push(Event::Finished);
        } else if let Some((kind, epochs)) = parse_title(text) {
            has_records = true;
            let is_next = |next: &Line<'_>| {
                split_prefix(next.text).is_none() && parse_title(next.text.trim_ascii()).is_none()
            };
            match read_block(line, kind, epochs, || lines.next_if(is_next)) {
                Ok(block) => {
                    log.events.push(Event::Block(log.blocks.len()));
                    log.blocks.push(block);
                }
                Err(skipped) => log.skipped.push(skipped),
            }
        }
    }
    if !has_records && !bytes.is_empty() {
        log.skipped.push(Skipped::new(1, "no record with date and time in the whole file"));
    }
    log
}

/// Reads `Actual consumption for 3 epoch(s):` and its relatives.
fn parse_title(text: &[u8]) -> Option<(BlockKind, Option<i64>)> {
    let (kind, rest) = [
        (BlockKind::Actual, &b"Actual consumption"[..]),
        (BlockKind::Predicted, b"Predicted consumption"),
        (BlockKind::Predicted, b"Prediction"),
    ]
    .into_iter()
    .find_map(|(kind, title)| Some((kind, text.strip_prefix(title)?)))
    .or_else(|| Some((BlockKind::Actual, text.strip_prefix(b"First ")?)))?;
    if rest == b":" {
        return Some((kind, None));
    }
    let number = rest.strip_prefix(b" for ").or_else(|| text.strip_prefix(b"First "))?;
    let number = number.strip_suffix(b":")?;
    let (number, unit) = split_once(number, b" ")?;
    let is_epochs = matches!(unit, b"epoch(s)" | b"epochs" | b"epoch");
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    is_epochs.then_some((kind, Some(number)))
}

/// Reads the lines below a title; `next` gives them as long as they belong to the same record.
fn read_block<'a>(
    title: Line<'a>,
    kind: BlockKind,
    epochs: Option<i64>,
    mut next: impl FnMut() -> Option<Line<'a>>,
) -> Result<Block<'a>, Skipped> {
    let mut field = |name: &str, unit: &[u8]| {
        let line = next().ok_or_else(|| torn(title.number, name, b""))?;
        let value = line.text.trim_ascii().strip_prefix(name.as_bytes());
        let value = value.and_then(|v| v.trim_ascii().strip_suffix(unit));
        value.map(<[u8]>::trim_ascii).ok_or_else(|| torn(line.number, name, line.text))
    };
    let duration_s = parse_duration(field("Time:", b"")?);
    let energy = field("Energy:", b"kWh")?;
    let co2eq = field("CO2eq:", b"g")?;
    let number = |name, value| parse_float(value).ok_or_else(|| torn(title.number, name, value));
    Ok(Block {
        kind,
        epochs,
        duration_s,
        energy_kwh: number("Energy:", energy)?,
        co2eq_g: number("CO2eq:", co2eq)?,
        equivalents: read_equivalents(next),
        line: title.number,
    })
}

fn torn(line: usize, name: &str, seen: &[u8]) -> Skipped {
    let seen = excerpt(seen.trim_ascii());
    Skipped::new(
        line,
        format!("consumption block is torn: \"{seen}\", expected \"{name}\" and its value"),
    )
}

/// Equivalents of one block; upstream knows one, and a search among them is to stay short.
const EQUIVALENTS_MAX: usize = 32;

/// Reads the lines under `This is equivalent to:`, up to the first that is no number and unit.
fn read_equivalents<'a>(
    mut next: impl FnMut() -> Option<Line<'a>>,
) -> Option<Vec<(Cow<'a, str>, f64)>> {
    if next()?.text.trim_ascii() != b"This is equivalent to:" {
        return None;
    }
    let mut found = Vec::new();
    while found.len() < EQUIVALENTS_MAX
        && let Some(line) = next()
    {
        let Some((value, unit)) = split_once(line.text.trim_ascii(), b" ") else { break };
        let unit = unit.trim_ascii_start();
        // The unit of a torn line may be torn, too.
        let is_unit = line.is_whole || unit == b"km travelled by car";
        let Some(value) = parse_float(value).filter(|_| is_unit) else { break };
        found.reserve_exact(1);
        found.push((String::from_utf8_lossy(unit), value));
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "\tTime:\t0:00:24\n\tEnergy:\t0.5 kWh\n\tCO2eq:\t2.5 g\n";

    fn title(text: &str) -> Option<(BlockKind, Option<i64>)> {
        parse_title(text.as_bytes())
    }

    #[test]
    fn titles_of_all_versions_are_known() {
        use BlockKind::{Actual, Predicted};
        assert_eq!(title("Actual consumption for 3 epoch(s):"), Some((Actual, Some(3))));
        assert_eq!(title("Predicted consumption for 100 epoch(s):"), Some((Predicted, Some(100))));
        assert_eq!(title("Actual consumption:"), Some((Actual, None)));
        assert_eq!(title("First 2 epoch(s):"), Some((Actual, Some(2))));
        assert_eq!(title("Prediction for 9 epoch(s):"), Some((Predicted, Some(9))));
        for text in ["Actual consumption", "First things first:", "Prediction for x epoch(s):"] {
            assert_eq!(title(text), None, "{text}");
        }
    }

    #[test]
    fn blocks_without_equivalents_and_without_prefix_are_read() {
        let text = format!("CarbonTracker: \nActual consumption for 3 epoch(s):\n{TAIL}");
        let log = parse_output(text.as_bytes());
        let block = &log.blocks[0];
        assert_eq!((block.duration_s, block.energy_kwh, block.co2eq_g), (Some(24.0), 0.5, 2.5));
        assert_eq!((block.equivalents.as_ref(), block.line), (None, 2));
    }

    #[test]
    fn the_oldest_block_is_read() {
        let text = "2020-05-17 19:02:17,989 - MainThread - INFO - CarbonTracker: \n\
                    First 1 epoch(s):\n\tTime: 0:00:06.004870 s\n\tEnergy: 0.0012 kWh\n\
                    \tCO2eq: 0.3530 g\n\tThis is equivalent to:\n\t0.002932 km travelled by car";
        let block = parse_output(text.as_bytes()).blocks.remove(0);
        assert_eq!((block.duration_s, block.energy_kwh), (Some(6.00487), 0.0012));
        assert_eq!(block.equivalents.unwrap()[0], ("km travelled by car".into(), 0.002932));
    }

    #[test]
    fn a_torn_block_is_reported_and_does_not_count() {
        let text = format!("Actual consumption:\n{TAIL}");
        for cut in [20, 30, 45, text.len() - 3] {
            let log = parse_output(&text.as_bytes()[..cut]);
            assert_eq!((log.blocks.len(), log.skipped.len()), (0, 1), "cut at {cut}");
        }
    }

    #[test]
    fn a_block_cut_off_by_another_record_does_not_take_its_lines() {
        let text = format!(
            "2020-05-17 19:02:17 - CarbonTracker: \nActual consumption:\n\tTime:\t0:00:01\n\
             2020-05-17 19:02:18 - CarbonTracker: \nActual consumption for 1 epoch(s):\n{TAIL}"
        );
        let log = parse_output(text.as_bytes());
        assert_eq!(log.blocks.iter().map(|b| b.epochs).collect::<Vec<_>>(), [Some(1)]);
        assert_eq!(log.skipped.len(), 1);
    }

    #[test]
    fn a_title_without_lines_does_not_take_the_next_title() {
        let text = format!("Actual consumption:\nActual consumption for 2 epoch(s):\n{TAIL}");
        let log = parse_output(text.as_bytes());
        assert_eq!(log.blocks.iter().map(|b| b.epochs).collect::<Vec<_>>(), [Some(2)]);
        assert_eq!(log.skipped.len(), 1);
    }

    #[test]
    fn nan_is_a_value_and_equivalents_end_at_what_is_none() {
        let text = "Actual consumption:\n\tTime:\t0:00:24\n\tEnergy:\tnan kWh\n\tCO2eq:\t2.5 g\n\
                    \tThis is equivalent to:\n\t1.25 phones charged\n\tabc of x\n\t2 km\n";
        let log = parse_output(text.as_bytes());
        assert!(log.blocks[0].energy_kwh.is_nan());
        let equivalents = log.blocks[0].equivalents.as_ref().unwrap();
        assert_eq!(equivalents, &[(Cow::from("phones charged"), 1.25)]);
    }
}
