//! The rest of a node: what its own meter sees beyond CPUs, memory and GPUs.
//!
//! In whole microjoules. The meters are read at slightly different instants and the node's own one
//! is the slowest, so over a short interval the parts may seem to have drawn more than the whole:
//! what would be negative is taken off the next intervals, and the sum over many is exact.

use serde::{Deserialize, Serialize};

use super::health::Step;
use crate::sample::{DeviceEnergy, Moment};
use crate::units::Microjoules;

/// The same as it is kept across a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptRest {
    balance_uj: i64,
    is_void: bool,
    told: Option<Moment>,
}

/// What the node's meter counted and was not yet told.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Microjoules of the node beyond its parts; negative where the parts are ahead.
    balance_uj: i128,
    /// Whether energy of a part was lost: what the balance holds is then of nobody knows whom.
    is_void: bool,
    /// The end of the last interval whose rest was told.
    told: Option<Moment>,
}

impl Rest {
    /// Goes on where an earlier life ended.
    pub(super) fn resume(&mut self, kept: &KeptRest) {
        let KeptRest { balance_uj, is_void, told } = *kept;
        *self = Self { balance_uj: balance_uj.into(), is_void, told };
    }

    /// What is to be kept for the next life.
    pub(super) fn kept(&self) -> KeptRest {
        let balance_uj = i64::try_from(self.balance_uj).unwrap_or_default();
        KeptRest { balance_uj, is_void: self.is_void, told: self.told }
    }

