//! What no record can say: values, spans and sums.
//!
//! Sums are checked here and nowhere else, so that every query comes to the same figures.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use crate::energy::{ByComponent, Component};
use crate::record::{Brief, NodeRecord};
use crate::units::Microjoules;

/// Checks a job's record.
pub(super) fn record(record: &Brief<'_>) -> Result<(), String> {
    amounts([("co2e_g", record.co2e_g), ("elapsed_s", record.elapsed_s), ("pue", record.pue)])?;
    if !(0.0..=1.0).contains(&record.coverage) {
        return Err(format!("\"coverage\" is {}, expected 0 to 1", record.coverage));
    }
    if record.end < record.start {
        return Err("\"end\" is before \"start\"".to_owned());
    }
    if record.energy_by_hour.is_empty() {
        return Ok(());
    }
    // By the hour or as a whole: every query has to come to the same sum.
    for c in Component::ALL {
        let seen: u128 = record.energy_by_hour.iter().map(|h| wide(&h.energy(), c)).sum();
        let (expected, name) = (wide(&record.energy_j, c), c.as_str());
        if seen != expected {
            return Err(format!(
                "\"energy_by_hour\" adds up to {seen} µJ of {name}, \
                 expected the {expected} µJ of \"energy_j\""
            ));
        }
    }
    Ok(())
}

/// Checks a node's line.
pub(super) fn node(node: &NodeRecord) -> Result<(), String> {
    amounts([("elapsed_s", node.elapsed_s), ("gap_s", node.gap_s)])?;
    if node.end < node.start {
        return Err("\"end\" is before \"start\"".to_owned());
    }
    // The stroke of an hour belongs to the one before.
    let last = (node.end - TimeDelta::milliseconds(1)).max(node.start);
    if hour_of(last) != hour_of(node.start) {
        return Err("the span crosses an hour, expected \"start\" and \"end\" in one".to_owned());
    }
    // With the policy `node` every job is charged the whole node.
    if node.attribution == "node" { Ok(()) } else { balance(node) }
}

/// Whether jobs, system and unallocated are the meters, and the jobs' charges what jobs had.
fn balance(node: &NodeRecord) -> Result<(), String> {
    for c in Component::ALL {
        let parts = [&node.jobs_j, &node.system_j, &node.unallocated_j];
        let seen: u128 = parts.into_iter().map(|part| wide(part, c)).sum();
        let (expected, name) = (wide(&node.meter_j, c), c.as_str());
        if seen != expected {
            return Err(format!(
                "jobs, system and unallocated add up to {seen} µJ of {name}, \
                 expected the {expected} µJ of \"meter_j\""
            ));
        }
    }
    let seen: u128 = node.jobs.iter().map(|job| u128::from(job.2.as_u64())).sum();
    let expected: u128 = Component::ALL.into_iter().map(|c| wide(&node.jobs_j, c)).sum();
    if seen != expected {
        return Err(format!(
            "\"jobs\" adds up to {seen} µJ, expected the {expected} µJ of \"jobs_j\""
        ));
    }
    Ok(())
}

fn amounts<const N: usize>(amounts: [(&str, f64); N]) -> Result<(), String> {
    let is_amount = |value: f64| value.is_finite() && value >= 0.0;
    match amounts.iter().find(|(_, value)| !is_amount(*value)) {
        Some((name, value)) => Err(format!("\"{name}\" is {value}, expected a number ≥ 0")),
        None => Ok(()),
    }
}

/// Wide enough for sums of whatever stands in a line.
fn wide(energy: &ByComponent<Microjoules>, c: Component) -> u128 {
    u128::from(energy.get(c).as_u64())
}

fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::{JobCharge, VERSION};

    fn cpu(uj: u64) -> ByComponent<Microjoules> {
        ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() }
    }

    /// 10 µJ: 6 of two jobs, 1 of the system, 3 of nobody.
    pub(in crate::ledger::reader) fn node() -> NodeRecord {
        NodeRecord {
            v: VERSION,
            kind: "node".to_owned(),
            cluster: "lab".to_owned(),
            node: "n1".to_owned(),
            start: "2026-10-01T10:00:00Z".parse().unwrap(),
            end: "2026-10-01T11:00:00Z".parse().unwrap(),
            elapsed_s: 3600.0,
            meter_j: cpu(10),
            jobs_j: cpu(6),
            system_j: cpu(1),
            unallocated_j: cpu(3),
            idle_j: cpu(4),
            jobs: vec![
                JobCharge(42, 0, Microjoules::new(4)),
                JobCharge(43, 0, Microjoules::new(2)),
            ],
            baseline: [].into(),
            gap_s: 0.0,
            method: [("cpu".to_owned(), "rapl".to_owned())].into(),
            attribution: "hybrid".to_owned(),
            warnings: Vec::new(),
            version: None,
        }
    }

    #[test]
    fn a_line_that_does_not_balance_is_named() {
        assert_eq!(super::node(&node()), Ok(()));
        let reason = |change: fn(&mut NodeRecord)| {
            let mut node = node();
            change(&mut node);
            super::node(&node).expect_err("it does not fit")
        };
        assert_eq!(
            reason(|n| n.meter_j.cpu = Microjoules::new(11)),
            "jobs, system and unallocated add up to 10 µJ of cpu, expected the 11 µJ of \"meter_j\""
        );
        assert_eq!(
            reason(|n| n.jobs.truncate(1)),
            "\"jobs\" adds up to 4 µJ, expected the 6 µJ of \"jobs_j\""
        );
        assert_eq!(
            reason(|n| n.end = "2026-10-01T11:00:00.002Z".parse().unwrap()),
            "the span crosses an hour, expected \"start\" and \"end\" in one"
        );
        assert_eq!(
            reason(|n| n.end = "2026-10-01T09:00:00Z".parse().unwrap()),
            "\"end\" is before \"start\""
        );
        assert_eq!(reason(|n| n.gap_s = -1.0), "\"gap_s\" is -1, expected a number ≥ 0");
        // Sums beyond 64 bits are no reason to stop.
        let most = |n: &mut NodeRecord| n.jobs_j = cpu(u64::MAX);
        assert!(reason(most).contains("add up to 18446744073709551619 µJ"), "{}", reason(most));
    }

    #[test]
    fn with_the_policy_node_jobs_are_more_than_the_meters() {
        let mut node = NodeRecord { jobs_j: cpu(20), ..node() };
        assert!(super::node(&node).is_err());
        node.attribution = "node".to_owned();
        assert_eq!(super::node(&node), Ok(()));
    }
}
