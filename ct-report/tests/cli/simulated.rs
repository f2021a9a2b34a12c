//! Simulated components: whose figures count, and that it is said.

use std::fs;
use std::path::Path;

use ct_core::record::{SHOWS_SIMULATED, Simulated, SimulatedComponent};
use ct_core::units::Microjoules;
use serde_json::Value;

use crate::ledger::{Ledger, record};
use crate::{ct_report, upstream};

const STEM: &str = "7.0_2026-11-23T024501Z_carbontracker";

/// Logs as ct-noded writes them for a job with a simulated CPU; upstream's say it on the terminal only.
fn write_logs(dir: &Path) {
    let case = upstream().join("v247-cli-simcpu-simgpu/logs");
    for entry in fs::read_dir(case).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Some((_, end)) = name.split_once("_carbontracker") else { continue };
        let text = fs::read_to_string(entry.path()).unwrap();
        let first = "2026-11-23 02:45:01 - carbontracker version 2.4.7\n";
        let ours = "2026-11-23 02:45:01 - carbontracker version 0.1.0 (carbontracker-slurm)\n\
                    2026-11-23 02:45:01 - Using simulated CPU: Xeon with TDP: 102.50W (at 50% \
                    utilization)\n";
        fs::write(dir.join(format!("{STEM}{end}")), text.replace(first, ours)).unwrap();
    }
}

#[test]
fn a_block_of_simulated_components_counts_only_where_there_is_no_record() {
    let ledger = Ledger::new();
    let logs = ledger.base().join("carbontracker");
    fs::create_dir(&logs).unwrap();
    write_logs(&logs);
    let aggregate = || {
        let json = ct_report(ledger.base(), &["aggregate", "--json", "carbontracker"]).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        let run = json["runs"][0].clone();
        let said = ct_report(ledger.base(), &["aggregate", "carbontracker"]).stderr;
        (run["energy_kwh"].as_f64().unwrap(), run["simulated"] == true, said)
    };
    let note = "note: 1 run(s) without a record showed simulated components: counted is the simulated \
                energy of their blocks\n";
    assert_eq!(aggregate(), (0.000406390603, true, note.to_owned()));

    let (start, end) = ("2026-11-23T02:45:01Z", "2026-11-23T02:45:03Z");
    let mut own = record("n1", 7, start, end, &[3_600_000_000]);
    own.warnings = vec![SHOWS_SIMULATED.to_owned()];
    let xeon = SimulatedComponent {
        name: "Xeon".to_owned(),
        method: "simulated:Xeon".to_owned(),
        power_w: 102.5,
        energy_j: Microjoules::new(205_000_000),
    };
    own.simulated = Some(Simulated { cpu: Some(xeon), gpu: None });
    fs::write(logs.join(format!("{STEM}.json")), own.to_line().unwrap()).unwrap();
    let note = "note: 1 run(s) showed simulated components: counted is their record's energy, not \
                what their blocks show\n";
    // 3600 J are 0.001 kWh; the record's PUE is 1.2.
    assert_eq!(aggregate(), (0.0012, true, note.to_owned()));

    let note = "note: 1 run(s) showed simulated components in their blocks: counted is what was \
                metered or modelled\n";
    let usage = ["usage", "--by", "user", "-o", "energy_kwh", "-n", "-P"];
    let of_logs = ct_report(ledger.base(), &[&usage[..], &["carbontracker"]].concat());
    assert_eq!((of_logs.stdout.as_str(), of_logs.stderr.as_str()), ("eva|0.001\n", note));
    ledger.write(&[], &[own]);
    let of_ledger = ct_report(ledger.base(), &[&usage[..], &["--ledger", "ledger"]].concat());
    assert_eq!(of_ledger, of_logs);
}
