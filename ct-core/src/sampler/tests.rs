//! Scripted meters: what their readings come to.

use super::*;

struct Scripted(Vec<Device>, Vec<Vec<Option<u64>>>);

impl Source for Scripted {
    fn devices(&self) -> &[Device] {
        &self.0
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let gone = || ReadError::Gone { path: "x".into() };
        self.1.remove(0).into_iter().map(|v| v.ok_or_else(gone)).collect()
    }
}

fn device(id: &str, unit_uj: u64, outlives_us: bool) -> Device {
    Device {
        unit_uj,
        modulus: Some(1_000_000_000),
        outlives_us,
        ..Device::new(Component::Cpu, id, id, "m")
    }
}

fn sampler(devices: Vec<Device>, script: &[&[Option<u64>]]) -> Sampler {
    let script = script.iter().map(|r| r.to_vec()).collect();
    Sampler::new(vec![Box::new(Scripted(devices, script))], Path::new("/nonexistent"))
}

fn energies(interval: &Interval) -> Vec<(u64, bool)> {
    interval.devices.iter().map(|d| (d.energy.as_u64(), d.answered)).collect()
}

#[test]
fn units_wraps_and_the_first_sample() {
    let devices = vec![device("a", 1, true), device("b", 1000, true)];
    let mut s = sampler(devices, &[&[Some(999_999_990), Some(5)], &[Some(10), Some(7)]]);
    assert!(s.sample().is_none());
    assert_eq!(energies(&s.sample().unwrap()), [(20, true), (2000, true)]);
}

#[test]
fn looks_that_are_taken_later_say_the_same() {
    let script: &[&[Option<u64>]] = &[&[Some(1)], &[Some(5)], &[None], &[Some(11)]];
    let mut later = sampler(vec![device("a", 1, true)], script);
    later.stat = None;
    later.sample();
    let looks = [later.look(), later.look(), later.look()];
    assert_eq!(looks.each_ref().map(Look::is_whole), [true, false, true]);
    let intervals = looks.map(|look| later.take(look).unwrap());
    assert_eq!(intervals.each_ref().map(|i| energies(i)[0]), [(4, true), (0, false), (6, true)]);
    assert_eq!(intervals[1].end, intervals[2].start);
    assert!(later.failures().iter().any(|line| line.starts_with("a: energy counter x vanished")));
}

#[test]
fn a_device_that_misses_a_sample_is_booked_at_the_next() {
    let mut s = sampler(vec![device("a", 1, true)], &[&[Some(1)], &[None], &[Some(9)]]);
    s.sample();
    assert_eq!(energies(&s.sample().unwrap()), [(0, false)]);
    let of_a = |line: &String| line.starts_with("a: energy counter x vanished");
    assert!(!s.failures().iter().any(of_a) && s.outages().any(|line| of_a(&line)));
    assert_eq!(energies(&s.sample().unwrap()), [(8, true)]);
    assert!(s.failures().iter().any(of_a) && !s.outages().any(|line| of_a(&line)));
}

#[test]
fn a_restart_in_an_outage_keeps_the_instant_of_the_last_reading() {
    let mut first = sampler(vec![device("a", 1, true)], &[&[Some(10)], &[None]]);
    first.sample();
    let read_at = first.last_at().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    first.sample();
    let kept = first.last_sample().unwrap();
    assert_eq!(kept.read_at.get("a"), Some(&read_at));
    let mut second = sampler(vec![device("a", 1, true)], &[&[Some(40)]]);
    second.resume(&kept);
    let interval = second.sample().unwrap();
    assert_eq!(energies(&interval), [(30, true)]);
    assert!(interval.devices[0].span > interval.duration(), "the outage is of the span");
}

#[test]
fn a_restart_books_the_gap_from_counters_that_went_on() {
    let devices = || vec![device("a", 1, true), device("soft", 1, false)];
    let mut first = sampler(devices(), &[&[Some(10), Some(50)]]);
    first.sample();
    let kept = first.last_sample().unwrap();
    assert_eq!(kept.counters.len(), 1);
    let mut second = sampler(devices(), &[&[Some(40), Some(3)]]);
    second.resume(&kept);
    assert_eq!(energies(&second.sample().unwrap()), [(30, true), (0, false)]);
}

#[test]
fn a_meter_of_the_node_tells_the_rest() {
    let node = Device::new(Component::Rest, "node", "node", "pm_counters");
    let devices = vec![device("a", 1, true), node];
    let script: [&[Option<u64>]; 4] =
        [&[Some(0), Some(0)], &[Some(10), Some(14)], &[None, Some(24)], &[Some(30), Some(40)]];
    let mut s = sampler(devices, &script);
    s.sample();
    assert_eq!(energies(&s.sample().unwrap()), [(10, true), (4, true)]);
    assert_eq!(energies(&s.sample().unwrap()), [(0, false), (0, false)]);
    assert_eq!(energies(&s.sample().unwrap()), [(20, true), (6, true)]);
}

/// A meter on its own thread that takes its time.
struct Slow([Device; 1]);

impl Source for Slow {
    fn devices(&self) -> &[Device] {
        &self.0
    }
    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        std::thread::sleep(Duration::from_millis(300));
        vec![Ok(1)]
    }
}

#[test]
fn silent_meters_hold_up_a_sample_once_and_together() {
    use crate::source::worker::Worker;
    let worker = |id| {
        let slow = Box::new(Slow([device(id, 1, true)]));
        let worker = Worker::spawn(id, slow, Duration::from_millis(150)).unwrap();
        Box::new(worker) as Box<dyn Source>
    };
    let quick = Scripted(vec![device("quick", 1, true)], vec![vec![Some(1)]; 3]);
    let sources = vec![worker("a"), Box::new(quick) as Box<dyn Source>, worker("b")];
    let mut s = Sampler::new(sources, Path::new("/nonexistent"));
    let mut took = || {
        let start = std::time::Instant::now();
        s.sample();
        start.elapsed().as_millis()
    };
    let (first, second) = (took(), took());
    assert!((150..290).contains(&first), "{first} ms");
    assert!(second < 100, "{second} ms");
    assert!(s.outages().any(|line| line.starts_with("a: a did not answer within")));
    assert!(!s.outages().any(|line| line.starts_with("quick")));
}
