//! Energy as a side channel (PLATYPUS): a user who could sample what the node draws often would learn
//! what others compute on it. What ct-noded tells changes seldom, however often it is asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ct_core::protocol::{Reply, Request};

use crate::attacker::{Connection, as_user};
use crate::noded::Noded;
use crate::{OWNER, is_root};

/// New values at once, and a second on the long run; station.rs, `FRESH`.
const BURST: f64 = 30.0;
const PER_SECOND: f64 = 4.0;

/// New values that may be seen in this time, and one for what was there before.
fn allowed(time: Duration) -> usize {
    (BURST + PER_SECOND * time.as_secs_f64()).ceil() as usize + 1
}

#[test]
fn a_status_asked_ten_thousand_times_shows_few_energies_and_only_whole_joules() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    // A neighbour that is sampled ten times a second, which the attacker must not profit from.
    noded.start_job(2, OWNER + 7, "update_interval:0.1");
    noded.start_job(1, OWNER, "update_interval:0.1");
    as_user(OWNER, || {
        let mut connection = Connection::open(&noded.socket());
        let (mut shown, mut n) = (BTreeSet::new(), 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) || n < 5_000 {
            let Reply::Status(status) = connection.ask(&Request::Status { job_id: 1 }) else {
                panic!("no status");
            };
            let energy = (status.energy_j.cpu, status.co2e_g.to_bits(), status.power_w.to_bits());
            shown.insert((energy, status.elapsed_s.to_bits()));
            n += 1;
            // 445 g/kWh and a PUE of 1.58 are 0.000195305… g a joule: grams tell no more.
            let of_joules = status.energy_j.cpu as f64 * 445.0 * 1.58 / 3.6e6;
            assert!((status.co2e_g - of_joules).abs() < 1e-9, "{status:?}");
            assert_eq!(status.power_w.fract(), 0.0);
        }
        // A status is new once a second; the first and the last may be cut.
        let most = start.elapsed().as_secs() as usize + 2;
        assert!(shown.len() <= most, "{} values in {:?}", shown.len(), start.elapsed());
        assert!(shown.len() >= 2, "it does change");
        assert!(n >= 5_000, "{n}");
    });
}

#[test]
fn marks_without_end_give_few_new_values_and_epochs_sum_to_what_was_drawn() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(2, OWNER + 7, "update_interval:0.1");
    noded.start_job(1, OWNER, "decimal_precision:15,monitor_epochs:-1,update_interval:0.1");
    let (n_marks, time) = as_user(OWNER, || {
        let mut connection = Connection::open(&noded.socket());
        let (mut n, start) = (0, Instant::now());
        while start.elapsed() < Duration::from_secs(5) {
            for request in [Request::EpochStart { job_id: 1 }, Request::EpochEnd { job_id: 1 }] {
                let reply = connection.ask(&request);
                assert!(matches!(reply, Reply::Text { .. }), "{reply:?}");
                n += 1;
            }
        }
        (n, start.elapsed())
    });
    assert!(n_marks > 1_000, "{n_marks}");
    noded.end_job(1, OWNER);
    let record = record_of(&noded, 1);
    let energies = record["epochs"]["energy_j"].as_array().unwrap();
    // Of an epoch something is learned where it is not empty.
    let told = energies.iter().filter(|e| e.as_f64() != Some(0.0)).count();
    assert!(told <= allowed(time), "{told} of {} epochs in {time:?}", energies.len());
    assert!(told > 5, "{told}: ordinary marks are told");
    let sum: f64 = energies.iter().filter_map(serde_json::Value::as_f64).sum();
    let whole = record["energy_j"]["cpu"].as_f64().unwrap();
    assert!(sum <= whole, "{sum} J in epochs of a job of {whole} J");
}

#[test]
fn epochs_of_a_second_have_exact_bounds() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "update_interval:60");
    as_user(OWNER, || {
        for _ in 0..3 {
            for request in [Request::EpochStart { job_id: 1 }, Request::EpochEnd { job_id: 1 }] {
                Connection::open(&noded.socket()).ask(&request);
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    });
    noded.end_job(1, OWNER);
    let record = record_of(&noded, 1);
    for n in 0..3 {
        let joules = record["epochs"]["energy_j"][n].as_f64().unwrap();
        let seconds = record["epochs"]["duration_s"][n].as_f64().unwrap();
        assert!((0.5..1.5).contains(&seconds), "{record:#}");
        // Alone on the node, without an idle baseline, a job is charged by its CPU time, which it has
        // none of here; what counts is that energy and time are of the same instants.
        let watts = joules / seconds;
        assert!(watts <= crate::noded::WATTS * 1.02, "{watts} W: {record:#}");
    }
}

/// The record of a job that has ended, from the ledger.
fn record_of(noded: &Noded, job_id: u32) -> serde_json::Value {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        for month in std::fs::read_dir(noded.dir().join("ledger")).unwrap().flatten() {
            let text = std::fs::read_to_string(month.path().join("n1.jsonl")).unwrap_or_default();
            let lines = text.lines().filter_map(|l| serde_json::from_str(l).ok());
            let is_it = |l: &serde_json::Value| l["kind"] == "job" && l["job_id"] == job_id;
            if let Some(record) = lines.into_iter().find(is_it) {
                return record;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no record of job {job_id}: {}", noded.log());
}
