//! The names of the meters, and what they have counted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Names one meter of a [`Spec`](super::Spec).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meter {
    /// A RAPL package, by the index of its zone.
    Package(usize),
    /// The cores of a package, by the package's index.
    Core(usize),
    /// The memory of a package, by the package's index.
    Dram(usize),
    /// The whole platform.
    Psys,
    /// A GPU, by NVML index.
    Gpu(usize),
    /// A hwmon sensor, by the index in its directory's name.
    Hwmon(usize),
    /// A Cray's whole node.
    Node,
    /// The CPUs of a Cray's node.
    NodeCpu,
    /// The memory of a Cray's node.
    NodeMemory,
    /// An accelerator of a Cray's node, by index.
    Accelerator(usize),
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(n) => write!(f, "package-{n}"),
            Self::Core(n) => write!(f, "package-{n}/core"),
            Self::Dram(n) => write!(f, "package-{n}/dram"),
            Self::Psys => f.write_str("psys"),
            Self::Gpu(n) => write!(f, "gpu{n}"),
            Self::Hwmon(n) => write!(f, "hwmon{n}"),
            Self::Node => f.write_str("node"),
            Self::NodeCpu => f.write_str("node/cpu"),
            Self::NodeMemory => f.write_str("node/memory"),
            Self::Accelerator(n) => write!(f, "node/accel{n}"),
        }
    }
}

impl FromStr for Meter {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let index = |prefix: &str, suffix: &str| -> Option<usize> {
            name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()
        };
        match name {
            "psys" => return Ok(Self::Psys),
            "node" => return Ok(Self::Node),
            "node/cpu" => return Ok(Self::NodeCpu),
            "node/memory" => return Ok(Self::NodeMemory),
            _ => {}
        }
        let numbered = [
            index("package-", "").map(Self::Package),
            index("package-", "/core").map(Self::Core),
            index("package-", "/dram").map(Self::Dram),
            index("gpu", "").map(Self::Gpu),
            index("hwmon", "").map(Self::Hwmon),
            index("node/accel", "").map(Self::Accelerator),
        ];
        match numbered.into_iter().flatten().next() {
            Some(meter) => Ok(meter),
            None => bail!("{name:?} is no meter, expected such as \"package-0/dram\" or \"gpu1\""),
        }
    }
}

/// What a plant has drawn from its start until one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The start, in seconds since 1970.
    pub started_unix_s: f64,
    /// Seconds from the start to this moment, by the monotonic clock.
    pub elapsed_s: f64,
    /// CPU time used since the start, in seconds summed over all CPUs.
    pub busy_s: f64,
    /// Energy of each meter since the start, by its name.
    pub energy_j: BTreeMap<String, f64>,
}

impl Truth {
    /// The energy in joules a meter has drawn.
    ///
    /// # Errors
    ///
    /// Where the plant has no such meter.
    pub fn of(&self, meter: Meter) -> anyhow::Result<f64> {
        let energy_j = self.energy_j.get(&meter.to_string()).copied();
        energy_j.with_context(|| format!("the plant has no meter {meter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        use Meter::{
            Accelerator, Core, Dram, Gpu, Hwmon, Node, NodeCpu, NodeMemory, Package, Psys,
        };
        let rapl = [Package(0), Core(1), Dram(12), Psys];
        let others = [Gpu(3), Hwmon(0), Node, NodeCpu, NodeMemory, Accelerator(7)];
        for meter in rapl.into_iter().chain(others) {
            assert_eq!(meter.to_string().parse::<Meter>().unwrap(), meter);
        }
        for name in ["", "package-", "package-x", "gpu", "gpu-1", "node/", "node/accel"] {
            assert!(name.parse::<Meter>().is_err(), "{name:?}");
        }
    }
}
