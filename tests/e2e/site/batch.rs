//! The whole road: a batch job over two nodes, from its `#SBATCH` line to the month's report.

use std::fs;

use anyhow::Result;
use ct_tests::{Site, e2e_is_possible};
use serde_json::Value;

use crate::job_dir::{JobDir, covers, number, plant_joules};
use crate::{BURN, assert_within, completed, upstream};

/// PUE and intensity are the documented defaults: 1.58 and 445 g/kWh.
const PUE: f64 = 1.58;

#[test]
fn batch_job_on_two_nodes_is_measured_logged_booked_and_reported() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().watts(&[120.0, 80.0]).start()?;
    let cluster = &site.cluster;
    let user = cluster.user(1);
    let track = site.bin("ct-track");
    let script = format!(
        "#!/bin/sh\n#SBATCH -N2 --exclusive\n#SBATCH --carbontracker=epochs:3\n{BURN}\
         for epoch in 1 2 3; do\n  {t} epoch start\n  srun --overlap -N2 sh -c \
         'timeout 2 sh -c \"while :; do :; done\"; true'\n  {t} epoch end\ndone\n",
        t = track.display()
    );
    let job = cluster.sbatch(user, &script)?;
    let info = completed(cluster, job);

    let logs = JobDir::read(&cluster.home(user).join("carbontracker"), job, user)?;
    let records = site.wait_for_records(job, 2)?;
    for (record, plant) in records.iter().zip(&site.plants) {
        covers(record, &info);
        let truth = plant_joules(plant, record)?;
        assert_within(number(record, "energy_j.cpu"), truth, 0.01, "energy of a node");
        assert_eq!(record["end_reason"], "completed");
        assert_eq!(record["method"]["cpu"], "rapl");
        assert_eq!(record["user"], user.name());
    }
    // The logs are the first node's and cover both nodes: 120 W + 80 W.
    for power in logs.powers("cpu") {
        assert_within(power, 200.0, 0.01, "power of an epoch");
    }
    assert_eq!(logs.powers("cpu").len(), 3, "{}", logs.standard);
    assert_eq!(logs.error, "");
    let first: Vec<f64> = serde_json::from_value(logs.record["epochs"]["duration_s"].clone())?;
    let kwh = |seconds: f64| 200.0 * seconds * PUE / 3.6e6;
    let predicted = logs.block_kwh("Predicted consumption for 3 epoch(s)");
    assert_eq!(predicted.len(), 1, "{}", logs.output);
    assert_within(predicted[0], kwh(3.0 * first[0]), 0.01, "prediction");
    let actual = logs.block_kwh("Actual consumption for 3 epoch(s)");
    assert_eq!(actual.len(), 1, "{}", logs.output);
    assert_within(actual[0], kwh(first.iter().sum()), 0.01, "actual consumption");
    let record_of_first = records.iter().find(|r| r["job_total"].is_object());
    assert_eq!(record_of_first, Some(&logs.record), "the record is the ledger's line");

    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    let closing = out.rsplit("CarbonTracker: \n").next().unwrap_or_default();
    assert!(closing.starts_with("Actual consumption for 3 epoch(s):\n\tTime:\t"), "{out}");
    assert!(
        closing.ends_with("km travelled by car\nCarbonTracker: Finished monitoring.\n"),
        "{out}"
    );
    assert!(out.contains("Predicted consumption for 3 epoch(s)"), "{out}");

    reports(&site, &records)?;
    upstream::reads(&logs, 3, actual[0])?;
    Ok(())
}

fn reports(site: &Site, records: &[Value]) -> Result<()> {
    let ledger = site.ledger().display().to_string();
    let program = site.bin("ct-report").display().to_string();
    let args = ["usage", "--by", "user,month", "--ledger", &ledger, "--json"];
    let root = ct_tests::User::root();
    let output = site.cluster.command(&root, &program).args(&args).run()?.success();
    let rows: Value = serde_json::from_str(output.stdout())?;
    let row = &rows[0];
    let joules: f64 = records.iter().map(|r| number(r, "energy_j.cpu")).sum();
    assert_within(number(row, "energy_kwh"), joules / 3.6e6, 1e-6, "usage");
    let month = records[0]["start"].as_str().and_then(|s| s.get(..7));
    assert_eq!(row["month"].as_str(), month, "{rows}");
    assert_eq!((row["user"].as_str(), row["jobs"].as_u64()), (Some("ctuser1"), Some(1)), "{rows}");
    Ok(())
}
