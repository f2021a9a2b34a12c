//! Configless Slurm: slurmd fetches slurm.conf and plugstack.conf from slurmctld, and the plugin's line
//! is in a file of the node's own.

use std::fs;

use anyhow::{Context, Result};
use ct_tests::{Site, User, e2e_is_possible};

use crate::job_dir::number;
use crate::{assert_within, completed};

/// What the node draws.
const WATTS: f64 = 100.0;

#[test]
fn a_node_that_fetches_its_configuration_measures_its_jobs() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().watts(&[WATTS]).cluster(|c| c.configless()).start()?;
    let cluster = &site.cluster;
    let fetched = cluster.dir().join("spool").join(cluster.node(1)).join("conf-cache");
    let read = |name: &str| {
        fs::read_to_string(fetched.join(name)).with_context(|| format!("{name} was not fetched"))
    };
    assert!(read("slurm.conf")?.contains("enable_configless"));
    let main = fs::read_to_string(cluster.conf_dir().join("plugstack.conf"))?;
    assert_eq!(read("plugstack.conf")?, main);
    let script = "#!/bin/sh\n#SBATCH --exclusive\n#SBATCH --carbontracker=on\nsleep 2\n";
    let user = cluster.user(1);
    let job = cluster.sbatch(user, script)?;
    completed(cluster, job);
    let records = site.wait_for_records(job, 1)?;
    let [record] = &records[..] else { panic!("one record: {records:#?}") };
    let elapsed_s = number(record, "elapsed_s");
    assert_within(number(record, "energy_j.cpu"), WATTS * elapsed_s, 0.02, "its energy");
    // slurmctld was asked, by a squeue that found the fetched configuration.
    assert_eq!(record["end_reason"], "completed", "{record:#}");
    check_finds_what_was_fetched(&site)?;
    let out = fs::read_to_string(cluster.home(user).join(format!("slurm-{job}.out")))?;
    assert!(out.contains("Actual consumption:"), "{out}");
    Ok(())
}

/// On such a node there is no plugstack.conf where slurmctld has it.
fn check_finds_what_was_fetched(site: &Site) -> Result<()> {
    let main = site.cluster.conf_dir().join("plugstack.conf");
    let aside = main.with_extension("aside");
    fs::rename(&main, &aside)?;
    let (config, node) = (site.config().display().to_string(), site.cluster.node(1));
    let args = ["check", "--config", &config, "--node", &node];
    let report = site.bin("ct-report").display().to_string();
    let output = site.cluster.command(&User::root(), &report).args(&args).run();
    fs::rename(&aside, &main)?;
    let found = output?;
    let seen = found.stdout_unchecked();
    assert!(seen.contains("carbontracker.conf:") && !seen.contains("error "), "{found}");
    assert!(seen.contains("has the plugin"), "{found}");
    Ok(())
}
