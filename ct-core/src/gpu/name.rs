//! GPUs and MIG instances by their UUIDs, and instances by the driver's capability files.

use super::{DeviceFile, Found, Machine};

/// A MIG instance as `/proc/driver/nvidia/capabilities/gpuN/mig/giG/ciC` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Number of its GPU's device file.
    pub gpu_minor: u32,
    /// Id of the GPU instance.
    pub gpu_instance: u32,
    /// Id of the compute instance in it.
    pub compute_instance: u32,
    /// Numbers of the capabilities that a process needs for the two.
    pub capabilities: [u32; 2],
}

/// Reads the number of a capability's device file from the text of an `access` file.
pub fn parse_capability(text: &str) -> Option<u32> {
    let number = text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:"))?;
    number.trim().parse().ok()
}

/// Why a name is no GPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameError {
    /// Nothing has it.
    Unknown,
    /// It is an abbreviation of several.
    Ambiguous,
}

impl NameError {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "has no meter",
            Self::Ambiguous => "is short for several",
        }
    }
}

impl Machine<'_> {
    /// A GPU or instance by its UUID, which may be abbreviated; by the name `MIG-GPU-UUID/GI/CI` of
    /// drivers before R470, which later ones take as well.
    pub(super) fn by_uuid(self, word: &str) -> Result<Found, NameError> {
        if let Some(found) = self.by_old_name(word) {
            return Ok(found);
        }
        if word.starts_with("MIG-") && word.len() > "MIG-".len() {
            let named = self.partitions.iter().enumerate();
            let index = one(named.filter(|(_, p)| p.uuid.starts_with(word)).map(|(i, _)| i))?;
            let id = &self.partitions[index].device_id;
            let device = self.gpus().find(|(_, d)| d.id == *id).ok_or(NameError::Unknown)?.0;
            return Ok(Found { device, partition: Some(index) });
        }
        if word.starts_with("GPU-") && word.len() > "GPU-".len() {
            let named = self.gpus().filter(|(_, d)| d.id.starts_with(word)).map(|(i, _)| i);
            return Ok(Found { device: one(named)?, partition: None });
        }
        Err(NameError::Unknown)
    }

    /// `MIG-GPU-UUID/GI/CI`.
    fn by_old_name(self, word: &str) -> Option<Found> {
        let mut parts = word.strip_prefix("MIG-")?.split('/');
        let gpu = parts.next().filter(|gpu| gpu.starts_with("GPU-"))?;
        let (gi, ci) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (device, known) = self.gpus().find(|(_, d)| d.id == gpu)?;
        // An old driver gives this very name as the UUID.
        let by_name = self.partitions.iter().position(|p| p.uuid == word);
        let partition = by_name.or_else(|| {
            let ids = |i: &&Instance| (i.gpu_instance, i.compute_instance) == (gi, ci);
            let of_gpu = self.instances.iter().filter(|i| Some(i.gpu_minor) == known.minor);
            self.partition_of(device, of_gpu.into_iter().find(ids)?)
        });
        Some(Found { device, partition: Some(partition?) })
    }

    /// The instances of a GPU all of whose capabilities are among these files.
    pub(super) fn instances_among(self, device: usize, files: &[DeviceFile]) -> Vec<Found> {
        let has = |number: &u32| files.contains(&DeviceFile::Capability(*number));
        let minor = self.devices[device].minor;
        let of_gpu = self.instances.iter().filter(|i| Some(i.gpu_minor) == minor);
        let held = of_gpu.filter(|i| i.capabilities.iter().all(has));
        let found = |i| Some(Found { device, partition: Some(self.partition_of(device, i)?) });
        held.filter_map(found).collect()
    }

    /// NVML has the instances of a GPU in the order of their ids, without gaps; where the two lists
    /// differ in length the layout is being changed, and none is known.
    fn partition_of(self, device: usize, instance: &Instance) -> Option<usize> {
        let device = &self.devices[device];
        let mut instances: Vec<&Instance> =
            self.instances.iter().filter(|i| Some(i.gpu_minor) == device.minor).collect();
        instances.sort();
        let of_gpu = self.partitions.iter().enumerate().filter(|(_, p)| p.device_id == device.id);
        let partitions: Vec<usize> = of_gpu.map(|(index, _)| index).collect();
        let place = instances.iter().position(|i| *i == instance)?;
        if instances.len() == partitions.len() { partitions.get(place).copied() } else { None }
    }
}

/// The only one.
fn one(mut found: impl Iterator<Item = usize>) -> Result<usize, NameError> {
    let first = found.next().ok_or(NameError::Unknown)?;
    if found.next().is_some() { Err(NameError::Ambiguous) } else { Ok(first) }
}
