//! Which GPUs are a job's: the numbers and names that Slurm, CUDA and the kernel use, resolved to
//! the meters' identities.
//!
//! Four number spaces meet here and are told apart: the *gres number* (place in slurmd's list of
//! GPUs: `SLURM_JOB_GPUS`), the number of the *device file* (`/dev/nvidiaN`), the *index* in the
//! driver's order (NVML's), and the index *inside a device cgroup*, from 0. Values in, values out;
//! what cannot be resolved is said, never replaced by "all GPUs of the node".

mod cgroup;
mod file;
mod name;
mod visible;

pub use cgroup::{Majors, parse_devices_list};
pub use file::{DeviceFile, parse_slurmd_gres};
pub use name::{Instance, parse_capability};

use std::collections::BTreeSet;

use crate::energy::Component;
use crate::protocol::JobFacts;
use crate::record::GpuShare;
use crate::source::{Device, Partition};

/// Every warning of this module begins so.
pub const WARNING: &str = "GPUs: ";

/// The GPUs of a node, with all by which they are known.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Every device of the node; those that are no GPUs are passed over.
    pub devices: &'a [Device],
    /// Their MIG instances, by GPU in NVML's order.
    pub partitions: &'a [Partition],
    /// The capabilities of MIG instances, as the driver's files show them.
    pub instances: &'a [Instance],
    /// The device files of each gres number; empty where slurmd's list is not known.
    pub gres: &'a [Vec<DeviceFile>],
}

/// What is said of a job's GPUs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim<'a> {
    /// `SLURM_JOB_GPUS`.
    pub job_gpus: Option<&'a str>,
    /// `SLURM_STEP_GPUS`.
    pub step_gpus: Option<&'a str>,
    /// `CUDA_VISIBLE_DEVICES`.
    pub cuda: Option<&'a str>,
    /// `ROCR_VISIBLE_DEVICES`.
    pub rocr: Option<&'a str>,
    /// `ZE_AFFINITY_MASK`.
    pub ze: Option<&'a str>,
    /// The device files that the job's cgroup allows; `None` where it does not say.
    pub allowed: Option<&'a [DeviceFile]>,
}

impl<'a> Claim<'a> {
    /// What hooks have told.
    pub fn of(facts: &'a JobFacts, allowed: Option<&'a [DeviceFile]>) -> Self {
        Self {
            job_gpus: facts.job_gpus.as_deref(),
            step_gpus: facts.step_gpus.as_deref(),
            cuda: facts.cuda_visible_devices.as_deref(),
            rocr: facts.rocr_visible_devices.as_deref(),
            ze: facts.ze_affinity_mask.as_deref(),
            allowed,
        }
    }

    /// Slurm's own list, with the variable it came in.
    fn numbers(&self) -> Option<(&'static str, &'a str)> {
        let lists = [("SLURM_JOB_GPUS", self.job_gpus), ("SLURM_STEP_GPUS", self.step_gpus)];
        let given = |(name, list): (_, Option<&'a str>)| Some((name, list?));
        lists.into_iter().filter_map(given).find(|(_, list)| words(list).next().is_some())
    }
}

/// A GPU, or one instance of it: indices among the machine's devices and partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    device: usize,
    partition: Option<usize>,
}

/// The GPUs of a job and what could not be resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// GPUs, each once, with the share of its slices.
    pub gpus: Vec<GpuShare>,
    /// What was left out or is unsure, each beginning with [`WARNING`].
    pub warnings: Vec<String>,
}

/// Finds a job's GPUs: by Slurm's list, else by the variables of CUDA, ROCm and Level Zero; the
/// job's cgroup, where it says anything, has the last word.
pub fn resolve(machine: Machine<'_>, claim: &Claim<'_>) -> Held {
    let mut warnings = Vec::new();
    let found = match claim.numbers() {
        Some((name, list)) => {
            let found = by_slurm(machine, claim, name, list, &mut warnings);
            confirmed(machine, claim, name, found, &mut warnings)
        }
        None => visible::find(machine, claim, &mut warnings),
    };
    let warnings = warnings.into_iter().map(|w| format!("{WARNING}{w}")).collect();
    Held { gpus: machine.shares(&found), warnings }
}

fn by_slurm(
    machine: Machine<'_>,
    claim: &Claim<'_>,
    name: &str,
    list: &str,
    warnings: &mut Vec<String>,
) -> BTreeSet<Found> {
    let mut found = BTreeSet::new();
    for (place, word) in words(list).enumerate() {
        let by_number = by_gres_number(machine, word, warnings);
        let by_uuid = beside(list, claim.cuda, place).and_then(|u| machine.by_uuid(u).ok());
        match (by_number, by_uuid) {
            (Some(files), Some(uuid)) if files.iter().all(|f| f.device != uuid.device) => {
                warnings.push(format!(
                    "{word:?} of {name} and its UUID in CUDA_VISIBLE_DEVICES are two GPUs; \
                     taken by the number"
                ));
                found.extend(files);
            }
            (Some(files), _) => found.extend(files),
            // Of an instance without capability files, or a number whose files are not known.
            (None, Some(uuid)) => _ = found.insert(uuid),
            (None, None) => {
                warnings.push(format!("{word:?} of {name} has no meter; not included"));
            }
        }
    }
    found
}

/// Slurm writes both lists in step: the UUID beside a number is of the same GPU.
fn beside<'a>(numbers: &str, cuda: Option<&'a str>, place: usize) -> Option<&'a str> {
    let cuda = cuda.filter(|list| words(list).count() == words(numbers).count())?;
    words(cuda).nth(place).filter(|word| is_uuid(word))
}

