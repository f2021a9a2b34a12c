//! What can be asked of a GPU's MIG instances.

use std::ffi::{c_uint, c_ulonglong};

use crate::answer::{answer_in_use, put};
use crate::machine::{Status, Target};
use crate::{Device, handle_of, target};

/// `nvmlDeviceAttributes_t`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Attributes {
    multiprocessors: c_uint,
    copy_engines: c_uint,
    decoders: c_uint,
    encoders: c_uint,
    jpeg_engines: c_uint,
    ofa_engines: c_uint,
    gpu_instance_slices: c_uint,
    compute_instance_slices: c_uint,
    memory_mb: c_ulonglong,
}

/// Whether the GPU is partitioned, now and after the next reset.
///
/// # Safety
///
/// `current` and `pending` must each be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: Device,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> c_uint {
    answer_in_use(|| {
        let mode = target(device)?.gpu().small_number("mig")?;
        // SAFETY: the caller's contract for `current` is that of put.
        unsafe { put(current, mode)? };
        // SAFETY: the caller's contract for `pending` is that of put.
        unsafe { put(pending, mode) }
    })
}

/// The most instances the GPU can have, which is the number of its slices; 0 where MIG is off.
///
/// # Safety
///
/// `count` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: Device,
    count: *mut c_uint,
) -> c_uint {
    answer_in_use(|| {
        let gpu = target(device)?.gpu();
        let slices = match gpu.small_number("mig")? {
            0 => 0,
            _ => gpu.small_number("mig_slices")?,
        };
        // SAFETY: the caller's contract for `count` is that of put.
        unsafe { put(count, slices) }
    })
}

/// The instance with a MIG index.
///
/// # Safety
///
/// `instance` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: Device,
    index: c_uint,
    instance: *mut Device,
) -> c_uint {
    answer_in_use(|| {
        let gpu = target(device)?.gpu();
        gpu.instance(index)?;
        let handle = handle_of(Target::Instance(gpu, index));
        // SAFETY: the caller's contract for `instance` is that of put.
        unsafe { put(instance, handle) }
    })
}

/// Slices of an instance; a whole GPU has no such attributes.
///
/// # Safety
///
/// `attributes` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetAttributes_v2(
    device: Device,
    attributes: *mut Attributes,
) -> c_uint {
    answer_in_use(|| {
        let Target::Instance(gpu, index) = target(device)? else {
            return Err(Status::INVALID_ARGUMENT);
        };
        let slices = gpu.instance(index)?.slices;
        let value = Attributes {
            gpu_instance_slices: slices,
            compute_instance_slices: slices,
            ..Attributes::default()
        };
        // SAFETY: the caller's contract for `attributes` is that of put.
        unsafe { put(attributes, value) }
    })
}
