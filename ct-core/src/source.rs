//! Meters: what counts joules, and what counts CPU time.
//!
//! Every reader takes the root of its tree, so it is tested on trees. Discovery, opening and
//! reading are apart: discovery looks around and may find nothing, opening needs root once, reading
//! is a `pread` of an open file. Raw counters keep the kernel's unit until they are differenced.

pub mod cgroup;
pub mod cpu_model;
pub mod cpus;
pub mod drm;
pub mod gpu_files;
pub mod hwmon;
pub mod integrator;
pub mod ipmi;
pub mod perf;
pub mod pm_counters;
pub mod processes;
pub mod procfs;
pub mod rapl;
pub mod worker;

#[cfg(feature = "nvml")]
pub mod nvml;

mod error;
mod file;

pub use error::ReadError;
pub use file::{CounterFile, Counters};

use crate::energy::Component;

/// One device that a meter counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is. A counter of [`Component::Rest`] counts the whole node: the sampler takes the
    /// other devices off it.
    pub component: Component,
    /// Its name in logs: `cpu:0`, `dram:0`, or the GPU's model.
    pub name: String,
    /// Its identity on this node: `rapl:package-0`, a GPU's UUID.
    pub id: String,
    /// Where its joules come from: `rapl`, `nvml-energy`, `modelled:…`.
    pub method: String,
    /// Microjoules per count of the raw counter.
    pub unit_uj: u64,
    /// Value at which the raw counter starts over.
    pub modulus: Option<u64>,
    /// Whether the counter goes on when we do not run, so that a gap can be booked from it.
    pub outlives_us: bool,
    /// More than it can draw, in W: what a counter says beyond that is not believed.
    pub max_power_w: u32,
    /// Whether it is power that is integrated: the energy of a time in which it failed is lost.
    pub is_integrated: bool,
    /// Number of a GPU's device file: N of `/dev/nvidiaN`, of `/dev/dri/renderDN`.
    pub minor: Option<u32>,
    /// Place of a GPU in its driver's own order, from 0: the NVML index.
    pub index: Option<u32>,
    /// The package (socket) it belongs to, where it belongs to one.
    pub package: Option<u32>,
    /// What a model reckons with, where no meter counts: what was learned of another one is void.
    pub model: Option<String>,
}

impl Device {
    /// A device whose counter holds microjoules, never starts over and goes on without us.
    pub fn new(component: Component, name: &str, id: &str, method: &str) -> Self {
        Self {
            component,
            name: name.to_owned(),
            id: id.to_owned(),
            method: method.to_owned(),
            unit_uj: 1,
            modulus: None,
            outlives_us: true,
            max_power_w: max_power_w(component, method),
            is_integrated: false,
            minor: None,
            index: None,
            package: None,
            model: None,
        }
    }
}

/// More than one device of a kind draws; METHOD.md, "Faults of meters", has the sources.
fn max_power_w(component: Component, method: &str) -> u32 {
    // What we reckon ourselves is of all packages at once, and as the site says.
    if method.starts_with("modelled:") || method.starts_with("simulated:") {
        return u32::MAX;
    }
    match component {
        Component::Cpu | Component::Dram => 1000,
        Component::Gpu => 3000,
        Component::Rest => 30_000,
    }
}

/// A part of a GPU that is given to a job on its own: an instance of Multi-Instance GPU (MIG).
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// Its UUID, `MIG-…`.
    pub uuid: String,
    /// The GPU's [`Device::id`].
    pub device_id: String,
    /// Its share of the GPU's slices, 0 to 1.
    pub share: f64,
}

/// A process that has a context on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuProcess {
    /// Its process id.
    pub pid: u32,
    /// The GPU's [`Device::id`].
    pub device_id: String,
    /// The [`Partition::uuid`] it runs in, on a GPU that is partitioned.
    pub partition: Option<String>,
}

/// A meter of one or more devices.
pub trait Source: Send {
    /// What it counts; the same devices in the same order for its whole life.
    fn devices(&self) -> &[Device];

    /// Begins a reading where that takes no time, and says whether it did: [`Source::read`] then
    /// waits for it. So meters that take their time take it together.
    fn begin(&mut self) -> bool {
        false
    }

    /// Reads the raw counter of each device, in the order of [`Source::devices`].
    fn read(&mut self) -> Vec<Result<u64, ReadError>>;

    /// How its GPUs are partitioned now; an administrator may change that at any time.
    fn partitions(&mut self) -> Vec<Partition> {
        Vec::new()
    }

    /// Which processes use its GPUs now.
    fn processes(&mut self) -> Vec<GpuProcess> {
        Vec::new()
    }
}
