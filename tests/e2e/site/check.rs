//! `ct-report check` on a node that is set up right, and on one where one thing after another is not.

use std::fs;

use anyhow::{Context, Result, ensure};
use ct_tests::{Output, Site, User, e2e_is_possible};
use serde_json::Value;

fn check(site: &Site, args: &[&str]) -> Result<(Output, Vec<Value>)> {
    let config = site.config().display().to_string();
    let program = site.bin("ct-report").display().to_string();
    let base = ["check", "--json", "--config", &config];
    let output = site.cluster.command(&User::root(), &program).args(&base).args(args).run()?;
    let findings: Value = serde_json::from_str(output.stdout_unchecked().trim())
        .with_context(|| format!("{output}"))?;
    Ok((output, findings.as_array().cloned().context("an array")?))
}

/// What findings of a level say.
fn texts(findings: &[Value], level: &str) -> Vec<String> {
    let of_level = findings.iter().filter(|f| f["level"] == level);
    of_level.map(|f| format!("{}: {}", f["area"], f["text"]).replace('"', "")).collect()
}

#[test]
fn a_node_is_looked_over_and_what_is_wrong_is_told_with_its_mend() -> Result<()> {
    if !e2e_is_possible() {
        return Ok(());
    }
    let site = Site::builder().dram_watts(10.0).gpus(2, 250.0).start()?;
    let node = site.cluster.node(1).to_owned();
    let own = ["--node", node.as_str()];
    // slurmd takes its time to list its GPUs.
    ct_tests::site::wait_for("the numbers of the GPUs", || {
        let (_, findings) = check(&site, &own).ok()?;
        texts(&findings, "ok").iter().any(|text| text.starts_with("gpus: gres")).then_some(())
    })?;
    let (output, findings) = check(&site, &own)?;
    ensure!(texts(&findings, "error").is_empty(), "{output}");
    // A throwaway ledger is on no shared file system, so not all is right.
    ensure!(output.code() == Some(3), "{output}");
    let good = texts(&findings, "ok");
    for expected in ["plugstack: ", "plugin: ", "ct-noded: version ", "meters: cpu:0 by rapl"] {
        ensure!(good.iter().any(|text| text.starts_with(expected)), "{expected} in {good:#?}");
    }
    // The plant's minors run against NVML's indices, and gres.conf follows the minors.
    for expected in ["gpus: gres 0, minor 0, index 1, GPU-", "gpus: gres 1, minor 1, index 0, GPU-"]
    {
        ensure!(good.iter().any(|text| text.starts_with(expected)), "{expected} in {good:#?}");
    }
    for finding in &findings {
        ensure!(finding["mend"].is_string() == (finding["level"] != "ok"), "{finding}");
    }
    a_slurmd_from_before_is_told(&site, &own)?;
    a_machine_that_only_submits_is_told_from_a_node(&site)?;
    a_plugin_of_another_release_is_told(&site, &own)?;
    the_cluster_is_seen_in_its_ledger(&site)?;
    a_daemon_that_is_gone_is_told(&site, &own)
}

/// A slurmd that was started before the plugin was there has no hook of ours, while steps load it.
fn a_slurmd_from_before_is_told(site: &Site, own: &[&str]) -> Result<()> {
    let of_slurmd = |level: &str| -> Result<Vec<String>> {
        let (_, findings) = check(site, own)?;
        let mut found = texts(&findings, level);
        found.retain(|text| text.starts_with("slurmd: "));
        Ok(found)
    };
    let good = of_slurmd("ok")?;
    ensure!(good.len() == 1 && good[0].ends_with("has the plugin"), "{good:?}");
    let conf = site.cluster.conf_dir().join("plugstack.conf");
    let aside = conf.with_extension("aside");
    fs::rename(&conf, &aside)?;
    fs::write(&conf, "")?;
    site.cluster.restart_slurmd(1)?;
    fs::rename(&aside, &conf)?;
    let bad = of_slurmd("warning")?;
    ensure!(bad.len() == 1 && bad[0].contains("was started before the plugin"), "{bad:?}");
    site.cluster.restart_slurmd(1)?;
    // An upgrade puts another file in the place of the one that slurmd has.
    let plugin = site.cluster.dir().join("lib/carbontracker.so");
    let new = plugin.with_extension("new");
    fs::copy(&plugin, &new)?;
    fs::rename(&new, &plugin)?;
    let good = of_slurmd("ok")?;
    ensure!(good.len() == 1, "{good:?}");
    Ok(())
}

