//! `parse` and `aggregate`.

use std::fs;

use serde_json::Value;

use crate::{assert_ran, ct_report, fixtures, upstream};

const END: &str = "Measured by carbontracker (https://github.com/lfwa/carbontracker).\n";

fn is_close(own: &Value, expected: &Value) -> bool {
    match (own.as_f64(), expected.as_f64()) {
        (Some(own), Some(expected)) => (own - expected).abs() <= 1e-9 * expected.abs().max(1e-9),
        // JSON has no NaN: null stands for it.
        _ => own == expected || (own.is_null() && expected == "nan"),
    }
}

#[test]
fn every_case_of_the_corpus_is_aggregated_as_its_truth_says() {
    let mut n_cases = 0;
    for entry in fs::read_dir(upstream()).unwrap() {
        let case = entry.unwrap().path();
        let Ok(truth) = fs::read(case.join("truth.json")) else { continue };
        n_cases += 1;
        let truth: Value = serde_json::from_slice(&truth).unwrap();
        let ran = ct_report(&case, &["aggregate", "--json", "logs"]);
        let own: Value = serde_json::from_str(&ran.stdout).unwrap();
        for key in ["energy_kwh", "co2eq_g"] {
            let (own, expected) = (&own[key], &truth["aggregate"][key]);
            assert!(is_close(own, expected), "{}: {key} {own} {expected}", case.display());
        }
        let equivalents = truth["aggregate"]["equivalents"].as_object().unwrap();
        assert_eq!(own["equivalents"].as_object().unwrap().len(), equivalents.len());
        for (unit, expected) in equivalents {
            let own = &own["equivalents"][unit];
            assert!(is_close(own, expected), "{}: {unit} {own} {expected}", case.display());
        }
        let has_runs = !truth["runs"].as_array().unwrap().is_empty();
        let has_skipped = !own["skipped"].as_array().unwrap().is_empty();
        let code = if has_skipped { 3 } else { i32::from(!has_runs) };
        assert_eq!(ran.code, code, "{}: {}", case.display(), ran.stderr);
    }
    assert_eq!(n_cases, 57);
}

#[test]
fn every_pair_of_the_corpus_is_parsed_with_its_consumption() {
    for entry in fs::read_dir(upstream()).unwrap() {
        let case = entry.unwrap().path();
        let Ok(truth) = fs::read(case.join("truth.json")) else { continue };
        let truth: Value = serde_json::from_slice(&truth).unwrap();
        let ran = ct_report(&case, &["parse", "logs"]);
        let own: Value = serde_json::from_str(&ran.stdout).unwrap();
        let (own, runs) = (own.as_array().unwrap(), truth["runs"].as_array().unwrap());
        assert_eq!(own.len(), runs.len(), "{}", case.display());
        for (own, run) in own.iter().zip(runs) {
            let name = |key: &str| run[key].as_str().map(|name| format!("logs/{name}"));
            assert_eq!(own["standard_filename"].as_str(), name("std").as_deref());
            assert_eq!(own["output_filename"].as_str(), name("out").as_deref());
            for (key, kind) in [("actual", "actual"), ("pred", "pred")] {
                let blocks = run["consumption"].as_array().unwrap();
                let first = blocks.iter().find(|block| block["kind"] == kind);
                let field = |name: &str| first.map_or(&Value::Null, |block| &block[name]);
                assert!(is_close(&own[key]["energy (kWh)"], field("energy_kwh")), "{own}");
                assert!(is_close(&own[key]["duration (s)"], field("duration_s")), "{own}");
                assert_eq!(own[key]["epochs"], *field("epochs"));
            }
        }
    }
}

#[test]
fn a_pair_is_printed_with_upstreams_keys() {
    let ran = ct_report(&upstream().join("v231-power-none"), &["parse", "logs"]);
    let expected = r#"[
  {
    "output_filename": "logs/19582.219951_2023-04-05T060714Z_carbontracker_output.log",
    "standard_filename": "logs/19582.219951_2023-04-05T060714Z_carbontracker.log",
    "components": {
      "gpu": {
        "avg_power_usages (W)": [
          [
            310.0
          ],
          [
            310.0
          ],
          [
            310.0
          ]
        ],
        "avg_energy_usages (J)": [
          [
            15.5
          ],
          [
            15.5
          ],
          [
            15.5
          ]
        ],
        "epoch_durations (s)": [
          0.05,
          0.05,
          0.05
        ],
        "devices": [
          "NVIDIA A100-SXM4-80GB"
        ]
      },
      "cpu": {
        "avg_power_usages (W)": [
          null,
          null,
          null
        ],
        "avg_energy_usages (J)": [
          null,
          null,
          null
        ],
        "epoch_durations (s)": [
          0.05,
          0.05,
          0.05
        ],
        "devices": [
          "cpu:0"
        ]
      }
    },
    "early_stop": true,
    "actual": {
      "epochs": 2,
      "duration (s)": 0.0,
      "energy (kWh)": 0.000020754851,
      "co2eq (g)": 0.009983083266,
      "equivalents": {
        "km travelled by car": 0.000092865891
      }
    },
    "pred": {
      "epochs": 3,
      "duration (s)": 0.0,
      "energy (kWh)": 0.000020754851,
      "co2eq (g)": 0.009983083266,
      "equivalents": {
        "km travelled by car": 0.000092865891
      }
    }
  }
]
"#;
    assert_ran(&ran, 0, expected, "");
}

