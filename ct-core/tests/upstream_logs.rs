//! Every case of the corpus of upstream's logs, read and compared with its correct reading.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ct_core::log::parser::{
    Block, BlockKind, Counting, Epoch, Run, Session, parse_output, parse_standard,
};
use serde_json::{Map, Value, json};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/upstream")
}

#[test]
fn every_case_of_the_corpus_is_read_as_its_truth_says() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(corpus()).unwrap() {
        let case = entry.unwrap().path();
        if case.join("truth.json").exists() {
            cases += 1;
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            wrong.extend(differences(&case).into_iter().map(|d| format!("{name}: {d}")));
        }
    }
    assert_eq!(cases, 57);
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every log of the corpus, cut at many places: what is read from the head is read from the whole.
#[test]
fn a_torn_log_never_says_anything_the_whole_log_does_not() {
    let mut logs = 0;
    for path in files(&corpus()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "log")) {
        let whole = fs::read(&path).unwrap();
        let (output, standard) = (parse_output(&whole), parse_standard(&whole));
        logs += 1;
        for cut in (0..whole.len()).step_by(whole.len() / 80 + 1) {
            let head = parse_output(&whole[..cut]);
            for (own, of_whole) in head.blocks.iter().zip(&output.blocks) {
                let numbers = |b: &Block<'_>| [b.energy_kwh, b.co2eq_g].map(f64::to_bits);
                assert_eq!(numbers(own), numbers(of_whole), "{} cut at {cut}", path.display());
                let equivalents = own.equivalents.iter().flatten();
                for own in equivalents.zip(of_whole.equivalents.iter().flatten()) {
                    assert_eq!(own.0, own.1, "{} cut at {cut}", path.display());
                }
            }
            let head = parse_standard(&whole[..cut]);
            for (own, of_whole) in epochs(&head.sessions).iter().zip(epochs(&standard.sessions)) {
                assert!(own.0.is_none() || own.0 == of_whole.0, "{} at {cut}", path.display());
                for (own, of_whole) in own.1.iter().zip(&of_whole.1) {
                    assert!(own.is_none() || own == of_whole, "{} at {cut}", path.display());
                }
            }
        }
    }
    assert!(logs > 150, "{logs}");
}

/// Duration of an epoch and power of its components, as bits.
type EpochBits = (Option<u64>, Vec<Option<Vec<u64>>>);

