//! What can be asked of one GPU.

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use crate::Device;
use crate::answer::{answer_in_use, put, put_text};
use crate::machine::{Gpu, Status, Target};
use crate::target;

/// `nvmlFieldValue_t`.
#[repr(C)]
pub(crate) struct FieldValue {
    field_id: c_uint,
    scope_id: c_uint,
    timestamp_us: i64,
    latency_us: i64,
    value_type: c_uint,
    status: c_uint,
    /// `nvmlValue_t`, a union of eight bytes; small members lie in its first bytes.
    value: [u8; 8],
}

/// `NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION`, in millijoules.
const FIELD_ENERGY: c_uint = 83;
/// `NVML_FI_DEV_POWER_AVERAGE` and `NVML_FI_DEV_POWER_INSTANT`, in milliwatts.
const FIELDS_POWER: [c_uint; 2] = [185, 186];
/// `NVML_VALUE_TYPE_UNSIGNED_INT`.
const TYPE_UNSIGNED_INT: c_uint = 1;
/// `NVML_VALUE_TYPE_UNSIGNED_LONG_LONG`.
const TYPE_UNSIGNED_LONG_LONG: c_uint = 3;

/// The GPU of a handle; an instance has its parent's quantities.
fn gpu(device: Device) -> Result<Gpu, Status> {
    target(device).map(Target::gpu)
}

/// The NVML index.
///
/// # Safety
///
/// `index` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetIndex(device: Device, index: *mut c_uint) -> c_uint {
    answer_in_use(|| {
        let value = gpu(device)?.index();
        // SAFETY: the caller's contract for `index` is that of put.
        unsafe { put(index, value) }
    })
}

/// The N of /dev/nvidiaN.
///
/// # Safety
///
/// `minor` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetMinorNumber(
    device: Device,
    minor: *mut c_uint,
) -> c_uint {
    answer_in_use(|| {
        let value = gpu(device)?.small_number("minor")?;
        // SAFETY: the caller's contract for `minor` is that of put.
        unsafe { put(minor, value) }
    })
}

/// The UUID.
///
/// # Safety
///
/// `uuid` must be NULL or valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetUUID(
    device: Device,
    uuid: *mut c_char,
    length: c_uint,
) -> c_uint {
    answer_in_use(|| {
        let text = target(device)?.uuid()?;
        // SAFETY: the caller's contract for `uuid` and `length` is that of put_text.
        unsafe { put_text(uuid, length, &text) }
    })
}

/// The product's name.
///
/// # Safety
///
/// `name` must be NULL or valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetName(
    device: Device,
    name: *mut c_char,
    length: c_uint,
) -> c_uint {
    answer_in_use(|| {
        let text = gpu(device)?.text("name")?;
        // SAFETY: the caller's contract for `name` and `length` is that of put_text.
        unsafe { put_text(name, length, &text) }
    })
}

/// The power in milliwatts.
///
/// # Safety
///
/// `power_mw` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetPowerUsage(
    device: Device,
    power_mw: *mut c_uint,
) -> c_uint {
    answer_in_use(|| {
        let value = gpu(device)?.small_number("power_mw")?;
        // SAFETY: the caller's contract for `power_mw` is that of put.
        unsafe { put(power_mw, value) }
    })
}

/// The energy in millijoules since the driver was loaded.
///
/// # Safety
///
/// `energy_mj` must be NULL or valid for a write.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    device: Device,
    energy_mj: *mut c_ulonglong,
) -> c_uint {
    answer_in_use(|| {
        let value = gpu(device)?.number("energy_mj")?;
        // SAFETY: the caller's contract for `energy_mj` is that of put.
        unsafe { put(energy_mj, value) }
    })
}

/// Several quantities at once; each has a status of its own.
///
/// # Safety
///
/// `values` must be NULL or point to `count` values that may be read and written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: Device,
    count: c_int,
    values: *mut FieldValue,
) -> c_uint {
    answer_in_use(|| {
        let gpu = gpu(device)?;
        let count = usize::try_from(count).map_err(|_| Status::INVALID_ARGUMENT)?;
        if values.is_null() {
            return Err(Status::INVALID_ARGUMENT);
        }
        // SAFETY: not NULL as checked above; the caller vouches for `count` values, which nobody
        // else touches during the call.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
        values.iter_mut().for_each(|value| fill(gpu, value));
        Ok(())
    })
}

fn fill(gpu: Gpu, value: &mut FieldValue) {
    let answer = if value.field_id == FIELD_ENERGY {
        gpu.number("energy_mj").map(|mj| (TYPE_UNSIGNED_LONG_LONG, mj))
    } else if FIELDS_POWER.contains(&value.field_id) {
        gpu.number("power_mw").map(|mw| (TYPE_UNSIGNED_INT, mw))
    } else {
        Err(Status::NOT_SUPPORTED)
    };
    match answer {
        Ok((value_type, number)) => {
            value.value_type = value_type;
            value.value = number.to_le_bytes();
            value.status = Status::SUCCESS.0;
        }
        Err(status) => value.status = status.0,
    }
}
