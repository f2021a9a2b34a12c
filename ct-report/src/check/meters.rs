//! What is measured, and whose GPUs are which: in ct-noded's own words.

use std::path::Path;

use ct_core::config::Config;
use ct_core::protocol::{MeterStatus, NodeStatus};

use super::machine::Machine;
use super::{Area, Finding};

/// Looks at the meters and GPUs of a node.
pub(crate) fn check(status: &NodeStatus, out: &mut Vec<Finding>) {
    let mut area = Area::new("meters", out);
    let of = |component: &'static str| {
        status.meters.iter().filter(move |meter| meter.component == component)
    };
    if of("cpu").next().is_none() {
        area.fail(
            "no meter of the CPUs, not even a model",
            "see ct-noded's log of its start, and METHOD, \"Meters\", for what is looked for",
        );
    }
    for meter in status.meters.iter().filter(|meter| meter.component != "gpu") {
        let text = format!("{} by {}", meter.name, meter.method);
        if meter.method.starts_with("modelled") {
            area.warn(
                format!("{text}: its energy is modelled, not measured"),
                "load the kernel's powercap driver (`modprobe intel_rapl_msr`) and restart \
                 ct-noded as root; where there is none, as in most virtual machines, set \
                 power.cpu_tdp_watts to the TDP of one CPU package",
            );
        } else {
            area.ok(text);
        }
    }
    if of("dram").next().is_none() {
        area.warn(
            "no meter of the memory: its energy is not included",
            "nothing, where the CPUs have no DRAM domain",
        );
    }
    for outage in &status.outages {
        area.warn(
            outage.clone(),
            "see TROUBLESHOOTING, \"In ct-noded's log\"; the meter is tried again at each sample",
        );
    }
    check_gpus(status, &mut Area::new("gpus", out));
}

fn check_gpus(status: &NodeStatus, area: &mut Area<'_>) {
    let gpus: Vec<&MeterStatus> = status.meters.iter().filter(|m| m.component == "gpu").collect();
    for gpu in &gpus {
        let number = |n: Option<u32>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let text = format!(
            "gres {}, minor {}, index {}, {} ({}), by {}",
            number(gpu.gres),
            number(gpu.minor),
            number(gpu.index),
            gpu.id,
            gpu.name,
            gpu.method
        );
        if gpu.gres.is_some() {
            area.ok(text);
        } else {
            area.warn(
                format!("{text}: slurmd lists no such GPU, so no job is charged for it"),
                "name its device file in gres.conf (`slurmd -G` shows what slurmd has)",
            );
        }
    }
    for number in &status.gres_without_meter {
        area.fail(
            format!("gres {number} of slurmd's list is a GPU without a meter"),
            "load the GPU's driver before ct-noded starts, and restart ct-noded",
        );
    }
}

/// Which control groups there are, and whether Slurm uses them so that jobs can be told apart.
pub(crate) fn check_cgroup(config: &Config, machine: &Machine, out: &mut Vec<Finding>) {
    let version = check_version(config, out);
    check_settings(machine, version, out);
}

fn check_version(config: &Config, out: &mut Vec<Finding>) -> Option<u8> {
    let mut area = Area::new("cgroup", out);
    let root = &config.path.cgroupfs;
    let version = version(root);
    match version {
        Some(version) => area.ok(format!("version {version} at {}", root.display())),
        None => area.warn(
            format!(
                "no control groups at {}: jobs share by what they were allocated",
                root.display()
            ),
            "mount them, and set path.cgroupfs where they are elsewhere",
        ),
    }
    version
}

