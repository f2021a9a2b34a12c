//! Energy as a side channel (PLATYPUS): a user who could sample what the node draws often would learn
//! what others compute on it. What ct-noded tells changes seldom, however often it is asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ct_core::config::YesNo;
use ct_core::protocol::{JobFacts, Reply, Request, StepFacts, to_line};

use crate::attacker::{Connection, as_user};
use crate::noded::{Noded, Setup};
use crate::{OWNER, STRANGER, is_root};

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
    // All that the node draws is the job's.
    let config = "[attribution]\npolicy = \"node\"\n";
    let noded = Noded::start_with(&Setup { config, ..Setup::default() });
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
        // Energy and time are of the same instants: 2 ms of the plant are 0.4 % of half a second.
        let off = (joules / seconds / crate::noded::WATTS - 1.0).abs();
        assert!(off <= 0.02, "{joules} J in {seconds} s: {record:#}");
    }
}

#[test]
fn many_jobs_and_many_steps_of_one_user_have_no_more_new_values_than_one() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    let start = Instant::now();
    for job_id in 1..=8 {
        noded.start_job(job_id, OWNER, "monitor_epochs:-1,update_interval:0.1");
    }
    noded.start_job(9, OWNER, "epoch_by:step,update_interval:0.1");
    as_user(OWNER, || {
        let mut connection = Connection::open(&noded.socket());
        while start.elapsed() < Duration::from_secs(4) {
            for job_id in 1..=8 {
                connection.ask(&Request::EpochStart { job_id });
                connection.ask(&Request::EpochEnd { job_id });
            }
        }
    });
    for number in 0..100_u32 {
        let name = number.to_string();
        let job = Box::new(JobFacts { job_id: 9, uid: OWNER, gid: OWNER, ..JobFacts::default() });
        let step = StepFacts { name: name.clone(), stepd_pid: 1, ..StepFacts::default() };
        noded.tell(&Request::StepStart { job, step });
        noded.tell(&Request::StepEnd { job_id: 9, step: name });
    }
    let time = start.elapsed();
    (1..=9).for_each(|job_id| noded.end_job(job_id, OWNER));
    let told = |job_id: u32| {
        let record = record_of(&noded, job_id);
        let energies = record["epochs"]["energy_j"].as_array().unwrap().clone();
        assert!(energies.len() >= 10, "job {job_id}: {record:#}");
        energies.iter().filter(|e| e.as_f64() != Some(0.0)).count()
    };
    let told: usize = (1..=9).map(told).sum();
    assert!((6..=allowed(time)).contains(&told), "{told} in {time:?}");
}

/// Joules that a counter starts at which are no amount of a job's that runs for some minutes.
const COUNTER_J: u64 = 250_000;

/// Numbers of a reply that may be the counter's: in joules, millijoules or microjoules.
fn of_the_counter(line: &str) -> Vec<&str> {
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != '.');
    let is_counters = |number: &&str| {
        let number = number.parse::<f64>().unwrap_or(0.0);
        let of_unit = |unit: f64| (0.0..10_000.0).contains(&(number / unit - COUNTER_J as f64));
        [1.0, 1e3, 1e6].into_iter().any(of_unit)
    };
    numbers.filter(is_counters).collect()
}

#[test]
fn no_reply_to_a_user_has_the_counters_value() {
    if !is_root() {
        return;
    }
    assert_eq!(of_the_counter(r#"{"a":250001.5,"b":[250001500000,7]}"#).len(), 2);
    let noded = Noded::start_with(&Setup { initial_uj: COUNTER_J * 1_000_000, ..Setup::default() });
    noded.start_job(1, OWNER, "epochs:4,decimal_precision:15,monitor_epochs:-1,max_energy:1000");
    noded.start_job(2, OWNER, "epochs:2,stop_and_confirm:true,on_budget:stop,max_energy:1000");
    let requests = |job_id: u32| {
        [
            Request::Ping {},
            Request::EpochStart { job_id },
            Request::EpochEnd { job_id },
            Request::Status { job_id },
            Request::Confirmation { job_id },
            Request::Confirm { job_id, answer: YesNo::Y },
            Request::Watch { job_id },
            Request::Declare { job_id, option: "epochs:5".to_owned() },
            Request::LogFiles { job_id },
            Request::Node {},
            Request::EpochStart { job_id },
            Request::EpochEnd { job_id },
            Request::Stop { job_id },
            Request::Status { job_id },
        ]
    };
    let mut n_answered = 0;
    for (uid, job_id) in [(OWNER, 1), (OWNER, 2), (STRANGER, 1), (STRANGER, 3)] {
        as_user(uid, || {
            for request in requests(job_id) {
                let line = to_line(&request).unwrap();
                let reply = Connection::open(&noded.socket()).ask_line(&line);
                assert!(of_the_counter(&reply).is_empty(), "{request:?}: {reply}");
                n_answered += usize::from(!reply.contains(r#""error""#));
            }
        });
    }
    assert!(n_answered >= 20, "{n_answered} were answered");
    // What the owner's own files are given is no more.
    noded.end_job(1, OWNER);
    let record = record_of(&noded, 1).to_string();
    assert!(of_the_counter(&record).is_empty(), "{record}");
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