#[test]
fn two_runs_in_one_file_are_two_sessions() {
    let ran = ct_report(&upstream().join("x-two-runs-one-file"), &["parse", "logs"]);
    let own: Value = serde_json::from_str(&ran.stdout).unwrap();
    let sessions = own[0]["sessions"].as_array().unwrap();
    let energies: Vec<_> = sessions.iter().map(|s| &s["actual"]["energy (kWh)"]).collect();
    assert_eq!(energies, [0.002629, 0.002125]);
    assert_eq!(own[0]["actual"], sessions[0]["actual"]);
    let power = &sessions[1]["components"]["gpu"]["avg_power_usages (W)"];
    assert_eq!(power[2][0], 236.66666667);
}

#[test]
fn the_mean_over_devices_is_multiplied_back_and_said() {
    let case = upstream().join("v247-8gpu-2socket-dram");
    assert_ran(
        &ct_report(&case, &["aggregate", "logs"]),
        0,
        &format!(
            "The training of models in this work is estimated to use 0.0378096908786552 kWh of \
             electricity contributing to 0.0168253124421079 kg of CO2eq. This is equivalent to \
             0.1575403786744069 km travelled by car. {END}"
        ),
        "note: 1 run(s) logged the mean over several devices: counted 0.037810 kWh of all \
         devices, as logged it is 0.005195 kWh\n",
    );
    assert_ran(
        &ct_report(&case, &["aggregate", "--as-logged", "logs"]),
        0,
        &format!(
            "The training of models in this work is estimated to use 0.0051949344610000 kWh of \
             electricity contributing to 0.0023117458352970 kg of CO2eq. This is equivalent to \
             0.0216455602560000 km travelled by car. {END}"
        ),
        "note: 1 run(s) logged the mean over several devices: counted 0.005195 kWh as logged, \
         all devices used 0.037810 kWh\n",
    );
}

#[test]
fn orphans_are_warned_of_and_what_they_say_counts() {
    let ran = ct_report(&upstream().join("x-orphans-both-kinds"), &["aggregate", "--json", "logs"]);
    let expected = r#"{
  "energy_kwh": 0.016779507754,
  "co2eq_g": 7.8407434943670005,
  "equivalents": {
    "km travelled by car": 0.073054288168
  },
  "energy_all_devices_kwh": 0.021096930715,
  "co2eq_all_devices_g": 9.761996711927,
  "runs": [
    {
      "stem": "1_2024-01-01T000000Z",
      "counted": "none",
      "why": "no consumption in the log",
      "energy_kwh": null,
      "co2eq_g": null
    },
    {
      "stem": "2_2024-01-01T000001Z",
      "counted": "actual",
      "why": "all epochs were monitored",
      "energy_kwh": 0.012462084793,
      "co2eq_g": 5.919490276807
    },
    {
      "stem": "3_2024-01-01T000002Z",
      "counted": "actual",
      "why": "the training was stopped early",
      "energy_kwh": 0.004317422961,
      "co2eq_g": 1.92125321756
    }
  ],
  "skipped": []
}
"#;
    assert_ran(
        &ran,
        0,
        expected,
        "warning: logs/1_2024-01-01T000000Z: no output log: unfinished, no consumption is counted\n\
         warning: logs/2_2024-01-01T000001Z: no standard log: epochs and devices are unknown\n",
    );
}

