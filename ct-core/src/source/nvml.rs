//! NVIDIA GPUs by NVML's total energy counter (Volta and later), in millijoules; by their power
//! where the counter is missing.
//!
//! The library is loaded at run time: a node without a GPU needs nothing. The UUID is a GPU's
//! identity; its index in NVML's order and its `/dev/nvidiaN` minor are not the same number. A MIG
//! instance has no counter of its own, so the device stays the physical GPU.

mod instances;
mod power;

pub use power::NvmlPower;

use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as Gpu, Nvml};

use super::{Device, GpuProcess, Partition, ReadError, Source};
use crate::energy::Component;

/// The GPUs of this node that have an energy counter, and who uses any of its GPUs.
pub struct NvmlGpus {
    nvml: Arc<Nvml>,
    devices: Vec<Device>,
    /// UUIDs and indices of all GPUs, with those whose power is integrated.
    all: Vec<(String, u32)>,
}

impl NvmlGpus {
    /// Whether there is any GPU, with a counter or without.
    pub fn has_gpus(&self) -> bool {
        !self.all.is_empty()
    }

    fn gpu(&self, id: &str, index: u32) -> Option<Gpu<'_>> {
        handle(&self.nvml, id, index).ok()
    }
}

/// What discovery found.
pub struct Discovery {
    /// GPUs with an energy counter; `None` where there is no driver.
    pub gpus: Option<NvmlGpus>,
    /// GPUs without one.
    pub powered: Option<NvmlPower>,
    /// GPUs that cannot be measured, and why.
    pub problems: Vec<ReadError>,
}

/// Loads NVML (from `library`, else from the loader's path) and looks for GPUs.
pub fn discover(library: Option<&Path>) -> Discovery {
    let mut builder = Nvml::builder();
    if let Some(path) = library {
        builder.lib_path(path.as_os_str());
    }
    let mut found = Discovery { gpus: None, powered: None, problems: Vec::new() };
    let nvml = match builder.init() {
        Ok(nvml) => Arc::new(nvml),
        // No library and no driver is a node without NVIDIA GPUs, unless one was named.
        Err(NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded) if library.is_none() => {
            return found;
        }
        Err(e) => {
            found.problems.push(driver_error("NVML", &e));
            return found;
        }
    };
    let (mut counted, mut powered) = (Vec::new(), Vec::new());
    let n_gpus = nvml.device_count().unwrap_or_else(|e| {
        found.problems.push(driver_error("NVML's count of GPUs", &e));
        0
    });
    for index in 0..n_gpus {
        match describe(&nvml, index) {
            Ok(device) if device.outlives_us => counted.push(device),
            Ok(device) => powered.push(device),
            Err(e) => {
                found.problems.push(driver_error(&format!("GPU with NVML index {index}"), &e));
            }
        }
    }
    let all = counted
        .iter()
        .chain(&powered)
        .map(|d: &Device| (d.id.clone(), d.index.unwrap_or(0)))
        .collect();
    if !powered.is_empty() {
        match NvmlPower::start(Arc::clone(&nvml), powered) {
            Ok(source) => found.powered = Some(source),
            Err(source) => found.problems.push(ReadError::Driver {
                device: "GPUs without an energy counter".to_owned(),
                message: format!("cannot start a thread: {source}"),
            }),
        }
    }
    found.gpus = Some(NvmlGpus { nvml, devices: counted, all });
    found
}

/// A GPU that has an energy counter, or at least a power; one that has neither is an error.
fn describe(nvml: &Nvml, index: u32) -> Result<Device, NvmlError> {
    let gpu = nvml.device_by_index(index)?;
    let has_counter = match gpu.total_energy_consumption() {
        Ok(_) => true,
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_)) => {
            gpu.power_usage()?;
            false
        }
        Err(e) => return Err(e),
    };
    let method = if has_counter { "nvml-energy" } else { "nvml-power" };
    Ok(Device {
        unit_uj: if has_counter { 1000 } else { 1 },
        outlives_us: has_counter,
        minor: Some(gpu.minor_number()?),
        index: Some(index),
        ..Device::new(Component::Gpu, &gpu.name()?, &gpu.uuid()?, method)
    })
}

/// A GPU by its index, as long as that is its index: a search by UUID asks every GPU who it is, and
/// fails for all of them where one has fallen off the bus.
fn handle<'nvml>(nvml: &'nvml Nvml, id: &str, index: u32) -> Result<Gpu<'nvml>, NvmlError> {
    let gpu = nvml.device_by_index(index)?;
    if gpu.uuid()? == id { Ok(gpu) } else { nvml.device_by_uuid(id) }
}

fn driver_error(device: &str, error: &NvmlError) -> ReadError {
    ReadError::Driver { device: device.to_owned(), message: error.to_string() }
}

impl Source for NvmlGpus {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let read = |device: &Device| {
            handle(&self.nvml, &device.id, device.index.unwrap_or(0))
                .and_then(|gpu| gpu.total_energy_consumption())
                .map_err(|e| driver_error(&device.id, &e))
        };
        self.devices.iter().map(read).collect()
    }

    fn partitions(&mut self) -> Vec<Partition> {
        let gpus = self.all.iter().filter_map(|(id, index)| Some((id, self.gpu(id, *index)?)));
        gpus.flat_map(|(id, gpu)| instances::partitions(&gpu, id)).collect()
    }

    fn processes(&mut self) -> Vec<GpuProcess> {
        let gpus = self.all.iter().filter_map(|(id, index)| Some((id, self.gpu(id, *index)?)));
        gpus.flat_map(|(id, gpu)| instances::processes(&gpu, id)).collect()
    }
}