/// This host's own name is no node of the cluster's.
fn a_machine_that_only_submits_is_told_from_a_node(site: &Site) -> Result<()> {
    let (output, findings) = check(site, &[])?;
    ensure!(texts(&findings, "error").is_empty(), "{output}");
    let rest = texts(&findings, "n/a");
    ensure!(rest[0].contains("a machine that submits jobs"), "{rest:#?}");
    let areas: Vec<&str> = rest.iter().filter_map(|text| text.split(':').next()).collect();
    ensure!(areas == ["slurmd", "ct-noded", "meters", "intensity"], "{output}");
    let good = texts(&findings, "ok");
    for expected in ["plugstack: ", "plugin: ", "ledger: "] {
        ensure!(good.iter().any(|text| text.starts_with(expected)), "{expected} in {good:#?}");
    }
    Ok(())
}

fn a_plugin_of_another_release_is_told(site: &Site, own: &[&str]) -> Result<()> {
    let plugin = ct_tests::artifact::built("carbontracker", "libcarbontracker.so")?;
    let header = fs::read_to_string("/usr/include/slurm/slurm_version.h")?;
    let number = header.lines().find_map(|line| {
        let number = line.strip_prefix("#define SLURM_VERSION_NUMBER 0x")?;
        u32::from_str_radix(number.trim(), 16).ok()
    });
    let number = number.context("the number of this Slurm")?.to_le_bytes();
    let mut bytes = fs::read(plugin)?;
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == number {
            // Its third byte is the major release.
            bytes[at + 2] += 1;
        }
    }
    let copy = site.cluster.dir().join("ct/other.so");
    fs::write(&copy, bytes)?;
    let copy = copy.display().to_string();
    let (output, findings) = check(site, &[own, &["--plugin", &copy]].concat())?;
    let bad = texts(&findings, "error");
    ensure!(output.code() == Some(2) && bad.len() == 1, "{output}");
    ensure!(
        bad[0].contains("is built for Slurm") && bad[0].ends_with("which refuses it"),
        "{bad:?}"
    );
    Ok(())
}

fn the_cluster_is_seen_in_its_ledger(site: &Site) -> Result<()> {
    let user = site.cluster.user(1);
    site.cluster.srun(user, &["sleep", "1"])?.success();
    ct_tests::site::wait_for("the node's line", || {
        site.ledger_text().ok()?.contains("\"kind\":\"node\"").then_some(())
    })?;
    let (output, findings) = check(site, &["--cluster"])?;
    ensure!(output.code() == Some(0), "{output}");
    let good = texts(&findings, "ok");
    ensure!(good[0] == "nodes: 1 of 1 wrote in the last 3 hours", "{good:#?}");
    ensure!(good.last().is_some_and(|text| text.starts_with("versions: ct-noded ")), "{good:#?}");
    Ok(())
}

fn a_daemon_that_is_gone_is_told(site: &Site, own: &[&str]) -> Result<()> {
    let pid = site.noded_pid(1).context("ct-noded runs")?.to_string();
    site.cluster.command(&User::root(), "kill").args(&[&pid]).run()?.success();
    ct_tests::site::wait_for("ct-noded to end", || site.noded_pid(1).is_none().then_some(()))?;
    let (output, findings) = check(site, own)?;
    let bad = texts(&findings, "error");
    ensure!(output.code() == Some(2) && bad.len() == 1, "{output}");
    ensure!(bad[0].starts_with("ct-noded: nobody answers on "), "{bad:?}");
    Ok(())
}