#[test]
fn a_torn_block_is_named_and_ends_with_3() {
    let ran = ct_report(&upstream().join("x-trunc-in-co2"), &["aggregate", "logs"]);
    let log = "logs/4242_2024-02-03T040506Z";
    assert_ran(
        &ran,
        3,
        &format!(
            "The training of models in this work is estimated to use 0.0000000000000000 kWh of \
             electricity contributing to 0.0000000000000000 kg of CO2eq. {END}"
        ),
        &format!(
            "warning: {log}: no consumption in the output log: unfinished, nothing is counted\n\
             {log}_carbontracker_output.log:7: skipped: consumption block is torn: \
             \"CO2eq:\\t0.\", expected \"CO2eq:\" and its value\n\
             note: 1 part(s) could not be read and are not counted\n"
        ),
    );
}

#[test]
fn a_record_counts_before_the_log_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let from = upstream().join("v247-default-1gpu/logs");
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Some(kind) = name.split_once("_carbontracker").map(|(_, kind)| kind) else { continue };
        fs::copy(entry.path(), dir.path().join(format!("5.0_x_carbontracker{kind}"))).unwrap();
    }
    let record = fixtures().join("logs/5.0_2026-10-04T000000Z_carbontracker.json");
    fs::copy(record, dir.path().join("5.0_x_carbontracker.json")).unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
    // 1.08 MJ are 0.3 kWh, with a PUE of 1.2 0.36 kWh; 144 g are 1.348 km at 106.8 g/km. For 0.72 MJ,
    // those of `rest`, the record names no meter.
    let expected = r#"{
  "energy_kwh": 0.36,
  "co2eq_g": 144.0,
  "equivalents": {
    "km travelled by car": 1.348314606741573
  },
  "energy_all_devices_kwh": 0.36,
  "co2eq_all_devices_g": 144.0,
  "modelled_share": 0.6666666666666666,
  "runs": [
    {
      "stem": "5.0_x",
      "counted": "actual",
      "why": "record of the job",
      "energy_kwh": 0.36,
      "co2eq_g": 144.0
    }
  ],
  "skipped": []
}
"#;
    assert_ran(&ran, 0, expected, "");
    let path = dir.path().join("5.0_x_carbontracker.json");
    let record = fs::read_to_string(&path).unwrap();
    // The sentence goes on saying "Measured by": 0.36 MJ of 1.08 are the memory's.
    fs::write(
        &path,
        record.replace(r#""dram":"rapl""#, r#""dram":"modelled:x","rest":"pm_counters""#),
    )
    .unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "."]);
    let note = "note: 33 % of the energy of jobs with a record is modelled, not measured\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (0, note));
    fs::write(dir.path().join("5.0_x_carbontracker.json"), "{\"v\":1,").unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
    let own: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &own["energy_kwh"]), (3, &Value::from(0.008659543809)));
    assert_eq!(own["skipped"][0]["path"], "./5.0_x_carbontracker.json");
}

#[test]
fn a_job_over_several_nodes_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let record = fs::read_to_string(fixtures().join("ledger/v1/2026-10/n2.jsonl")).unwrap();
    let total = r#""tracked":true,"job_total":{"nodes_seen":2,"nodes_missing":[],"energy_j":{"cpu":7200000.000000,"dram":0.000000,"gpu":0.000000,"rest":0.000000},"co2e_g":960.0}"#;
    let first = record.replace(r#""tracked":true"#, total);
    let name = |n: u32| dir.path().join(format!("2.{n}_carbontracker.json"));
    fs::write(name(0), &first).unwrap();
    let energy = || {
        let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["energy_kwh"].as_f64().unwrap()
    };
    // Alone, the first node's record stands for both nodes: 2 kWh at a PUE of 1.2.
    assert!((energy() - 2.4).abs() < 1e-9);
    // Together with the other node's, each stands for itself: 1.5 kWh and 1.5 kWh.
    fs::write(name(1), record.replace("\"node\":\"n2\"", "\"node\":\"n1\"")).unwrap();
    assert!((energy() - 3.6).abs() < 1e-9);
    // A copy adds nothing.
    fs::write(name(2), first).unwrap();
    assert!((energy() - 3.6).abs() < 1e-9);
}

#[test]
fn files_below_and_several_paths_are_read_once() {
    let case = upstream().join("x-subdirs");
    let n_runs = |args: &[&str]| {
        let ran = ct_report(&case, args);
        serde_json::from_str::<Value>(&ran.stdout).unwrap().as_array().unwrap().len()
    };
    assert_eq!(n_runs(&["parse", "logs"]), 1);
    assert_eq!(n_runs(&["parse", "-R", "logs"]), 2);
    assert_eq!(n_runs(&["parse", "logs", "./logs/sub", "logs/../logs"]), 2);
    let file = "logs/4242_2024-02-03T040506Z_carbontracker.log";
    assert_eq!(n_runs(&["parse", file, "logs"]), 1);
}
