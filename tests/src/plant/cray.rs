//! The counters of a Cray's node, `/sys/cray/pm_counters`.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::live::{LiveFile, write};
use super::meter::Meter;
use super::readout::{Quantity, Reading, Readout, first_text};
use super::waveform::Waveform;

/// Updates per second, as in the file `raw_scan_hz`.
const SCAN_HZ: f64 = 10.0;

/// The meters of a Cray's node. They count whole joules, ten times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cray {
    /// The node with all that is in it.
    pub node: Waveform,
    /// Its CPUs.
    #[serde(default)]
    pub cpu: Option<Waveform>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<Waveform>,
    /// Its accelerators: `accel0` and on.
    #[serde(default)]
    pub accelerators: Vec<Waveform>,
}

impl Cray {
    /// A node without meters of its parts.
    pub fn new(node: Waveform) -> Self {
        Self { node, cpu: None, memory: None, accelerators: Vec::new() }
    }

    /// Its meters, with what they measure.
    pub(super) fn meters(&self) -> Vec<(Meter, &Waveform)> {
        let mut meters = vec![(Meter::Node, &self.node)];
        meters.extend(self.cpu.as_ref().map(|w| (Meter::NodeCpu, w)));
        meters.extend(self.memory.as_ref().map(|w| (Meter::NodeMemory, w)));
        let accelerators = self.accelerators.iter().enumerate();
        meters.extend(accelerators.map(|(n, w)| (Meter::Accelerator(n), w)));
        meters
    }
}

/// What stands before `energy` and `power` in the names of a meter's files.
fn prefix(meter: Meter) -> String {
    match meter {
        Meter::NodeCpu => "cpu_".to_owned(),
        Meter::NodeMemory => "memory_".to_owned(),
        Meter::Accelerator(n) => format!("accel{n}_"),
        _ => String::new(),
    }
}

/// The files of the counters.
#[derive(Debug)]
pub(super) struct PmCounters {
    pub(super) readouts: Vec<Readout>,
    freshness: LiveFile,
    n_updates: Option<u64>,
}

impl PmCounters {
    /// Makes the directory.
    pub(super) fn make(root: &Path, cray: &Cray, started_unix_s: f64) -> Result<Self> {
        let dir = root.join("sys/cray/pm_counters");
        write(&dir.join("generation"), "1\n")?;
        write(&dir.join("raw_scan_hz"), &format!("{SCAN_HZ}\n"))?;
        write(&dir.join("startup"), &format!("{:.0}\n", started_unix_s * 1e6))?;
        write(&dir.join("version"), "2\n")?;
        let mut readouts = Vec::new();
        for (meter, _) in cray.meters() {
            for (name, quantity, unit) in
                [("energy", Quantity::Energy, 'J'), ("power", Quantity::Power, 'W')]
            {
                let path = dir.join(prefix(meter) + name);
                let file = LiveFile::create(&path, &first_text(Some(unit)))?;
                readouts.push(Readout::new(meter, quantity, 1.0, file).stamped(unit));
            }
        }
        let freshness = LiveFile::number(&dir.join("freshness"))?;
        Ok(Self { readouts, freshness, n_updates: None })
    }

    /// Brings the files up to date where an update is due.
    pub(super) fn show(
        &mut self,
        elapsed_s: f64,
        reading: impl Fn(Meter) -> Reading,
    ) -> Result<()> {
        let n_updates = (elapsed_s * SCAN_HZ) as u64;
        if self.n_updates.replace(n_updates) == Some(n_updates) {
            return Ok(());
        }
        self.readouts.iter().try_for_each(|readout| readout.show(reading(readout.meter)))?;
        self.freshness.set_number(n_updates)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn counters_are_fresh_ten_times_a_second() {
        let root = tempfile::tempdir().unwrap();
        let watts = |watts| Waveform::Constant { watts };
        let cray = Cray {
            cpu: Some(watts(100.0)),
            accelerators: vec![watts(250.0)],
            ..Cray::new(watts(500.0))
        };
        let mut counters = PmCounters::make(root.path(), &cray, 1.69e9).unwrap();
        let reading =
            |energy_j| Reading { energy_j, power_w: 500.4, unix_us: 1_690_000_000_100_000 };
        let read =
            |name| fs::read_to_string(root.path().join("sys/cray/pm_counters").join(name)).unwrap();
        counters.show(0.12, |_| reading(60.9)).unwrap();
        // In the same tenth of a second nothing is updated.
        counters.show(0.19, |_| reading(95.0)).unwrap();
        assert_eq!(read("energy"), "0000000060 J 1690000000100000 us\n");
        assert_eq!(read("power"), "0000000500 W 1690000000100000 us\n");
        assert_eq!(read("freshness"), "000000000000001\n");
        counters.show(0.2, |_| reading(100.0)).unwrap();
        assert_eq!(read("accel0_energy"), "0000000100 J 1690000000100000 us\n");
        assert_eq!(
            (read("freshness").as_str(), read("generation").as_str()),
            ("000000000000002\n", "1\n")
        );
        assert!(!root.path().join("sys/cray/pm_counters/memory_energy").exists());
    }
}
