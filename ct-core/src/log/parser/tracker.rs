//! Which blocks of an output log are one tracker's.

use super::block::{Block, BlockKind, Event, OutputLog};

/// The blocks of one tracker, as indices into [`OutputLog::blocks`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracker {
    /// The prediction.
    pub predicted: Option<usize>,
    /// What was measured.
    pub actual: Option<usize>,
}

impl Tracker {
    fn is_empty(&self) -> bool {
        self.predicted.is_none() && self.actual.is_none()
    }

    fn slot(&mut self, kind: BlockKind) -> &mut Option<usize> {
        match kind {
            BlockKind::Actual => &mut self.actual,
            BlockKind::Predicted => &mut self.predicted,
        }
    }
}

/// How the trackers of a file relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One tracker; the last block of each kind is its own.
    One,
    /// One after the other.
    Sequential,
    /// Several at once, as trackers of one process of 1.x share their files.
    Interleaved,
}

/// Trackers that run at once; a search among them is to stay short.
const OPEN_MAX: usize = 32;

/// Parts the blocks of a log by tracker.
pub(super) fn trackers(log: &OutputLog<'_>, order: Order) -> Vec<Tracker> {
    let mut all: Vec<Tracker> = Vec::new();
    let mut open: Vec<Tracker> = Vec::new();
    for event in &log.events {
        match (*event, order) {
            (Event::Block(index), _) => {
                place(&mut all, &mut open, &log.blocks[index], index, order);
            }
            (Event::Started, Order::Sequential) => all.append(&mut open),
            (Event::Finished, Order::Sequential | Order::Interleaved) => {
                let done = open.iter().position(|t| t.actual.is_some());
                let done = done.or((!open.is_empty()).then_some(0));
                all.extend(done.map(|at| open.remove(at)));
            }
            _ => {}
        }
    }
    all.append(&mut open);
    all.retain(|tracker| !tracker.is_empty());
    all
}

fn place(
    all: &mut Vec<Tracker>,
    open: &mut Vec<Tracker>,
    block: &Block<'_>,
    index: usize,
    order: Order,
) {
    let slots = open.iter_mut().map(|tracker| tracker.slot(block.kind));
    let mut free = slots.filter(|slot| order == Order::One || slot.is_none());
    if let Some(slot) = free.next() {
        *slot = Some(index);
        return;
    }
    match order {
        Order::Sequential => all.append(open),
        _ if open.len() >= OPEN_MAX => all.push(open.remove(0)),
        _ => {}
    }
    let mut tracker = Tracker::default();
    *tracker.slot(block.kind) = Some(index);
    open.push(tracker);
}

/// Guesses the order where no standard log tells it.
pub(super) fn guess_order(log: &OutputLog<'_>) -> Order {
    let count = |wanted: Event| log.events.iter().filter(|e| **e == wanted).count();
    let of_kind = |kind| log.blocks.iter().filter(|b| b.kind == kind).count();
    let (started, finished) = (count(Event::Started), count(Event::Finished));
    if started <= 1 && finished <= 1 && of_kind(BlockKind::Predicted) <= 1 {
        return Order::One;
    }
    // Two that start before the first has finished, and both finish: they ran at once.
    let mut running = 0_usize;
    let mut most = 0;
    for event in &log.events {
        match event {
            Event::Started => running += 1,
            Event::Finished => running = running.saturating_sub(1),
            Event::Block(_) => {}
        }
        most = most.max(running);
    }
    if most > 1 && finished == started { Order::Interleaved } else { Order::Sequential }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::parser::parse_output;

    /// A log of events: `S`tarted, `P`redicted, `A`ctual, `F`inished.
    fn log(events: &str) -> String {
        let tail = "\tTime:\t0:00:01\n\tEnergy:\t1.0 kWh\n\tCO2eq:\t1.0 g\n";
        let message = |event| match event {
            'S' => "The following components were found: CPU with device(s) x.\n".to_owned(),
            'P' => format!("\nPredicted consumption for 9 epoch(s):\n{tail}"),
            'A' => format!("\nActual consumption for 9 epoch(s):\n{tail}"),
            _ => "Finished monitoring.\n".to_owned(),
        };
        let record = |e| format!("2020-05-17 19:02:17 - CarbonTracker: {}", message(e));
        events.chars().map(record).collect()
    }

    fn pairs(events: &str, order: Order) -> Vec<(Option<usize>, Option<usize>)> {
        let text = log(events);
        let all = trackers(&parse_output(text.as_bytes()), order);
        all.iter().map(|t| (t.predicted, t.actual)).collect()
    }

    #[test]
    fn trackers_one_after_the_other_are_parted() {
        let both = [(Some(0), Some(1)), (Some(2), Some(3))];
        assert_eq!(pairs("PAFPAF", Order::Sequential), both);
        assert_eq!(pairs("SPAFSPAF", Order::Sequential), both);
        assert_eq!(pairs("APFAPF", Order::Sequential), [(Some(1), Some(0)), (Some(3), Some(2))]);
        assert_eq!(pairs("SAFSAF", Order::Sequential), [(None, Some(0)), (None, Some(1))]);
    }

    #[test]
    fn a_killed_tracker_leaves_its_prediction_alone() {
        let killed_first = [(Some(0), None), (Some(1), Some(2))];
        assert_eq!(pairs("SPSPAF", Order::Sequential), killed_first);
        assert_eq!(pairs("PPAF", Order::Sequential), killed_first);
        assert_eq!(pairs("SPSAF", Order::Sequential), [(Some(0), None), (None, Some(1))]);
    }

    #[test]
    fn trackers_at_once_each_get_a_pair() {
        let pairs = |events| pairs(events, Order::Interleaved);
        assert_eq!(pairs("SSPPAFAF"), [(Some(0), Some(2)), (Some(1), Some(3))]);
        assert_eq!(pairs("SSAAPFPF"), [(Some(2), Some(0)), (Some(3), Some(1))]);
    }

    #[test]
    fn one_trackers_last_block_counts() {
        assert_eq!(pairs("SPAAF", Order::One), [(Some(0), Some(2))]);
    }

    #[test]
    fn the_order_is_guessed_from_starts_and_ends() {
        let guess = |events| guess_order(&parse_output(log(events).as_bytes()));
        assert_eq!(guess("SPAAF"), Order::One);
        assert_eq!(guess("SPAFSPAF"), Order::Sequential);
        assert_eq!(guess("SPSPAF"), Order::Sequential);
        assert_eq!(guess("SSPPAFAF"), Order::Interleaved);
    }
}