fn epochs(sessions: &[Session<'_>]) -> Vec<EpochBits> {
    let bits = |watts: &Vec<f64>| watts.iter().map(|w| w.to_bits()).collect();
    let epoch = |epoch: &Epoch<'_>| {
        let power = epoch.power.iter().map(|p| p.watts.as_ref().map(bits)).collect();
        (epoch.duration_s.map(f64::to_bits), power)
    };
    sessions.iter().flat_map(|session| &session.epochs).map(epoch).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn differences(case: &Path) -> Vec<String> {
    let truth: Value = read_json(&case.join("truth.json"));
    let mut wrong = Vec::new();
    let mut sum = Sum::default();
    for expected in truth["runs"].as_array().unwrap() {
        let read = |key: &str| {
            let name = expected[key].as_str();
            name.map(|name| fs::read(case.join("logs").join(name)).unwrap()).unwrap_or_default()
        };
        let (standard, output) = (read("std"), read("out"));
        let run = Run::new(parse_standard(&standard), parse_output(&output));
        let stem = expected["stem"].as_str().unwrap();
        let own: Vec<Value> = run.standard.sessions.iter().map(session_value).collect();
        let sessions = expected["sessions"].as_array().unwrap();
        compare(&mut wrong, &format!("{stem} sessions"), &own.len().into(), &sessions.len().into());
        for (own, session) in own.iter().zip(sessions) {
            let is_interleaved = session.get("interleaved").is_some();
            compare(&mut wrong, stem, &own["interleaved"], &is_interleaved.into());
            compare_session(&mut wrong, stem, own, session);
        }
        let blocks: Vec<Value> = run.output.blocks.iter().map(block_value).collect();
        compare(&mut wrong, &format!("{stem} blocks"), &blocks.into(), &expected["consumption"]);
        sum.add(stem, &run);
    }
    compare(&mut wrong, "aggregate", &sum.value(), &truth["aggregate"]);
    wrong
}

fn compare_session(wrong: &mut Vec<String>, stem: &str, own: &Value, expected: &Value) {
    for (key, expected_value) in expected.as_object().unwrap() {
        let is_ambiguous = expected.get("devices_alternative").is_some();
        let expected_value = match key.as_str() {
            "note" | "devices_alternative" => continue,
            // The energy of all devices depends on how the ambiguous name is read.
            "derived" if is_ambiguous => continue,
            "devices" if is_ambiguous => &expected["devices_alternative"],
            _ => expected_value,
        };
        compare(wrong, &format!("{stem} {key}"), &own[key], expected_value);
    }
}

fn session_value(session: &Session<'_>) -> Value {
    let devices: Map<String, Value> =
        session.devices.iter().map(|d| (d.component.to_owned(), json!(d.names))).collect();
    let epochs: Vec<Value> = session
        .epochs
        .iter()
        .map(|epoch| {
            let power: Map<String, Value> =
                epoch.power.iter().map(|p| (p.component.to_string(), json!(p.watts))).collect();
            json!({"epoch": epoch.number, "duration_s": epoch.duration_s, "power_w": power})
        })
        .collect();
    let derived = (!epochs.is_empty()).then(|| {
        json!({
            "as_logged_kwh": session.energy_kwh(false),
            "all_devices_kwh": session.energy_kwh(true),
        })
    });
    json!({
        "version": session.version,
        "pue": session.pue,
        "devices": devices,
        "epochs": epochs,
        "early_stop": session.is_early_stop,
        "interrupted_of": session.interrupted_of,
        "ended": session.is_ended,
        "intensities": session.intensities,
        "mean_intensity": session.mean_intensity,
        "location": session.location,
        "start": session.start,
        "end": session.end,
        "derived": derived,
        "interleaved": session.is_interleaved,
    })
}

fn block_value(block: &Block<'_>) -> Value {
    let number = |n: f64| if n.is_nan() { json!("nan") } else { json!(n) };
    let equivalents: Option<BTreeMap<_, _>> =
        block.equivalents.as_ref().map(|list| list.iter().cloned().collect());
    json!({
        "kind": if block.kind == BlockKind::Actual { "actual" } else { "pred" },
        "epochs": block.epochs,
        "duration_s": block.duration_s,
        "energy_kwh": number(block.energy_kwh),
        "co2eq_g": number(block.co2eq_g),
        "equivalents": equivalents,
    })
}

#[derive(Default)]
struct Sum {
    energy_kwh: f64,
    co2eq_g: f64,
    equivalents: BTreeMap<String, f64>,
    used: Vec<Value>,
}

impl Sum {
    fn add(&mut self, stem: &str, run: &Run<'_>) {
        let finite = |n: f64| if n.is_finite() { n } else { 0.0 };
        for (index, counted) in run.counted().iter().enumerate() {
            self.energy_kwh += finite(counted.block.energy_kwh);
            self.co2eq_g += finite(counted.block.co2eq_g);
            for (unit, value) in counted.block.equivalents.iter().flatten() {
                *self.equivalents.entry(unit.to_string()).or_default() += finite(*value);
            }
            let kind = if counted.counting == Counting::Actual { "actual" } else { "pred" };
            self.used.push(json!([stem, index, kind]));
        }
    }

    fn value(self) -> Value {
        let Self { energy_kwh, co2eq_g, equivalents, used } = self;
        json!({
            "energy_kwh": energy_kwh,
            "co2eq_g": co2eq_g,
            "equivalents": equivalents,
            "used": used,
        })
    }
}

/// Compares two values; numbers may differ in their last digits.
fn compare(wrong: &mut Vec<String>, what: &str, own: &Value, expected: &Value) {
    match (own, expected) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            if (a - b).abs() > 1e-9 * b.abs().max(1e-9) {
                wrong.push(format!("{what}: {a}, expected {b}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(wrong, &format!("{what}[{index}]"), a, b);
            }
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            for (key, a) in a {
                compare(wrong, &format!("{what}.{key}"), a, &b[key]);
            }
        }
        _ if own == expected => {}
        _ => wrong.push(format!("{what}: {own}, expected {expected}")),
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Many of everything in one file: work that grows with the square of it would take minutes.
#[test]
fn a_long_log_takes_no_longer_than_its_length() {
    let record = |message: &str| format!("2026-01-01 00:00:00 - {message}\n");
    let epoch = record("Epoch 1:") + &record("Average power usage (W) for gpu: [1.\n 2.");
    let one = "\tTime:\t0:00:01\n\tEnergy:\t0.1 kWh\n\tCO2eq:\t1.0 g\n\tThis is equivalent to:\n";
    let block = record("CarbonTracker: ") + "Actual consumption for 1 epoch(s):\n" + one;
    let n = 20_000;
    for head in ["carbontracker version 1.2.5", "carbontracker version 2.4.7", "Epoch 1:"] {
        let standard = record(head).repeat(n) + &epoch.repeat(n) + &"\n]".repeat(n);
        let output = block.repeat(n) + &"Actual consumption:\n".repeat(n) + &"1 x\n".repeat(n);
        let started = std::time::Instant::now();
        let run = Run::new(parse_standard(standard.as_bytes()), parse_output(output.as_bytes()));
        assert_eq!(run.counted().len(), n);
        assert!(started.elapsed().as_secs() < 20, "{head}: {:?}", started.elapsed());
    }
}
