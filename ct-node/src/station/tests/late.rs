//! Starts and ends that were told late, twice, or not at all.

use std::time::Duration;

use ct_core::protocol::JobEnd;

use super::*;

/// Facts as a hook told them so many seconds ago.
fn told(job_id: u32, seconds_ago: u64) -> JobFacts {
    let at = now().since_boot.saturating_sub(Duration::from_secs(seconds_ago));
    let told_at_ms = u64::try_from(at.as_millis()).ok();
    JobFacts { told_at_ms, ..facts(job_id, 2) }
}

fn end(facts: JobFacts) -> JobEnd {
    JobEnd { job: Box::new(facts), wait_status: Some(0) }
}

#[test]
fn a_job_that_came_and_went_while_nobody_listened_is_as_long_as_its_hooks_say() {
    let mut bench = Bench::new();
    bench.draw(100);
    bench.station.job_start(told(1, 30));
    bench.station.job_ended(end(told(1, 10)));
    let job = &bench.station.ended()[0].job;
    let elapsed = job.elapsed().as_secs_f64();
    assert!((elapsed - 20.0).abs() < 0.01, "{elapsed}");
    // What was drawn meanwhile is nobody's.
    assert_eq!((job.energy.total().cpu.as_u64(), job.coverage()), (0, 0.0));
}

#[test]
fn a_start_told_a_moment_ago_is_now() {
    let mut bench = Bench::new();
    bench.station.job_start(told(1, 0));
    let job = &bench.station.jobs()[&1];
    assert_eq!((job.elapsed(), job.start), (Duration::ZERO, job.last));
}

#[test]
fn a_job_of_which_only_the_end_is_told_has_an_end_without_energy() {
    let mut bench = Bench::new();
    bench.draw(100);
    let nodes = Some("n[1-2]".to_owned());
    bench.station.job_ended(end(JobFacts { nodelist: nodes, ..told(7, 0) }));
    let ended = &bench.station.ended()[0];
    assert!(ended.was_told && ended.is_end_only);
    assert_eq!((ended.job.facts.n_nodes, ended.job.restart), (Some(2), 0));
    assert_eq!((ended.job.energy.total().cpu.as_u64(), ended.job.coverage()), (0, 0.0));
    assert!(bench.station.has_seen(7));
}

#[test]
fn an_end_from_before_a_runs_start_does_not_end_that_run() {
    let mut bench = Bench::new();
    bench.station.job_start(told(1, 60));
    bench.station.job_ended(end(told(1, 40)));
    bench.station.job_start(told(1, 20));
    // Told once more, by a file that nobody had read.
    bench.station.job_ended(end(told(1, 40)));
    assert!(bench.station.jobs().contains_key(&1));
    assert_eq!(bench.station.ended().len(), 1);
    bench.station.job_ended(end(told(1, 10)));
    assert!(bench.station.jobs().is_empty());
    assert_eq!(bench.station.ended().len(), 2);
}

#[test]
fn a_run_comes_after_the_one_that_ended_here_whatever_the_prolog_counts() {
    let mut bench = Bench::new();
    let first = JobFacts { restart: Some(0), ..told(1, 0) };
    bench.station.job_start(first.clone());
    bench.station.job_ended(end(first.clone()));
    // Slurm 22.05 says 0 in the prolog of a requeued job.
    bench.station.job_start(first.clone());
    assert_eq!(bench.station.jobs()[&1].restart, 1);
    bench.station.job_ended(end(first.clone()));
    // Of a third run only the end is told, or of the second once more: slurmctld knows.
    bench.station.job_ended(end(first));
    let restarts: Vec<u32> = bench.station.ended().iter().map(|e| e.job.restart).collect();
    assert_eq!(restarts, [0, 1, 2]);
    let is_in_question: Vec<bool> = bench.station.ended().iter().map(|e| e.is_end_only).collect();
    assert_eq!(is_in_question, [false, false, true]);
}

#[test]
fn what_is_drawn_between_a_late_start_and_a_late_end_is_nobodys_and_the_books_balance() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(2, 2));
    bench.draw(100);
    // While nobody listened a job with the other half of the CPUs came and went.
    bench.station.job_start(told(1, 30));
    bench.draw(40);
    bench.station.job_ended(end(told(1, 10)));
    let ended = &bench.station.ended()[0].job;
    assert_eq!((ended.energy.total().cpu.as_u64(), ended.coverage()), (0, 0.0));
    // The neighbour has half of 100 J, which it held alone, and half of 40 J: the half that the late
    // job would have had of those is unallocated.
    assert_eq!(bench.joules(2), 70);
    bench.station.close_line();
    let line = bench.station.lines_mut().pop().unwrap();
    let joules = |energy: ct_core::units::Microjoules| energy.as_u64() / 1_000_000;
    assert_eq!((joules(line.jobs_j.cpu), joules(line.meter_j.cpu)), (70, 140));
    assert_eq!(line.jobs_j + line.system_j + line.unallocated_j, line.meter_j);
    assert_eq!(joules(line.unallocated_j.cpu), 70);
    assert!(line.warnings.iter().any(|w| w.contains("20.000 J")), "{:?}", line.warnings);
}

#[test]
fn a_sample_between_a_late_start_and_a_late_end_is_in_the_record_and_in_the_nodes_line() {
    let mut bench = Bench::new();
    bench.station.job_start(told(1, 30));
    bench.draw(40);
    // Another request comes between the two.
    bench.station.sample();
    bench.draw(60);
    bench.station.job_ended(end(told(1, 10)));
    let ended = &bench.station.ended()[0].job;
    // Half of 40 J by its CPUs; of the 60 J nothing.
    let energy = ended.energy.total().cpu.as_u64();
    assert_eq!((energy, ended.coverage()), (20_000_000, 0.0));
    let line = bench.station.lines_mut().pop().unwrap();
    assert_eq!(line.jobs.iter().map(|job| job.2.as_u64()).sum::<u64>(), energy);
    assert_eq!(line.jobs_j + line.system_j + line.unallocated_j, line.meter_j);
}

#[test]
fn a_run_that_begins_tells_that_an_end_without_a_start_is_of_the_run_before() {
    let mut bench = Bench::new();
    // The epilog of run 0, which was sent back, has the count of the next.
    let counted = |job_id| JobFacts { restart: Some(1), ..told(job_id, 0) };
    bench.station.job_ended(end(counted(1)));
    assert_eq!(bench.station.ended()[0].job.restart, 1);
    bench.station.job_start(counted(1));
    assert_eq!(bench.station.jobs()[&1].restart, 1);
    bench.station.job_ended(end(counted(1)));
    let restarts: Vec<u32> = bench.station.ended().iter().map(|e| e.job.restart).collect();
    assert_eq!(restarts, [0, 1]);
    assert!(bench.station.has_ended(1, 0) && bench.station.has_ended(1, 1));
    assert!(!bench.station.has_ended(1, 2) && !bench.station.has_ended(2, 0));
}

#[test]
fn two_ends_that_wait_when_a_run_begins_are_of_two_runs_before_it() {
    let mut bench = Bench::new();
    let run = |restart| JobFacts { restart: Some(restart), ..facts(7, 2) };
    // The epilogs of runs 0 and 1 count 1 and 2.
    bench.station.job_ended(end(run(1)));
    bench.station.job_ended(end(run(2)));
    bench.station.job_start(run(2));
    let ended: Vec<u32> = bench.station.ended().iter().map(|e| e.job.restart).collect();
    assert_eq!(ended, [0, 1]);
}
