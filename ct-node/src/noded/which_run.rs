//! Of which run an end is that comes without a start: its hook knows the job, and may count a run too
//! many.
//!
//! Slurm counts a run as soon as the one before is sent back, so the epilog of that one has the count of
//! the next (22.05 and 24.11). What slurmctld says of the job tells the two apart.

use chrono::{DateTime, Utc};
use ct_core::slurm::expand_hostlist;

use super::slurmctld::{Fate, Told};

/// What is to be done with such an end.
#[derive(Debug, PartialEq)]
pub(super) enum Which {
    /// It is of the run that its hook counted: go on as with any.
    Counted(Fate),
    /// It is of the run before that, which was sent back.
    Before(Told),
    /// It is of a run that was closed before: there is nothing new in it.
    Known,
}

/// Which run ended on this node at an instant, as its hook counted and as slurmctld answers.
pub(super) fn which(counted: u32, ended_at: DateTime<Utc>, node: &str, fate: Fate) -> Which {
    match fate {
        Fate::NeverWas => Which::Known,
        Fate::Alive(told) => before(counted, told),
        Fate::Ended(reason, told) => {
            // Slurm's times are whole seconds, rounded down.
            let has_begun = told.start.is_none_or(|start| start <= ended_at);
            let is_it = match told.is_last {
                true => has_begun && is_on(&told, node),
                // Sent back since, and no run was before it.
                false => counted == 0,
            };
            if is_it { Which::Counted(Fate::Ended(reason, told)) } else { before(counted, told) }
        }
        other => Which::Counted(other),
    }
}

/// Times and nodes are not those of the run before; whose it is is the same.
fn before(counted: u32, told: Told) -> Which {
    match counted {
        0 => Which::Known,
        _ => Which::Before(Told { start: None, end: None, nodes: None, is_last: false, ..told }),
    }
}

/// Whether the run that slurmctld tells of was on this node, as far as it says.
fn is_on(told: &Told, node: &str) -> bool {
    let nodes = told.nodes.as_deref();
    nodes.is_none_or(|nodes| expand_hostlist(nodes).iter().any(|other| other == node))
}

#[cfg(test)]
mod tests {
    use ct_core::record::EndReason;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 500_000_000).unwrap()
    }

    /// The last run, on these nodes since a second.
    fn last(second: i64, nodes: &str) -> Told {
        let start = DateTime::from_timestamp(1_700_000_000 + second, 0);
        Told { start, nodes: Some(nodes.to_owned()), is_last: true, ..told() }
    }

    fn told() -> Told {
        Told { user: Some("ann".to_owned()), ..Told::default() }
    }

    fn completed(told: Told) -> Fate {
        Fate::Ended(EndReason::Completed, told)
    }

    #[test]
    fn an_end_with_the_count_of_the_next_run_is_of_the_run_that_was_sent_back() {
        // Run 0 ended on n1 at second 10; its epilog counted 1.
        let of = |fate| which(1, at(10), "n1", fate);
        assert_eq!(of(Fate::Alive(last(130, "n1"))), Which::Before(told()), "run 1 waits");
        assert_eq!(of(completed(last(12, "n1"))), Which::Before(told()), "run 1 came after it");
        assert_eq!(of(completed(last(10, "n2"))), Which::Before(told()), "run 1 was elsewhere");
        let requeued = || Fate::Ended(EndReason::Requeued, told());
        assert_eq!(of(requeued()), Which::Before(told()), "run 1 was sent back, too");
        // Run 1 itself, which began in the second in which it ended.
        let own = completed(last(10, "n[1-2]"));
        assert_eq!(of(own.clone()), Which::Counted(own));
        assert_eq!(of(Fate::Ending), Which::Counted(Fate::Ending));
    }

    #[test]
    fn an_end_of_a_first_run_is_of_that_one_or_nothing_new() {
        let of = |fate| which(0, at(10), "n1", fate);
        let own = completed(last(3, "n1"));
        assert_eq!(of(own.clone()), Which::Counted(own));
        let requeued = Fate::Ended(EndReason::Requeued, told());
        assert_eq!(of(requeued.clone()), Which::Counted(requeued));
        assert_eq!(of(Fate::Alive(told())), Which::Known);
        assert_eq!(of(completed(last(3, "n2"))), Which::Known);
        // A count that was made of the last run known here: there was no other since.
        assert_eq!(which(1, at(10), "n1", Fate::NeverWas), Which::Known);
    }
}
