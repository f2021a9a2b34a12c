//! Briefs say what whole records say, of whatever line.

use chrono::{DateTime, TimeDelta};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::energy::{ByComponent, Component, HourEnergy};
use crate::units::Microjoules;

const TEXTS: [&str; 7] =
    ["eva", "", "a \"b\" \\c", "größe", "tab\there", "modelled:tdp", "\u{1f600}"];

fn name() -> impl Strategy<Value = String> {
    select(&TEXTS[..]).prop_map(str::to_owned)
}

fn hours() -> impl Strategy<Value = Vec<HourEnergy>> {
    let hour = (0..20_000_i64, [0..1 << 45, 0..1 << 20, 0..2, 0..u64::from(u32::MAX)]);
    vec(hour, 0..30).prop_map(|hours| {
        let hour = |(hour, uj): (i64, [u64; 4])| {
            let at = DateTime::from_timestamp(1_700_000_000 + hour * 3600, 0).unwrap();
            let [cpu, dram, gpu, rest] = uj.map(Microjoules::new);
            HourEnergy(at, cpu, dram, gpu, rest)
        };
        hours.into_iter().map(hour).collect()
    })
}

/// What later fields of a record may hold, as JSON.
fn extras() -> impl Strategy<Value = Value> {
    let at = "2026-10-01T00:00:00.000Z";
    let energy = json!({"cpu": 1, "dram": 0.5, "gpu": 0, "rest": 2.000001});
    let budget = json!({"max_energy_kwh": 1.5, "on_budget": "warn", "action": "warned"});
    let mut account = json!({"account": "p", "used_energy_kwh": 1, "used_co2_g": 2, "as_of": at});
    account.as_object_mut().unwrap().extend(budget.as_object().unwrap().clone());
    let all = [
        json!({}),
        json!({"epochs": {"declared": 3, "done": 2, "energy_j": [1.5, 2], "duration_s": [1, 2.5]}}),
        json!({"prediction": {"at": at, "from_epochs": 1, "epochs": 3, "duration_s": 9.5,
            "energy_j": 3, "co2e_g": 0.1, "energy_j_low": 2.5}}),
        json!({"budget": budget, "account_budget": account}),
        json!({"job_total": {"nodes_seen": 2, "nodes_missing": ["n3"], "energy_j": energy,
            "co2e_g": 4}, "tracked": true}),
        json!({"simulated": {"gpu": {"name": "x", "method": "simulated:x", "power_w": 300,
            "energy_j": 12.5}}}),
    ];
    select(all.to_vec())
}

fn record() -> impl Strategy<Value = Record> {
    let names = (name(), name(), name(), name(), [(); 4].map(|()| option::of(name())));
    let ids = (any::<u32>(), any::<u32>(), [(); 3].map(|()| option::of(any::<u32>())));
    let times = (0..4_000_000_000_000_i64, 0..10_000_000_i64, 0.0..1e7);
    let found = (
        btree_map(select(&["cpu", "dram", "gpu", "rest", "activity"][..]), name(), 0..5),
        vec(name(), 0..3),
        vec((name(), 0.0..1.0), 0..3),
    );
    let amounts = (0.0..1e6, option::of(0.0..1e3), 0.0..=1.0, 0..1_u64 << 40);
    (names, ids, times, found, amounts, hours(), extras()).prop_map(build)
}

