//! GPUs without an energy counter (before Volta): power, integrated every 100 ms on a thread.

use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::Nvml;

use super::driver_error;
use crate::source::integrator::{Integrator, Sensor};
use crate::source::{Device, ReadError, Source};
use crate::units::Watts;

/// Time between two readings of the power.
const STEP: Duration = Duration::from_millis(100);

/// The GPUs of this node whose power is integrated.
pub struct NvmlPower(Integrator);

impl NvmlPower {
    /// Starts integrating; the thread ends when this is dropped.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub(super) fn start(nvml: Arc<Nvml>, devices: Vec<Device>) -> std::io::Result<Self> {
        let meter = |device: Device| {
            let (nvml, id) = (Arc::clone(&nvml), device.id.clone());
            (device, Box::new(move || power(&nvml, &id)) as Sensor)
        };
        let meters = devices.into_iter().map(meter).collect();
        Integrator::start("nvml-power", STEP, meters).map(Self)
    }
}

fn power(nvml: &Nvml, id: &str) -> Result<Watts, ReadError> {
    let milliwatts = nvml.device_by_uuid(id).and_then(|gpu| gpu.power_usage());
    milliwatts.map(|mw| Watts::new(f64::from(mw) * 1e-3)).map_err(|e| driver_error(id, &e))
}

impl Source for NvmlPower {
    fn devices(&self) -> &[Device] {
        self.0.devices()
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        self.0.read()
    }
}
