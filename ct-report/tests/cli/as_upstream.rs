//! `--as-upstream`, compared with what carbontracker 2.4.7 itself returned for every case.

use std::fs;

use serde_json::{Value, json};

use crate::{Ran, assert_ran, ct_report, upstream};

/// Cases, their names and what upstream's parser returned.
fn cases() -> Vec<(std::path::PathBuf, Value)> {
    let entries = fs::read_dir(upstream()).unwrap().map(|entry| entry.unwrap().path());
    let expected = |case: std::path::PathBuf| {
        let text = fs::read(case.join("expected.json")).ok()?;
        Some((case, serde_json::from_slice(&text).unwrap()))
    };
    entries.filter_map(expected).collect()
}

/// Where two values differ; numbers are equal to the last bit, as upstream's own must be.
fn difference(own: &Value, expected: &Value, at: &str) -> Option<String> {
    match (own, expected) {
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(a, b, &format!("{at}[{index}]")))
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().find_map(|(key, a)| difference(a, &b[key], &format!("{at}.{key}")))
        }
        _ => (own != expected).then(|| format!("{at}: {own}, expected {expected}")),
    }
}

/// Checks one answer: the value, or the exception as the cause of a failure.
fn check(ran: &Ran, own: &Value, expected: &Value) -> Option<String> {
    let Some(exception) = expected["error"].as_str() else {
        let code = i32::from(expected["value"] == json!([]));
        let wrong_code = (ran.code != code && ran.code != 1).then(|| ran.stderr.clone());
        return wrong_code.or_else(|| difference(own, &expected["value"], ""));
    };
    let error = format!(
        "error: carbontracker 2.4.7 cannot read these logs: {exception}\n\
         hint: without --as-upstream they are read\n"
    );
    let is_so = ran.code == 2 && ran.stdout.is_empty() && ran.stderr == error;
    (!is_so).then(|| format!("{} {:?}, expected {error:?}", ran.code, ran.stderr))
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_default()
}

#[test]
fn every_case_is_parsed_as_upstream_parses_it() {
    let mut wrong = Vec::new();
    for (case, expected) in cases() {
        let ran = ct_report(&case, &["parse", "--as-upstream", "logs"]);
        let mut own = json_of(&ran);
        for entry in own.as_array_mut().into_iter().flatten() {
            for key in ["output_filename", "standard_filename"] {
                let name = entry[key].as_str().unwrap().strip_prefix("logs/").unwrap();
                entry[key] = name.into();
            }
        }
        let difference = check(&ran, &own, &expected["parse_all_logs"]);
        wrong.extend(difference.map(|d| format!("{}: {d}", case.display())));
    }
    assert_eq!(cases().len(), 57);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_is_aggregated_as_upstream_aggregates_it() {
    let mut wrong = Vec::new();
    for (case, expected) in cases() {
        let ran = ct_report(&case, &["aggregate", "--as-upstream", "--json", "logs"]);
        let own = json_of(&ran);
        let own = json!([own["energy_kwh"], own["co2eq_g"], own["equivalents"]]);
        let difference = check(&ran, &own, &expected["aggregate_consumption"]);
        wrong.extend(difference.map(|d| format!("{}: {d}", case.display())));
        if let Some(sentence) = expected["print_aggregate_stdout"]["value"].as_str() {
            let ran = ct_report(&case, &["aggregate", "--as-upstream", "logs"]);
            // Upstream prints its warnings of equivalents it cannot read on stdout, too.
            let sentence = sentence.lines().last().map(|line| format!("{line}\n")).unwrap();
            if ran.stdout != sentence {
                wrong.push(format!("{}: {:?}", case.display(), ran.stdout));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_are_named_are_a_directory_of_their_own() {
    let case = upstream().join("v247-default-1gpu");
    let log = "logs/18697.620164_2023-04-05T060741Z_carbontracker";
    let (standard, output) = (format!("{log}.log"), format!("{log}_output.log"));
    let ran = ct_report(&case, &["parse", "--as-upstream", &standard, &output]);
    // The defect people knew: the measured block is one of one epoch, whatever its title says.
    assert_eq!((ran.code, json_of(&ran)[0]["actual"]["epochs"].as_u64()), (0, Some(1)));
    let missing = ct_report(&case, &["parse", "--as-upstream", "nowhere"]);
    let error = "error: cannot open nowhere\ncaused by: No such file or directory (os error 2)\n";
    assert_ran(&missing, 2, "", error);
}
