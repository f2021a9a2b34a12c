//! A device's readings and what is made of them.

use super::*;
use crate::energy::Component;

fn at(s: u64) -> Moment {
    let start: chrono::DateTime<chrono::Utc> = "2026-01-01T12:00:00Z".parse().unwrap();
    let since_boot = Duration::from_secs(1000 + s);
    Moment { since_boot, wall: start + Duration::from_secs(s) }
}

/// 200 W in a counter that starts over at 262 kJ.
fn package() -> Device {
    let modulus = Some(262_143_328_850);
    Device { modulus, ..Device::new(Component::Cpu, "cpu:0", "rapl:cpu-0", "rapl") }
}

fn gone() -> ReadError {
    ReadError::Gone { path: "energy_uj".into() }
}

/// What each reading, one a second, was taken for: joules, answered, lost; and what was said.
fn steps(
    device: &Device,
    readings: Vec<Result<u64, ReadError>>,
) -> (Vec<(u64, bool, bool)>, Vec<String>) {
    let mut track = Track::default();
    let (mut steps, mut said) = (Vec::new(), Vec::new());
    let mut last = None;
    for (s, reading) in readings.into_iter().enumerate() {
        let now = at(s as u64);
        let (step, line) = track.take(device, reading, last, now);
        let joules = step.drawn.energy.as_u64() * device.unit_uj.min(1) / 1_000_000;
        steps.push((joules, step.drawn.answered, step.is_lost));
        said.extend(line);
        last = Some(now);
    }
    said.extend(track.outage(device));
    (steps, said)
}

/// A counter in joules.
fn j(joules: u64) -> Result<u64, ReadError> {
    Ok(joules * 1_000_000)
}

const FIRST: (u64, bool, bool) = (0, false, true);

