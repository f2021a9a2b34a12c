//! Samples that are only looked at, and made later.

use super::*;
use crate::station::looks::MOST_LOOKS;

/// As if the job had begun this much earlier.
fn age(bench: &mut Bench, job_id: u32, by: Duration) {
    let job = bench.station.job_mut(job_id).unwrap();
    job.start.since_boot -= by;
}

#[test]
fn what_was_looked_at_is_charged_with_the_next_event_as_it_was_drawn() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 2));
    age(&mut bench, 1, Duration::from_secs(60));
    let at = bench.station.sample();
    for _ in 0..3 {
        bench.draw(40);
        assert!(!bench.station.tick());
    }
    assert_eq!((bench.joules(1), bench.station.looks.len()), (0, 3));
    assert!(bench.station.looked_at().unwrap().since(&at) > Duration::ZERO);
    bench.draw(8);
    // Half of 3 x 40 J and of 8 J; of what comes then a quarter is the other's.
    bench.station.job_start(facts(2, 1));
    assert_eq!((bench.joules(1), bench.station.looks.len()), (64, 0));
    bench.draw(40);
    bench.station.sample();
    assert_eq!((bench.joules(1), bench.joules(2)), (84, 10));
}

#[test]
fn a_sample_is_made_at_once_of_a_young_job_one_with_a_budget_and_when_the_last_is_long_ago() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 2));
    assert!(bench.station.tick(), "the job has just begun");
    age(&mut bench, 1, Duration::from_secs(60));
    assert!(!bench.station.tick());
    let more = JobFacts { option: Some("max_energy:1,epochs:2".to_owned()), ..facts(2, 1) };
    bench.station.job_start(more);
    age(&mut bench, 2, Duration::from_secs(60));
    assert!(bench.station.tick(), "a budget may be passed");
    bench.station.job_end(2, Some(0), true);
    assert!(bench.station.tick(), "what ended is to be written");
    bench.station.ended_mut().clear();
    assert!(!bench.station.tick());
    for _ in 2..MOST_LOOKS {
        assert!(!bench.station.tick());
    }
    assert!(bench.station.tick(), "there are many");
}

#[test]
fn while_it_is_calm_it_is_looked_in_time_and_said_when_to_look_again() {
    let mut bench = Bench::new();
    let option = Some("update_interval:5".to_owned());
    bench.station.job_start(JobFacts { option, ..facts(1, 4) });
    assert_eq!(bench.station.calm_for(), Duration::ZERO, "the job has just begun");
    age(&mut bench, 1, Duration::from_secs(60));
    bench.station.sample();
    let calm_for = bench.station.calm_for();
    // The next look but one would be too late.
    assert!((3.0..=5.5).contains(&calm_for.as_secs_f64()), "{calm_for:?}");
    let until = Instant::now() + calm_for;
    // It is not time yet.
    let wait = bench.station.hold_on(until).unwrap();
    assert_eq!(bench.station.looks.len(), 0);
    assert!(!wait.is_zero() && wait <= Duration::from_secs(5), "{wait:?}");
    let interval = Duration::from_millis(500);
    bench.station.job_mut(1).unwrap().settings.update_interval = interval;
    std::thread::sleep(interval);
    bench.draw(8);
    let wait = bench.station.hold_on(until).unwrap();
    assert_eq!((bench.station.looks.len(), bench.joules(1)), (1, 0));
    std::thread::sleep(wait);
    assert_eq!(bench.station.hold_on(Instant::now()), None, "the time is over");
    assert_eq!(bench.station.looks.len(), 1);
    // A meter fails: what was read is made a sample of, and there is more to see to.
    *bench.counter.lock().unwrap() = u64::MAX;
    assert_eq!(bench.station.hold_on(until), None);
    assert_eq!((bench.station.looks.len(), bench.joules(1)), (0, 8));
}

#[test]
fn a_meter_that_fails_is_seen_to_at_once() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 4));
    age(&mut bench, 1, Duration::from_secs(60));
    bench.draw(10);
    assert!(!bench.station.tick());
    let before = std::mem::replace(&mut *bench.counter.lock().unwrap(), u64::MAX);
    assert!(bench.station.tick());
    assert_eq!(bench.joules(1), 10);
    assert!(bench.station.sampler().outages().next().is_some());
    *bench.counter.lock().unwrap() = before;
    bench.draw(5);
    bench.station.sample();
    assert_eq!(bench.joules(1), 15);
}

#[test]
fn the_nodes_line_has_what_was_looked_at() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 4));
    age(&mut bench, 1, Duration::from_secs(60));
    bench.draw(10);
    assert!(!bench.station.tick());
    bench.station.close_line();
    let line = bench.station.books().lines.last().unwrap();
    assert_eq!(line.meter_j.cpu.as_u64(), 10_000_000);
}
