//! Who uses a GPU.

use std::ffi::{c_uint, c_ulonglong};

use crate::answer::{answer_in_use, put};
use crate::machine::Status;
use crate::{Device, target};

/// `nvmlProcessInfo_t`.
#[repr(C)]
pub(crate) struct ProcessInfo {
    pid: c_uint,
    used_memory: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

/// "No value" in the ids of instances.
const NO_ID: c_uint = c_uint::MAX;

/// Processes with a compute context.
///
/// # Safety
///
/// `count` must be NULL or valid for reading and writing, and `infos` NULL or valid for writes of
/// so many values as `count` says.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: Device,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> c_uint {
    // SAFETY: the caller's contract is that of list.
    unsafe { list(device, "processes", count, infos) }
}

/// Processes with a graphics context.
///
/// # Safety
///
/// As [`nvmlDeviceGetComputeRunningProcesses_v3`].
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: Device,
    count: *mut c_uint,
    infos: *mut ProcessInfo,
) -> c_uint {
    // SAFETY: the caller's contract is that of list.
    unsafe { list(device, "graphics_processes", count, infos) }
}

/// Lists the processes in a file of the GPU's; with too little room only how many there are.
///
/// # Safety
///
/// As [`nvmlDeviceGetComputeRunningProcesses_v3`].
unsafe fn list(device: Device, file: &str, count: *mut c_uint, infos: *mut ProcessInfo) -> c_uint {
    answer_in_use(|| {
        let pids = target(device)?.pids(file)?;
        let n_pids = c_uint::try_from(pids.len()).map_err(|_| Status::UNKNOWN)?;
        if count.is_null() {
            return Err(Status::INVALID_ARGUMENT);
        }
        // SAFETY: not NULL as checked above, and valid for a read by this function's contract.
        let room = unsafe { count.read() };
        // SAFETY: the caller's contract for `count` is that of put.
        unsafe { put(count, n_pids)? };
        if room < n_pids {
            return Err(Status::INSUFFICIENT_SIZE);
        }
        for (place, pid) in pids.into_iter().enumerate() {
            let info =
                ProcessInfo { pid, used_memory: 0, gpu_instance: NO_ID, compute_instance: NO_ID };
            // SAFETY: `place` is below `room`, for which the caller vouches.
            let target = unsafe { infos.add(place) };
            // SAFETY: inside the caller's values, or NULL, which put refuses.
            unsafe { put(target, info)? };
        }
        Ok(())
    })
}