#[test]
fn a_wrap_is_counted_once_and_is_no_outage() {
    let range = 262_143_328_850;
    let readings = vec![Ok(range - 150_000_000), Ok(50_000_000), Ok(250_000_000)];
    let (steps, said) = steps(&package(), readings);
    assert_eq!(steps, [FIRST, (200, true, false), (200, true, false)]);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_value_of_exactly_the_range_is_no_fault() {
    let range = 262_143_328_850;
    let readings = vec![Ok(range - 200_000_000), Ok(range), Ok(0), Ok(200_000_000)];
    let (steps, said) = steps(&package(), readings);
    assert_eq!(steps[1..], [(200, true, false), (0, true, false), (200, true, false)]);
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_counter_that_did_not_answer_is_booked_when_it_does() {
    let (steps, said) =
        steps(&package(), vec![j(1000), Err(gone()), Err(gone()), j(1600), j(1800)]);
    let missed = (0, false, false);
    assert_eq!(steps, [FIRST, missed, missed, (600, true, false), (200, true, false)]);
    let [line] = &said[..] else { panic!("once: {said:?}") };
    assert_eq!(
        line,
        "cpu:0: energy counter energy_uj vanished; its energy from 2026-01-01T12:00:00Z to \
         2026-01-01T12:00:03Z is included, when it was drawn is not known"
    );
}

#[test]
fn an_outage_that_only_a_restart_ends_says_so() {
    let lost = || ReadError::Lost {
        path: "energy_uj".into(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    };
    let readings = vec![j(1000), Err(gone()), Err(lost()), Err(gone()), Err(lost())];
    let (_, said) = steps(&package(), readings);
    assert_eq!(
        said,
        [
            "cpu:0: energy counter energy_uj vanished and cannot be opened again: permission denied; \
          restart ct-noded; its energy is not included since 2026-01-01T12:00:00Z"
        ]
    );
}

#[test]
fn a_counter_that_was_reset_starts_anew_and_says_what_is_lost() {
    // Without a range, and with one: 100 kJ to 0 would be a wrap of 162 kJ in a second.
    for modulus in [None, Some(262_143_328_850)] {
        let device = Device { modulus, ..package() };
        let (steps, said) = steps(&device, vec![j(100_000), j(0), j(200), j(400)]);
        assert_eq!(steps, [FIRST, (0, false, false), (200, true, true), (200, true, false)]);
        assert_eq!(
            said,
            [
                "cpu:0: its counter went back from 100000000000 to 0; its energy is not included from \
              2026-01-01T12:00:00Z to 2026-01-01T12:00:01Z"
            ]
        );
    }
}

#[test]
fn a_jump_is_not_believed_and_what_follows_it_is() {
    let (steps, said) = steps(&package(), vec![j(1000), j(90_000), j(90_200)]);
    assert_eq!(steps, [FIRST, (0, false, false), (200, true, true)]);
    assert!(said[0].contains("jumped by 89000000000 in 1.0 s, more than 1000 W"), "{said:?}");
}

#[test]
fn a_counter_that_read_wrong_once_loses_nothing() {
    for wrong in [j(90_000), j(0)] {
        let (steps, said) = steps(&package(), vec![j(20_000), wrong, j(20_400), j(20_600)]);
        assert_eq!(steps, [FIRST, (0, false, false), (400, true, false), (200, true, false)]);
        assert!(said[0].contains("to 2026-01-01T12:00:02Z is included"), "{said:?}");
    }
}

#[test]
fn a_counter_that_stays_wrong_is_said_once() {
    let (steps, said) =
        steps(&package(), vec![j(1000), j(90_000), j(20_000), j(70_000), j(40_000)]);
    assert!(steps[1..].iter().all(|s| *s == (0, false, false)), "{steps:?}");
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with("not included since 2026-01-01T12:00:00Z"), "{said:?}");
}

#[test]
fn a_meter_that_says_that_it_started_anew_loses_the_interval() {
    let anew = || Err(ReadError::Restarted { meter: "node".to_owned() });
    let (steps, said) = steps(&package(), vec![j(100), anew(), j(150), j(350)]);
    assert_eq!(steps[1..], [(0, false, true), (0, false, true), (200, true, false)]);
    assert!(said[0].contains("started anew; its energy is not included from"), "{said:?}");
}

#[test]
fn integrated_power_is_lost_for_the_time_of_an_outage() {
    let device = Device { is_integrated: true, ..Device::new(Component::Gpu, "g", "g", "hwmon") };
    let (steps, said) = steps(&device, vec![j(100), Err(gone()), j(120), j(320)]);
    assert_eq!(steps[1..], [(0, false, false), (20, false, true), (200, true, false)]);
    assert!(said[0].contains("not included from 2026-01-01T12:00:00Z to 2026-01-01T12:00:02Z"));
}

#[test]
fn a_gap_in_which_a_counter_may_have_wrapped_twice_is_not_sure() {
    let mut track = Track::default();
    let device = package();
    // At 1 kW 262 kJ last 262 s.
    let mut take = |s, reading| {
        let last = (s > 0).then(|| at(0));
        track.take(&device, reading, last, at(s)).0
    };
    take(0, j(1000));
    let step = take(300, j(2000));
    assert!(!step.drawn.answered && step.is_lost);
    assert_eq!(step.drawn.energy.as_u64(), 1_000_000_000);
}

#[test]
fn every_kind_of_device_has_a_bound() {
    for (component, watts) in [
        (Component::Cpu, 1000),
        (Component::Dram, 1000),
        (Component::Gpu, 3000),
        (Component::Rest, 30_000),
    ] {
        let device = Device::new(component, "d", "d", "m");
        // A second and what a counter may be late: three seconds of the most it can draw.
        let from = Reading { count: 0, at: at(0) };
        let to = |count| Reading { count, at: at(1) };
        assert!(plausible(&device, from, to(watts * 3_000_000)).is_some());
        assert!(plausible(&device, from, to(watts * 3_000_000 + 1)).is_none());
    }
}
