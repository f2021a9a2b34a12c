//! Who pays for what a silent meter counted, and for the time in which ct-noded did not run.

use ct_core::record::NodeRecord;

use super::*;

/// Sets the package's counter; `None` where it is gone.
fn set(bench: &Bench, joules: Option<u64>) {
    *bench.counter.lock().unwrap() = joules.map_or(u64::MAX, |j| j * 1_000_000);
}

fn wait() {
    std::thread::sleep(Duration::from_millis(40));
}

fn line(station: &mut Station) -> NodeRecord {
    station.close_line();
    station.lines_mut().pop().unwrap()
}

/// Microjoules charged to a running job.
fn uj(station: &Station, job_id: u32) -> u64 {
    station.jobs()[&job_id].energy.total().cpu.as_u64()
}

/// Expects whole joules, but for what rounds weights that are floats.
#[track_caller]
fn assert_joules(uj: u64, joules: u64) {
    assert!(uj.abs_diff(joules * 1_000_000) <= 10, "{uj} µJ are not {joules} J");
}

#[test]
fn a_job_that_ends_while_the_meter_is_silent_leaves_no_bill_to_the_others() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 2));
    bench.station.job_start(facts(2, 1));
    set(&bench, None);
    wait();
    bench.station.job_end(1, Some(0), true);
    // One that comes with the meter still silent has its part of the time from then on only.
    bench.station.job_start(facts(3, 2));
    wait();
    set(&bench, Some(400));
    bench.station.sample();
    // 400 J over both waits, of which job 2 held a quarter of the CPUs all the time.
    let of = |id: u32| uj(&bench.station, id);
    assert_joules(of(2), 100);
    assert!((1_000_000..200_000_000).contains(&of(3)), "{} µJ", of(3));
    let sum = of(2) + of(3);
    let line = line(&mut bench.station);
    assert_eq!(line.jobs_j + line.system_j + line.unallocated_j, line.meter_j);
    assert_eq!(line.unallocated_j.cpu.as_u64(), 400_000_000 - sum);
    let said = line.warnings.iter().filter(|w| w.contains("jobs that ended then")).count();
    assert_eq!(said, 1, "{:?}", line.warnings);
    // It is over: what is drawn from now on is split as ever.
    set(&bench, Some(440));
    bench.station.sample();
    assert_joules(uj(&bench.station, 2), 110);
}

#[test]
fn an_outage_goes_on_across_a_restart_and_so_does_whose_the_device_was() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 2));
    bench.station.job_start(facts(2, 2));
    set(&bench, None);
    wait();
    bench.station.job_end(1, Some(0), true);
    let kept = bench.station.sampler().last_sample().unwrap();
    let books = serde_json::to_string(bench.station.books()).unwrap();
    let job = bench.station.jobs()[&2].clone();
    let mut second = Bench::new();
    second.station.restore_books(serde_json::from_str(&books).unwrap());
    second.station.resume(&kept);
    second.station.restore(job);
    set(&second, Some(200));
    second.station.sample();
    // Job 1's half is not job 2's.
    assert_joules(uj(&second.station, 2), 100);
}

#[test]
fn a_job_that_ended_while_ct_noded_did_not_run_leaves_its_part_of_the_gap_to_nobody() {
    let mut bench = Bench::new();
    bench.station.job_start(facts(1, 2));
    bench.station.job_start(facts(2, 1));
    let kept = bench.station.sampler().last_sample().unwrap();
    let jobs: Vec<Job> = bench.station.jobs().values().cloned().collect();
    let mut second = Bench::new();
    second.station.resume(&kept);
    second.station.restore_gone(jobs[0].clone());
    second.station.restore(jobs[1].clone());
    set(&second, Some(80));
    wait();
    second.station.sample();
    assert_eq!(uj(&second.station, 1), 0);
    assert_joules(uj(&second.station, 2), 20);
    let first = &second.station.jobs()[&1];
    assert!(first.warnings.iter().any(|w| w.contains("not charged")), "{:?}", first.warnings);
    set(&second, Some(120));
    second.station.sample();
    // Until its end is known it goes on.
    assert_joules(uj(&second.station, 1), 20);
    assert_joules(uj(&second.station, 2), 30);
    let line = line(&mut second.station);
    assert_joules(line.unallocated_j.cpu.as_u64(), 70);
    assert!(line.gap_s > 0.0 && line.warnings.iter().any(|w| w.starts_with("40.000 J drawn")));
}
