//! Runs as the dictionaries of upstream's `parse_all_logs`.

use ct_core::log::parser::{Block, Epoch, Power, Run, Session};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::load::logs::{LogFile, LogSet};
use crate::load::path_text;

/// One pair of logs.
#[derive(Debug, Serialize)]
pub(crate) struct Dictionary<'r> {
    output_filename: Option<String>,
    standard_filename: Option<String>,
    #[serde(flatten)]
    first: SessionPart<'r>,
    /// All sessions, where the pair holds several; the keys above are those of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sessions: Vec<SessionPart<'r>>,
}

/// What one tracker wrote.
#[derive(Clone, Debug, Serialize)]
struct SessionPart<'r> {
    components: Components<'r>,
    early_stop: bool,
    actual: Option<Consumption<'r>>,
    pred: Option<Consumption<'r>>,
}

/// Turns a run into its dictionary.
pub(crate) fn dictionary<'r>(set: LogSet<'_>, run: &'r Run<'_>) -> Dictionary<'r> {
    let n = run.standard.sessions.len().max(run.trackers.len());
    let mut sessions: Vec<_> = (0..n.max(1)).map(|index| session_part(run, index)).collect();
    let first = sessions[0].clone();
    if n < 2 {
        sessions.clear();
    }
    Dictionary {
        output_filename: path_text(set.path(LogFile::Output).as_ref()),
        standard_filename: path_text(set.path(LogFile::Standard).as_ref()),
        first,
        sessions,
    }
}

fn session_part<'r>(run: &'r Run<'_>, index: usize) -> SessionPart<'r> {
    let session = run.standard.sessions.get(index);
    let tracker = run.trackers.get(index).copied().unwrap_or_default();
    let block = |at: Option<usize>| Some(Consumption(run.output.blocks.get(at?)?));
    SessionPart {
        components: Components(session),
        early_stop: session.is_some_and(|s| s.is_early_stop),
        actual: block(tracker.actual),
        pred: block(tracker.predicted),
    }
}

/// `{gpu|cpu: {"avg_power_usages (W)": …}}`
#[derive(Clone, Copy, Debug)]
struct Components<'r>(Option<&'r Session<'r>>);

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.map(component_names).unwrap_or_default() {
            map.serialize_entry(name, &Component::of(self.0, name))?;
        }
        map.end()
    }
}

/// Components in the log's order: those that were found, then those that only have power.
fn component_names<'r>(session: &'r Session<'_>) -> Vec<&'r str> {
    let found = session.devices.iter().map(|d| d.component);
    let powers = session.epochs.iter().flat_map(|epoch| &epoch.power).map(|p| &*p.component);
    let mut names: Vec<&str> = Vec::new();
    for name in found.chain(powers) {
        if names.len() < MOST_COMPONENTS && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// More components than any release knows; a log that names thousands is somebody's joke.
const MOST_COMPONENTS: usize = 8;

#[derive(Debug, Serialize)]
struct Component<'r> {
    #[serde(rename = "avg_power_usages (W)")]
    power_w: Option<Vec<Option<&'r [f64]>>>,
    #[serde(rename = "avg_energy_usages (J)")]
    energy_j: Option<Vec<Option<Vec<f64>>>>,
    #[serde(rename = "epoch_durations (s)")]
    duration_s: Option<Vec<Option<f64>>>,
    devices: Vec<&'r str>,
}

impl<'r> Component<'r> {
    fn of(session: Option<&'r Session<'_>>, name: &str) -> Self {
        let epochs = session.map_or(&[][..], |s| &s.epochs);
        let watts = |epoch: &'r Epoch<'_>| -> Option<&'r [f64]> {
            let is_it = |p: &&Power<'_>| p.component == name;
            epoch.power.iter().find(is_it)?.watts.as_deref()
        };
        let joules = |epoch: &'r Epoch<'_>| {
            let duration = epoch.duration_s?;
            Some(watts(epoch)?.iter().map(|w| w * duration).collect())
        };
        let has_epochs = !epochs.is_empty();
        let devices = session.and_then(|s| s.devices.iter().find(|d| d.component == name));
        Self {
            power_w: has_epochs.then(|| epochs.iter().map(watts).collect()),
            energy_j: has_epochs.then(|| epochs.iter().map(joules).collect()),
            duration_s: has_epochs.then(|| epochs.iter().map(|e| e.duration_s).collect()),
            devices: devices.map(|d| d.names.iter().map(|n| &**n).collect()).unwrap_or_default(),
        }
    }
}

/// `{epochs, "duration (s)", "energy (kWh)", "co2eq (g)", equivalents}`
#[derive(Clone, Copy, Debug)]
struct Consumption<'r>(&'r Block<'r>);

impl Serialize for Consumption<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(block) = self;
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("epochs", &block.epochs)?;
        map.serialize_entry("duration (s)", &block.duration_s)?;
        map.serialize_entry("energy (kWh)", &block.energy_kwh)?;
        map.serialize_entry("co2eq (g)", &block.co2eq_g)?;
        map.serialize_entry("equivalents", &block.equivalents.as_deref().map(Equivalents))?;
        map.end()
    }
}

struct Equivalents<'r>(&'r [(std::borrow::Cow<'r, str>, f64)]);

impl Serialize for Equivalents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(unit, value)| (unit, value)))
    }
}
