//! `ct-report check` where there is no Slurm.

use std::fs;

use serde_json::Value;

use crate::{Ran, command, ran};

#[test]
fn a_machine_without_slurm_is_told_what_applies_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("carbontracker.toml");
    fs::write(&config, format!("[node]\nrun_dir = {:?}\n", dir.path().join("run"))).unwrap();
    let run = |args: &[&str]| -> Ran {
        let args = [&["check", "--config", "carbontracker.toml"], args].concat();
        let mut command = command(dir.path(), &args);
        command.env("PATH", dir.path()).env("SLURM_CONF", dir.path().join("slurm.conf"));
        ran(command.output().unwrap())
    };
    let seen = run(&[]);
    assert_eq!((seen.code, seen.stderr.as_str()), (0, ""), "{seen:#?}");
    assert!(seen.stdout.starts_with("n/a      slurmd     none runs here"), "{seen:#?}");
    assert!(!seen.stdout.contains("mend:"), "{seen:#?}");
    let findings: Vec<Value> = serde_json::from_str(&run(&["--json"]).stdout).unwrap();
    assert!(findings.len() > 5, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding["level"] == "n/a"), "{findings:#?}");
}