/// What a word of Slurm's list is: by slurmd's list of files, else as the number of a device file.
fn by_gres_number(
    machine: Machine<'_>,
    word: &str,
    warnings: &mut Vec<String>,
) -> Option<Vec<Found>> {
    let Ok(number) = word.parse::<u32>() else {
        return machine.by_uuid(word).ok().map(|found| vec![found]);
    };
    if !machine.gres.is_empty() {
        let files = machine.gres.get(usize::try_from(number).ok()?)?;
        return Some(machine.by_files(files)).filter(|found| !found.is_empty());
    }
    let device = machine.by_file(DeviceFile::Nvidia(number))?;
    if machine.devices[device].index.is_some_and(|index| index != number) {
        warnings.push(format!(
            "number {number} is taken as that of /dev/nvidia{number}, as slurmd's list of GPUs is \
             not known"
        ));
    }
    Some(vec![Found { device, partition: None }])
}

/// The job's cgroup has the last word: it is what the kernel lets the job use.
fn confirmed(
    machine: Machine<'_>,
    claim: &Claim<'_>,
    name: &str,
    found: BTreeSet<Found>,
    warnings: &mut Vec<String>,
) -> BTreeSet<Found> {
    let Some(files) = claim.allowed else { return found };
    let allowed: BTreeSet<Found> = machine.by_files(files).into_iter().collect();
    // A step may have fewer than its job, whose cgroup it is.
    let is_part = name == "SLURM_STEP_GPUS" && found.is_subset(&allowed);
    if allowed != found && !is_part {
        let held = |found| {
            let shares = machine.shares(found);
            shares.iter().map(|g| g.uuid.clone()).collect::<Vec<_>>().join(", ")
        };
        warnings.push(format!(
            "{name} says [{}], the job's cgroup allows [{}]; taken from the cgroup",
            held(&found),
            held(&allowed)
        ));
    }
    allowed
}

impl<'a> Machine<'a> {
    /// Whether every GPU that slurmd lists is among the devices.
    pub fn has_all_of_gres(self) -> bool {
        let is_gpu = |file: &&DeviceFile| !matches!(file, DeviceFile::Capability(_));
        self.gres.iter().flatten().filter(is_gpu).all(|file| self.by_file(*file).is_some())
    }

    fn gpus(self) -> impl Iterator<Item = (usize, &'a Device)> {
        let is_gpu = |(_, d): &(usize, &Device)| d.component == Component::Gpu;
        self.devices.iter().enumerate().filter(is_gpu)
    }

    fn by_file(self, file: DeviceFile) -> Option<usize> {
        let is_it = |d: &Device| match file {
            DeviceFile::Nvidia(n) => maker(d) != Maker::Other && d.minor == Some(n),
            // card0 and renderD128 are one GPU, and so is Cray's accel0.
            DeviceFile::Render(n) => {
                maker(d) != Maker::Nvidia && d.minor.is_some_and(|m| m % 128 == n % 128)
            }
            DeviceFile::Capability(_) => false,
        };
        self.gpus().find(|(_, d)| is_it(d)).map(|(index, _)| index)
    }

    /// The GPUs of these files; of a partitioned GPU the instances whose capabilities are with it.
    ///
    /// Where the instance of a capability is not known the GPU is left out: it is not held whole.
    fn by_files(self, files: &[DeviceFile]) -> Vec<Found> {
        let has_capability = files.iter().any(|f| matches!(f, DeviceFile::Capability(_)));
        let devices: Vec<usize> = files.iter().filter_map(|file| self.by_file(*file)).collect();
        let mut found = Vec::new();
        for device in &devices {
            let instances = self.instances_among(*device, files);
            let is_instance =
                has_capability && (devices.len() == 1 || self.is_partitioned(*device));
            if instances.is_empty() && !is_instance {
                found.push(Found { device: *device, partition: None });
            }
            found.extend(instances);
        }
        found
    }

    fn is_partitioned(self, device: usize) -> bool {
        self.partitions.iter().any(|p| p.device_id == self.devices[device].id)
    }

    fn shares(self, found: &BTreeSet<Found>) -> Vec<GpuShare> {
        let mut shares: Vec<GpuShare> = Vec::new();
        for one in found {
            let device = &self.devices[one.device];
            let share = one.partition.map_or(1.0, |p| self.partitions[p].share);
            match shares.iter_mut().find(|g| g.uuid == device.id) {
                Some(held) => held.share = (held.share + share).min(1.0),
                None => {
                    let (uuid, name) = (device.id.clone(), device.name.clone());
                    shares.push(GpuShare { uuid, name, share });
                }
            }
        }
        shares
    }
}

/// The words of a list; Slurm's word for "no device files" is none.
fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|w| !w.is_empty() && *w != "NoDevFiles")
}

fn is_uuid(word: &str) -> bool {
    word.starts_with("GPU-") || word.starts_with("MIG-")
}

/// Whose driver counts a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Nvidia,
    /// AMD or Intel.
    Other,
    /// A meter of the node that does not say.
    Unknown,
}

fn maker(device: &Device) -> Maker {
    match device.method.as_str() {
        "hwmon" => Maker::Other,
        method if method.starts_with("nvml") => Maker::Nvidia,
        _ => Maker::Unknown,
    }
}

#[cfg(test)]
mod tests;
