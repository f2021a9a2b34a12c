//! What a job left in its directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Local, NaiveDateTime};
use ct_tests::site::wait_for;
use ct_tests::{JobInfo, Meter, PowerPlant, User};
use serde_json::Value;

/// A job's log files and record.
pub(crate) struct JobDir {
    pub(crate) dir: PathBuf,
    pub(crate) standard: String,
    pub(crate) output: String,
    pub(crate) error: String,
    pub(crate) record: Value,
}

impl JobDir {
    /// Waits for the record of job `id` and reads the files, all of which are `user`'s.
    pub(crate) fn read(dir: &Path, id: impl ToString, user: &User) -> Result<Self> {
        Self::read_run(dir, id, 0, user)
    }

    /// The same of a run after requeues.
    pub(crate) fn read_run(
        dir: &Path,
        id: impl ToString,
        restart: u32,
        user: &User,
    ) -> Result<Self> {
        let stem = format!("{}.{restart}_", id.to_string());
        let record = wait_for(&format!("the record {stem}* in {}", dir.display()), || {
            find(dir, &stem, "_carbontracker.json")
                .filter(|p| p.metadata().is_ok_and(|m| m.len() > 0))
        })?;
        let read = |ending: &str| -> Result<String> {
            let path = find(dir, &stem, ending)
                .with_context(|| format!("no {stem}*{ending} in {}", dir.display()))?;
            ensure!(path.metadata()?.uid() == user.uid(), "{} is not the user's", path.display());
            Ok(fs::read_to_string(path)?)
        };
        ensure!(record.metadata()?.uid() == user.uid(), "{} is not the user's", record.display());
        Ok(Self {
            dir: dir.to_owned(),
            standard: read("_carbontracker.log")?,
            output: read("_carbontracker_output.log")?,
            error: read("_carbontracker_err.log")?,
            record: serde_json::from_str(&fs::read_to_string(record)?)?,
        })
    }

    /// Energies of the blocks whose title begins so, in kWh, in file order.
    pub(crate) fn block_kwh(&self, title: &str) -> Vec<f64> {
        let blocks =
            self.output.split("CarbonTracker: \n").skip(1).filter(|b| b.starts_with(title));
        let energy = |b: &str| {
            let rest = b.split_once("Energy:\t")?.1;
            rest.split_once(" kWh")?.0.parse().ok()
        };
        blocks.filter_map(energy).collect()
    }

    /// Power values of a component in the standard log.
    pub(crate) fn powers(&self, component: &str) -> Vec<f64> {
        let label = format!("Average power usage (W) for {component}: ");
        let values = self.standard.lines().filter_map(|l| l.split_once(&label));
        values.filter_map(|(_, v)| v.parse().ok()).collect()
    }
}

fn find(dir: &Path, stem: &str, ending: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().map(|e| e.path()).find(|path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with(stem) && name.ends_with(ending)
    })
}

/// An instant of a record.
pub(crate) fn instant(record: &Value, key: &str) -> SystemTime {
    let text = record[key].as_str().unwrap_or_default();
    let at = DateTime::parse_from_rfc3339(text).unwrap_or_else(|e| panic!("{key} {text:?}: {e}"));
    at.into()
}

/// What a node's package drew, by the plant's word, between start and end of a record.
pub(crate) fn plant_joules(plant: &PowerPlant, record: &Value) -> Result<f64> {
    let (start, end) = (instant(record, "start"), instant(record, "end"));
    plant.energy_between_j(Meter::Package(0), start, end)
}

/// Expects that a record covers the job's time by slurmctld's word, which has whole seconds.
#[track_caller]
pub(crate) fn covers(record: &Value, info: &JobInfo) {
    for (key, field) in [("start", "StartTime"), ("end", "EndTime")] {
        let ours: DateTime<Local> = instant(record, key).into();
        let slurms = NaiveDateTime::parse_from_str(info.get(field), "%Y-%m-%dT%H:%M:%S")
            .unwrap_or_else(|e| panic!("{field} {:?}: {e}", info.get(field)));
        let off = (ours.naive_local() - slurms).as_seconds_f64();
        // slurmctld hears of the end after the node has; a busy machine takes its time.
        assert!((-2.5..=2.5).contains(&off), "{key} is {off} s after {field}: {record:#}");
    }
}

/// The number at a path of keys.
pub(crate) fn number(value: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(value, |v, key| &v[key]);
    found.as_f64().unwrap_or_else(|| panic!("{path} is {found} in {value:#}"))
}
