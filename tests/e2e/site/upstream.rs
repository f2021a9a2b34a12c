//! Python carbontracker 2.4.7 from PyPI reads our logs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::assert_within;
use crate::job_dir::{JobDir, number};

const PROGRAM: &str = "
import json, sys
from carbontracker import parser
print(json.dumps(parser.parse_all_logs(log_dir=sys.argv[1]), default=lambda a: a.tolist()))
";

/// The Python of a virtual environment with carbontracker 2.4.7, made once.
fn python() -> Result<&'static Path> {
    static PYTHON: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| make_venv().map_err(|e| format!("{e:#}")));
    made.as_deref().map_err(|e| anyhow::anyhow!("no virtual environment: {e}"))
}

fn make_venv() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
    let python = dir.join("bin/python");
    let has_it = |python: &Path| {
        let check = ["-c", "import carbontracker.parser"];
        Command::new(python).args(check).output().is_ok_and(|o| o.status.success())
    };
    if !has_it(&python) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "carbontracker==2.4.7"]))?;
        ensure!(has_it(&python), "carbontracker was installed and cannot be imported");
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What upstream's parser makes of a log directory.
pub(crate) fn parse(dir: &Path) -> Result<Vec<Value>> {
    let output = Command::new(python()?).args(["-c", PROGRAM]).arg(dir).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "carbontracker cannot parse {}: {stderr}", dir.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Expects that `ct-report parse` reads a log directory as upstream does: powers and durations.
///
/// The blocks may differ: upstream takes the first of a file, we the last.
#[track_caller]
pub(crate) fn agrees_with_ct_report(dir: &Path) -> Result<()> {
    let program = ct_tests::artifact::built("ct-report", "ct-report")?;
    let output = Command::new(program).arg("parse").arg(dir).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ours: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let theirs = parse(dir)?;
    assert_eq!(ours.len(), theirs.len());
    for (our, their) in ours.iter().zip(&theirs) {
        for component in ["cpu", "gpu"] {
            for key in ["avg_power_usages (W)", "epoch_durations (s)", "devices"] {
                let (our, their) = (&our["components"][component], &their["components"][component]);
                assert_eq!(our[key], their[key], "{component} {key}");
            }
        }
        assert_eq!(our["early_stop"], their["early_stop"]);
        assert_eq!(our["pred"], their["pred"]);
    }
    Ok(())
}

/// Expects that upstream reads a job's logs: epochs, powers, the block of all epochs.
#[track_caller]
pub(crate) fn reads(logs: &JobDir, n_epochs: usize, last_actual_kwh: f64) -> Result<()> {
    let all = parse(&logs.dir)?;
    assert_eq!(all.len(), 1, "{all:#?}");
    let cpu = &all[0]["components"]["cpu"];
    assert_eq!(cpu["epoch_durations (s)"].as_array().map(Vec::len), Some(n_epochs), "{all:#?}");
    let ours = logs.powers("cpu");
    for (index, power) in ours.iter().enumerate() {
        let theirs = cpu["avg_power_usages (W)"][index][0].as_f64().unwrap_or_default();
        assert_within(theirs, *power, 1e-9, "power as upstream reads it");
    }
    // It takes the first actual block of a file; with several it is the one at monitor_epochs.
    let first = logs.block_kwh("Actual consumption");
    assert!(first.contains(&last_actual_kwh));
    assert_within(number(&all[0], "actual.energy (kWh)"), first[0], 1e-9, "energy");
    agrees_with_ct_report(&logs.dir)
}
