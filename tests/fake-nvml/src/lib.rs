//! A libnvidia-ml.so.1 without a GPU: it answers from the files in `FAKE_NVML_DIR`,
//! or in the directory it lies in.
//!
//! It has the symbols that nvml-wrapper needs for what ct-noded asks, under the names and with
//! the types of NVIDIA's nvml.h; whatever else a caller looks up is not found, as in an old
//! driver. The exported functions are thin: `machine` reads, `answer` writes through the
//! caller's pointers. Here are those about the library and the way to a GPU, in `device` those
//! about one GPU, in `mig` those about its instances, in `processes` those about who uses it.

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::answer::{answer, answer_in_use, put, put_text};
use crate::machine::{Gpu, Status, Target};

mod answer;
mod device;
#[forbid(unsafe_code)]
mod machine;
mod mig;
mod processes;

/// How often the library was initialised and not shut down.
static N_USERS: AtomicU32 = AtomicU32::new(0);

/// `nvmlDevice_t`: an opaque pointer, never followed; here the NVML index plus one, and above
/// [`INSTANCE_BITS`] the MIG index plus one.
pub(crate) type Device = *mut c_void;

/// Where the MIG index begins in a handle.
const INSTANCE_BITS: u32 = 16;

/// Starts a use of the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_uint {
    answer(|| {
        machine::wait_for_driver()?;
        N_USERS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

/// Starts a use of the library; the flags change nothing here.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> c_uint {
    nvmlInit_v2()
}

/// Ends a use of the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_uint {
    answer_in_use(|| {
        N_USERS.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    })
}

/// The name of a status.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(status: c_uint) -> *const c_char {
    let text = match Status(status) {
        Status::SUCCESS => c"Success",
        Status::UNINITIALIZED => c"Uninitialized",
        Status::INVALID_ARGUMENT => c"Invalid Argument",
        Status::NOT_SUPPORTED => c"Not Supported",
        Status::NOT_FOUND => c"Not Found",
        Status::INSUFFICIENT_SIZE => c"Insufficient Size",
        Status::DRIVER_NOT_LOADED => c"Driver Not Loaded",
        Status::GPU_IS_LOST => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

/// The driver's version.
///
/// # Safety
///
/// `version` must be NULL or valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(
    version: *mut c_char,
    length: c_uint,
) -> c_uint {
    answer_in_use(|| {
        let text = machine::driver_version()?;
        // SAFETY: the caller's contract for `version` and `length` is that of put_text.
        unsafe { put_text(version, length, &text) }
    })
}

/// The number of GPUs.
///
/// # Safety
///
/// `count` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_uint {
    answer_in_use(|| {
        let n_gpus = machine::n_gpus()?;
        // SAFETY: the caller's contract for `count` is that of put.
        unsafe { put(count, n_gpus) }
    })
}

/// The GPU with an NVML index.
///
/// # Safety
///
/// `device` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: *mut Device,
) -> c_uint {
    answer_in_use(|| {
        let handle = handle_of(Target::Gpu(Gpu::by_index(index)?));
        // SAFETY: the caller's contract for `device` is that of put.
        unsafe { put(device, handle) }
    })
}

/// The GPU, or the MIG instance, with a UUID.
///
/// # Safety
///
/// `uuid` must be NULL or a NUL-terminated string, `device` NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    device: *mut Device,
) -> c_uint {
    answer_in_use(|| {
        if uuid.is_null() {
            return Err(Status::INVALID_ARGUMENT);
        }
        // SAFETY: not NULL as checked above, and NUL-terminated by this function's contract.
        let uuid = unsafe { CStr::from_ptr(uuid) };
        let handle = handle_of(Target::by_uuid(&uuid.to_string_lossy())?);
        // SAFETY: the caller's contract for `device` is that of put.
        unsafe { put(device, handle) }
    })
}

pub(crate) fn handle_of(target: Target) -> Device {
    let of_gpu = |gpu: Gpu| gpu.index() as usize + 1;
    std::ptr::without_provenance_mut(match target {
        Target::Gpu(gpu) => of_gpu(gpu),
        Target::Instance(gpu, index) => of_gpu(gpu) | ((index as usize + 1) << INSTANCE_BITS),
    })
}

pub(crate) fn target(device: Device) -> Result<Target, Status> {
    let (low, high) = (device.addr() & ((1 << INSTANCE_BITS) - 1), device.addr() >> INSTANCE_BITS);
    let number = |n: usize| u32::try_from(n).map_err(|_| Status::INVALID_ARGUMENT);
    let gpu = Gpu::by_index(number(low.checked_sub(1).ok_or(Status::INVALID_ARGUMENT)?)?)?;
    Ok(match high.checked_sub(1) {
        None => Target::Gpu(gpu),
        Some(index) => Target::Instance(gpu, number(index)?),
    })
}
