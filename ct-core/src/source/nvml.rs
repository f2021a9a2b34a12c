//! NVIDIA GPUs by NVML's total energy counter (Volta and later), in millijoules.
//!
//! The library is loaded at run time: a node without a GPU needs nothing. The UUID is a GPU's
//! identity; its index in NVML's order and its `/dev/nvidiaN` minor are not the same number.

use std::path::Path;
use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Device, ReadError, Source};
use crate::energy::Component;

/// The GPUs of this node that have an energy counter.
pub struct NvmlGpus {
    nvml: Arc<Nvml>,
    devices: Vec<Device>,
}

/// What discovery found.
pub struct Discovery {
    /// GPUs to read; `None` where there is no driver.
    pub gpus: Option<NvmlGpus>,
    /// GPUs that cannot be measured, and why.
    pub problems: Vec<ReadError>,
}

/// Loads NVML (from `library`, else from the loader's path) and looks for GPUs.
pub fn discover(library: Option<&Path>) -> Discovery {
    let mut builder = Nvml::builder();
    if let Some(path) = library {
        builder.lib_path(path.as_os_str());
    }
    let nvml = match builder.init() {
        Ok(nvml) => Arc::new(nvml),
        // No library and no driver is a node without NVIDIA GPUs, unless one was named.
        Err(NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded) if library.is_none() => {
            return Discovery { gpus: None, problems: Vec::new() };
        }
        Err(e) => return Discovery { gpus: None, problems: vec![driver_error("NVML", &e)] },
    };
    let mut found = Discovery { gpus: None, problems: Vec::new() };
    let mut devices = Vec::new();
    for index in 0..nvml.device_count().unwrap_or(0) {
        match describe(&nvml, index) {
            Ok(device) => devices.push(device),
            Err(e) => {
                found.problems.push(driver_error(&format!("GPU with NVML index {index}"), &e));
            }
        }
    }
    found.gpus = Some(NvmlGpus { nvml, devices });
    found
}

fn describe(nvml: &Nvml, index: u32) -> Result<Device, NvmlError> {
    let gpu = nvml.device_by_index(index)?;
    gpu.total_energy_consumption()?;
    Ok(Device {
        component: Component::Gpu,
        name: gpu.name()?,
        id: gpu.uuid()?,
        method: "nvml-energy".to_owned(),
        unit_uj: 1000,
        modulus: None,
        outlives_us: true,
        minor: Some(gpu.minor_number()?),
    })
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
            self.nvml
                .device_by_uuid(device.id.as_str())
                .and_then(|gpu| gpu.total_energy_consumption())
                .map_err(|e| driver_error(&device.id, &e))
        };
        self.devices.iter().map(read).collect()
    }
}
