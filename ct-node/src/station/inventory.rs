//! What the node has, for whoever sets it up: its meters, and the numbers of its GPUs.

use ct_core::energy::Component;
use ct_core::gpu::DeviceFile;
use ct_core::protocol::{MeterStatus, NodeStatus};
use ct_core::source::Device;

use super::Station;

impl Station {
    /// The node as it is now.
    pub fn inventory(&mut self) -> NodeStatus {
        let gres = self.gres_numbers();
        let devices = self.sampler.devices();
        let has_meter = |files: &[DeviceFile]| devices.iter().any(|d| is_of(d, files));
        let numbers = (0..).zip(&gres);
        let without = numbers.filter(|(_, files)| !files.is_empty() && !has_meter(files));
        NodeStatus {
            node: self.node.clone(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            n_jobs: u32::try_from(self.jobs.len()).unwrap_or(u32::MAX),
            meters: devices.iter().map(|device| meter(device, &gres)).collect(),
            gres_without_meter: without.map(|(number, _)| number).collect(),
            outages: self.sampler.outages().collect(),
        }
    }
}

fn meter(device: &Device, gres: &[Vec<DeviceFile>]) -> MeterStatus {
    let is_gpu = device.component == Component::Gpu;
    let number = (0..).zip(gres).find(|(_, files)| is_gpu && is_of(device, files));
    MeterStatus {
        component: device.component.as_str().to_owned(),
        name: device.name.clone(),
        id: device.id.clone(),
        method: device.method.clone(),
        gres: number.map(|(number, _)| number),
        minor: device.minor,
        index: device.index,
    }
}

/// Whether the files of a gres number are those of a device. Of a MIG instance that is not known.
fn is_of(device: &Device, files: &[DeviceFile]) -> bool {
    files.iter().any(|file| match file {
        DeviceFile::Nvidia(n) | DeviceFile::Render(n) => {
            device.component == Component::Gpu && device.minor == Some(*n)
        }
        DeviceFile::Capability(_) => false,
    })
}
