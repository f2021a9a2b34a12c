//! MIG instances of a GPU and the processes on it, as NVML tells them now.
//!
//! A GPU that does not answer has none: that its counter does not answer either is reported by the
//! reading of it.

use nvml_wrapper::Device as Gpu;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use crate::source::{GpuProcess, Partition};

/// The MIG instances of the GPU, in NVML's order; none where MIG is off.
pub(super) fn partitions(gpu: &Gpu<'_>, id: &str) -> Vec<Partition> {
    let partition = |gpu: &Gpu<'_>| {
        let slices = slices(gpu)?;
        Ok::<_, NvmlError>((gpu.uuid()?, slices))
    };
    let Ok(instances) = instances(gpu) else { return Vec::new() };
    let n_slices = gpu.mig_device_count().unwrap_or(0);
    let found = instances.iter().filter_map(|mig| partition(mig).ok());
    let share = |slices: u32| (f64::from(slices) / f64::from(n_slices.max(1))).min(1.0);
    let partition =
        |(uuid, slices)| Partition { uuid, device_id: id.to_owned(), share: share(slices) };
    found.map(partition).collect()
}

/// Compute slices of an instance: several compute instances divide the slices of a GPU instance.
fn slices(mig: &Gpu<'_>) -> Result<u32, NvmlError> {
    let attributes = mig.attributes()?;
    match attributes.compute_instance_slice_count {
        0 => Ok(attributes.gpu_instance_slice_count),
        n => Ok(n),
    }
}

/// Handles of the MIG instances; the numbers up to the most there may be need not all be in use.
fn instances<'nvml>(gpu: &Gpu<'nvml>) -> Result<Vec<Gpu<'nvml>>, NvmlError> {
    if gpu.mig_mode()?.current == 0 {
        return Ok(Vec::new());
    }
    let most = gpu.mig_device_count()?;
    Ok((0..most).filter_map(|index| gpu.mig_device_by_index(index).ok()).collect())
}

/// The processes that have a context on the GPU, each once an instance.
pub(super) fn processes(gpu: &Gpu<'_>, id: &str) -> Vec<GpuProcess> {
    let instances = instances(gpu).unwrap_or_default();
    if instances.is_empty() {
        return of_handle(gpu, id, None);
    }
    let of_instance = |mig: &Gpu<'_>| of_handle(mig, id, mig.uuid().ok());
    instances.iter().flat_map(of_instance).collect()
}

fn of_handle(gpu: &Gpu<'_>, id: &str, partition: Option<String>) -> Vec<GpuProcess> {
    let mut pids: Vec<u32> = compute(gpu).iter().chain(&graphics(gpu)).map(|p| p.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let process = |pid| GpuProcess { pid, device_id: id.to_owned(), partition: partition.clone() };
    pids.into_iter().map(process).collect()
}

fn compute(gpu: &Gpu<'_>) -> Vec<ProcessInfo> {
    match gpu.running_compute_processes() {
        // Drivers before R510 have the second form only.
        Err(NvmlError::FailedToLoadSymbol(_)) => {
            gpu.running_compute_processes_v2().unwrap_or_default()
        }
        other => other.unwrap_or_default(),
    }
}

fn graphics(gpu: &Gpu<'_>) -> Vec<ProcessInfo> {
    match gpu.running_graphics_processes() {
        Err(NvmlError::FailedToLoadSymbol(_)) => {
            gpu.running_graphics_processes_v2().unwrap_or_default()
        }
        other => other.unwrap_or_default(),
    }
}