    /// The rest of an interval, known once the node and all its parts answered; until then it is
    /// carried to the next.
    pub(super) fn advance(
        &mut self,
        node: &Step,
        parts: &[Step],
        last: Moment,
        at: Moment,
    ) -> DeviceEnergy {
        let parts_uj: i128 = parts.iter().map(|s| i128::from(s.drawn.energy.as_u64())).sum();
        self.balance_uj += i128::from(node.drawn.energy.as_u64()) - parts_uj;
        let mut all = parts.iter().chain([node]);
        self.is_void |= all.clone().any(|s| s.is_lost);
        let since = *self.told.get_or_insert(last);
        let unknown = DeviceEnergy { span: at.since(&last), ..DeviceEnergy::default() };
        if !all.all(|s| s.is_current) {
            return unknown;
        }
        if self.is_void {
            *self = Self { told: Some(at), ..Self::default() };
            return unknown;
        }
        let energy = u64::try_from(self.balance_uj).unwrap_or(0);
        self.balance_uj -= i128::from(energy);
        self.told = Some(at);
        DeviceEnergy { energy: Microjoules::new(energy), answered: true, span: at.since(&since) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(s: u64) -> Moment {
        let wall = chrono::DateTime::from_timestamp(1_700_000_000 + s as i64, 0).unwrap();
        Moment { since_boot: Duration::from_secs(s), wall }
    }

    fn step(answer: Option<u64>) -> Step {
        let energy = Microjoules::new(answer.unwrap_or(0));
        let drawn = DeviceEnergy { energy, answered: answer.is_some(), span: Duration::ZERO };
        Step { drawn, is_current: answer.is_some(), is_lost: false }
    }

    /// The rest of intervals of a second: node, parts.
    fn rest_of(intervals: &[(Option<u64>, [Option<u64>; 2])]) -> Vec<(u64, bool, u64)> {
        let mut rest = Rest::default();
        let intervals = intervals.iter().zip(0..);
        let of = |((node, parts), s): (&(Option<u64>, [Option<u64>; 2]), u64)| {
            let drawn = rest.advance(&step(*node), &parts.map(step), at(s), at(s + 1));
            (drawn.energy.as_u64(), drawn.answered, drawn.span.as_secs())
        };
        intervals.map(of).collect()
    }

    #[test]
    fn the_rest_is_the_node_without_its_parts() {
        let rest =
            rest_of(&[(Some(500), [Some(200), Some(250)]), (Some(600), [Some(600), Some(0)])]);
        assert_eq!(rest, [(50, true, 1), (0, true, 1)]);
    }

    #[test]
    fn what_would_be_negative_is_taken_off_the_next() {
        let rest = rest_of(&[
            (Some(400), [Some(450), Some(50)]),
            (Some(600), [Some(450), Some(100)]),
            (Some(600), [Some(450), Some(50)]),
        ]);
        // -100; 50, of which -50 are still owed; 100, of which 50.
        assert_eq!(rest, [(0, true, 1), (0, true, 1), (50, true, 1)]);
    }

    #[test]
    fn an_interval_without_all_answers_is_carried_to_the_next() {
        let rest = rest_of(&[
            (Some(500), [Some(200), None]),
            (None, [Some(200), None]),
            (Some(1000), [Some(200), Some(600)]),
        ]);
        // 500 + 1000 of the node, 200 + 200 + 200 + 600 of its parts, in three seconds.
        assert_eq!(rest, [(0, false, 1), (0, false, 1), (300, true, 3)]);
    }

    #[test]
    fn energy_lost_by_a_part_is_not_taken_for_rest() {
        let mut rest = Rest::default();
        let mut advance = |s, node: Step, part: Step| {
            let drawn = rest.advance(&node, &[part], at(s), at(s + 1));
            (drawn.energy.as_u64(), drawn.answered)
        };
        assert_eq!(advance(0, step(Some(500)), step(None)), (0, false));
        let lost = Step { is_lost: true, ..step(Some(200)) };
        assert_eq!(advance(1, step(Some(500)), lost), (0, false));
        assert_eq!(advance(2, step(Some(500)), step(Some(450))), (50, true));
        // The node's own answer is still to come when a part loses energy.
        assert_eq!(advance(3, step(None), lost), (0, false));
        assert_eq!(advance(4, step(Some(1500)), step(Some(450))), (0, false));
        assert_eq!(advance(5, step(Some(500)), step(Some(450))), (50, true));
    }

    #[test]
    fn the_balance_outlives_the_daemon() {
        let mut rest = Rest::default();
        rest.advance(&step(Some(400)), &[step(Some(500))], at(0), at(1));
        let mut next = Rest::default();
        next.resume(&rest.kept());
        let drawn = next.advance(&step(Some(700)), &[step(Some(500))], at(1), at(2));
        assert_eq!(drawn.energy.as_u64(), 100);
    }

    /// A rest that goes on from a kept one, as serde writes it.
    fn of_the_next_life(rest: &Rest) -> Rest {
        let json = serde_json::to_string(&rest.kept()).unwrap();
        let mut next = Rest::default();
        next.resume(&serde_json::from_str(&json).unwrap());
        next
    }

    #[test]
    fn a_restart_in_an_outage_keeps_when_the_rest_was_told_and_that_it_is_void() {
        let mut rest = Rest::default();
        rest.advance(&step(Some(500)), &[step(Some(450))], at(0), at(1));
        rest.advance(&step(None), &[step(Some(450))], at(1), at(2));
        let mut next = of_the_next_life(&rest);
        let drawn = next.advance(&step(Some(1500)), &[step(Some(450))], at(4), at(5));
        // Of the four seconds since it was told: 1500 of the node, 900 of the part.
        assert_eq!((drawn.energy.as_u64(), drawn.span.as_secs()), (600, 4));
        let lost = Step { is_lost: true, ..step(Some(200)) };
        next.advance(&step(None), &[lost], at(5), at(6));
        let mut last = of_the_next_life(&next);
        let drawn = last.advance(&step(Some(1500)), &[step(Some(450))], at(6), at(7));
        assert_eq!((drawn.energy.as_u64(), drawn.answered), (0, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 10_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn parts_and_rest_sum_to_the_node(
            intervals in proptest::collection::vec(
                (0..2000_u64, proptest::option::of(0..600_u64), proptest::option::of(0..600_u64)),
                1..60,
            ),
        ) {
            let mut rest = Rest::default();
            let (mut node, mut parts, mut told, mut s) = (0, 0, 0, 0);
            // At the end all answer, and the node has drawn more than was owed.
            for (n, a, b) in intervals.into_iter().chain([(100_000, Some(1), Some(1))]) {
                let steps = [step(a), step(b)];
                told += rest.advance(&step(Some(n)), &steps, at(s), at(s + 1)).energy.as_u64();
                node += n;
                parts += a.unwrap_or(0) + b.unwrap_or(0);
                s += 1;
            }
            prop_assert_eq!(told + parts, node);
        }
    }
}