/// What slurm.conf has to say for jobs to be told apart, on nodes with this version of control groups.
pub(crate) fn check_settings(machine: &Machine, version: Option<u8>, out: &mut Vec<Finding>) {
    let mut area = Area::new("cgroup", out);
    if !machine.has_config() {
        area.warn(
            "slurmctld does not tell its configuration",
            "run this where `scontrol show config` works",
        );
        return;
    }
    let has =
        |key: &str, word: &str| machine.get(key).is_some_and(|v| v.to_lowercase().contains(word));
    if !has("PrologFlags", "alloc") && !has("PrologFlags", "contain") {
        area.warn(
            "PrologFlags has neither Alloc nor Contain: a job begins for us with its first step",
            "set PrologFlags=Alloc in slurm.conf",
        );
    }
    if !has("ProctrackType", "cgroup") {
        area.warn(
            "ProctrackType is not proctrack/cgroup: CPU time of jobs is by their allocation",
            "set ProctrackType=proctrack/cgroup and TaskPlugin=task/cgroup in slurm.conf",
        );
    } else if version == Some(1) && !has("JobAcctGatherType", "cgroup") {
        area.warn(
            "JobAcctGatherType is not jobacct_gather/cgroup, which alone counts CPU time on cgroup v1",
            "set JobAcctGatherType=jobacct_gather/cgroup in slurm.conf",
        );
    }
}

fn version(root: &Path) -> Option<u8> {
    if root.join("cgroup.controllers").exists() {
        return Some(2);
    }
    ["cpuacct", "cpu,cpuacct", "freezer"].iter().any(|dir| root.join(dir).is_dir()).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::tests::machine;
    use super::*;

    fn meter(component: &str, method: &str, gres: Option<u32>) -> MeterStatus {
        MeterStatus {
            component: component.to_owned(),
            name: format!("{component}:0"),
            id: "GPU-1".to_owned(),
            method: method.to_owned(),
            gres,
            minor: Some(3),
            index: Some(0),
        }
    }

    #[test]
    fn a_gpu_is_shown_by_all_its_numbers() {
        let status = NodeStatus {
            meters: vec![
                meter("cpu", "rapl", None),
                meter("dram", "rapl", None),
                meter("gpu", "nvml-energy", Some(1)),
            ],
            ..NodeStatus::default()
        };
        let mut out = Vec::new();
        check(&status, &mut out);
        assert!(out.iter().all(|finding| finding.level == Level::Ok), "{out:#?}");
        assert_eq!(out[2].text, "gres 1, minor 3, index 0, GPU-1 (gpu:0), by nvml-energy");
    }

    #[test]
    fn what_is_not_measured_is_told_with_its_mend() {
        let status = NodeStatus {
            meters: vec![meter("cpu", "modelled:tdp", None), meter("gpu", "nvml-energy", None)],
            outages: vec!["cpu:0 does not answer".to_owned()],
            gres_without_meter: vec![2],
            ..NodeStatus::default()
        };
        let mut out = Vec::new();
        check(&status, &mut out);
        let levels: Vec<Level> = out.iter().map(|finding| finding.level).collect();
        use Level::{Error, Warning};
        // Modelled CPUs, no memory, an outage, a GPU that Slurm has not, one that we have not.
        assert_eq!(levels, [Warning, Warning, Warning, Warning, Error], "{out:#?}");
        assert!(out.iter().all(|finding| finding.mend.is_some()));
    }

    #[test]
    fn settings_that_cost_cpu_time_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.path.cgroupfs = dir.path().to_owned();
        let check = |config: &Config, conf: &str| {
            let mut out = Vec::new();
            check_cgroup(config, &machine("", conf), &mut out);
            out.into_iter().filter(|f| f.level != Level::Ok).map(|f| f.text).collect::<Vec<_>>()
        };
        assert_eq!(check(&config, "").len(), 2);
        std::fs::create_dir(dir.path().join("cpuacct")).unwrap();
        let good = "PrologFlags = Alloc,Contain\nProctrackType = proctrack/cgroup\n";
        let out = check(&config, good);
        assert!(out.len() == 1 && out[0].starts_with("JobAcctGatherType"), "{out:?}");
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu").unwrap();
        assert_eq!(check(&config, good), [""; 0]);
        let out = check(&config, "PrologFlags = (null)\nProctrackType = proctrack/linuxproc\n");
        assert_eq!(out.len(), 2, "{out:?}");
    }
}