type Names = (String, String, String, String, [Option<String>; 4]);
type Found = (std::collections::BTreeMap<&'static str, String>, Vec<String>, Vec<(String, f64)>);
type Parts = (
    Names,
    (u32, u32, [Option<u32>; 3]),
    (i64, i64, f64),
    Found,
    (f64, Option<f64>, f64, u64),
    Vec<HourEnergy>,
    Value,
);

fn build((names, ids, times, found, amounts, hours, extras): Parts) -> Record {
    let (start, uj) = (DateTime::from_timestamp_millis(times.0).unwrap(), amounts.3);
    let mut all: ByComponent<Microjoules> = ByComponent::default();
    hours.iter().for_each(|hour| all += hour.energy());
    let energy = |of: &dyn Fn(Component) -> u64| json!({"cpu": 0, "dram": 0, "gpu": 0, "rest": of(Component::Rest) / 1_000_000});
    let gpu = |(name, share): &(String, f64)| json!({"uuid": name, "name": name, "share": share});
    let [account, partition, qos, job_name] = names.4;
    let mut value = json!({
        "v": 1, "cluster": names.0, "job_id": ids.0, "array_job_id": ids.2[0],
        "array_task_id": ids.2[1], "het_job_id": ids.2[2], "restart": 1, "node": names.1,
        "n_nodes": 3, "user": names.2, "uid": ids.1, "account": account, "partition": partition,
        "qos": qos, "job_name": job_name, "start": "2026-10-01T00:00:00Z",
        "end": "2026-10-01T00:00:00Z", "elapsed_s": times.2, "end_reason": "node_fail",
        "alloc_cpus": ids.1, "alloc_mem_mb": 5, "gpus": found.2.iter().map(gpu).collect::<Vec<_>>(),
        "energy_j": energy(&|_| uj), "idle_j": energy(&|_| uj / 2), "gpu_unused_j": 0,
        "energy_by_hour": [], "pue": 1.2,
        "intensity": {"g_per_kwh": amounts.0, "zone": names.3, "source": names.3},
        "co2e_g": amounts.0, "embodied_g": amounts.1, "water_l": amounts.1, "method": found.0,
        "coverage": amounts.2, "attribution": names.3, "warnings": found.1,
    });
    value.as_object_mut().unwrap().extend(extras.as_object().unwrap().clone());
    let mut record: Record = serde_json::from_value::<Value>(value)
        .and_then(|value| serde_json::from_str(&value.to_string()))
        .unwrap();
    (record.start, record.end) = (start, start + TimeDelta::milliseconds(times.1));
    if !hours.is_empty() {
        (record.energy_j, record.energy_by_hour) = (all, hours);
    }
    record
}

/// What may befall a line.
fn damage() -> impl Strategy<Value = Damage> {
    let at = 0_usize..1_000_000;
    let bits = [
        "",
        " ",
        ",",
        "\"",
        "{",
        "]",
        "null",
        "-",
        "e5",
        "1",
        "\\ud800",
        "\\u0041",
        "\"cpu\":\"x\",",
        "\"v\":1,",
        "\"x\":[1,{}],",
        "\u{fe}",
        "\"kind\":\"node\",",
        ".5",
        "true",
    ];
    prop_oneof![
        Just(Damage::None),
        (at.clone(), 0..4_usize, select(bits.to_vec()))
            .prop_map(|(at, n, by)| Damage::Bytes(at, n, by)),
        at.clone().prop_map(Damage::Torn),
        (at.clone(), select(values())).prop_map(|(at, by)| Damage::Field(at, Some(by))),
        at.prop_map(|at| Damage::Field(at, None)),
    ]
}

fn values() -> Vec<Value> {
    let texts = ["", "job", "completed", "later", "2026-10-01T00:00:00Z"].map(|text| json!(text));
    let others = [json!(null), json!(-1), json!(0), json!(1.5), json!(1e300), json!([]), json!({})];
    let deep = [json!([[]]), json!({"cpu": 1}), json!(["x", "y", 1.0]), json!([1, 2, 3, 4])];
    texts.into_iter().chain(others).chain(deep).chain([json!(true), json!(u64::MAX)]).collect()
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    /// Some bytes are others.
    Bytes(usize, usize, &'static str),
    Torn(usize),
    /// A field has another value, or is gone, and the rest are in another order.
    Field(usize, Option<Value>),
}

impl Damage {
    fn of(self, line: &str) -> Vec<u8> {
        let mut bytes = line.trim_end().as_bytes().to_vec();
        match self {
            Self::None => {}
            Self::Bytes(at, n, by) => {
                let at = at % bytes.len();
                let to = bytes.len().min(at + n);
                bytes.splice(at..to, by.bytes());
            }
            Self::Torn(at) => bytes.truncate(at % bytes.len()),
            Self::Field(at, by) => {
                let mut value: Value = serde_json::from_slice(&bytes).unwrap();
                let fields = value.as_object_mut().unwrap();
                let name = fields.keys().nth(at % fields.len()).unwrap().clone();
                match by {
                    Some(by) => fields.insert(name, by),
                    None => fields.remove(&name),
                };
                bytes = value.to_string().into_bytes();
            }
        }
        bytes
    }
}

/// Holds the two ways of reading against each other.
fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut slow = None;
    let (whole, brief) = (parse_record(bytes), parse_brief(bytes, &mut slow));
    let text = String::from_utf8_lossy(bytes);
    match (whole, brief) {
        (Ok(None), Ok(None)) => {}
        (Ok(Some(whole)), Ok(Some(brief))) => {
            prop_assert_eq!(&brief, &Brief::from(&whole), "{}", text);
            prop_assert_eq!(brief.gpus.to_bits(), Brief::from(&whole).gpus.to_bits());
        }
        (Err(whole), Err(brief)) => prop_assert_eq!(whole.to_string(), brief.to_string()),
        (whole, brief) => prop_assert!(false, "{whole:?} but {brief:?}: {text}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_brief_is_the_record_whatever_befell_its_line(record in record(), damage in damage()) {
        compare(&damage.of(&record.to_line().unwrap()))?;
    }

    #[test]
    fn lines_of_our_writer_need_no_second_look(record in record()) {
        let line = record.to_line().unwrap();
        prop_assert!(parse_own_form(line.trim_end().as_bytes()).is_some(), "{line}");
    }
}

#[test]
fn an_array_is_no_record_either_way() {
    compare(br#"[1,"job","lab"]"#).unwrap();
    let mut slow = None;
    assert!(parse_brief(br#"[1,"job"]"#, &mut slow).is_err());
}
