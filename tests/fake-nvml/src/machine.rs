//! The GPUs as the power plant's files show them: one directory each, `gpu<NVML index>`.
//!
//! Beside what the plant writes (`uuid`, `name`, `minor`, `energy_mj`, `power_mw`, and of a GPU in
//! MIG mode `mig`, `mig_slices` and `instances`) a test may put there `processes` and
//! `graphics_processes`, `error` (the number that every call on the GPU is to return, 15 where it
//! is lost) and `hang_ms` (how long every call on it is to take). A quantity without a file is one
//! the GPU does not support. As long as there is a file `hang` beside the GPUs, whoever initialises
//! the library waits.
//!
//! `instances` has a line `UUID SLICES` for each MIG instance, the processes' files a line
//! `PID [UUID of the instance]` for each process.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// A result of the API, by its number in nvml.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

impl Status {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(9);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const UNKNOWN: Self = Self(999);
}

/// The directory named by `FAKE_NVML_DIR`, else the one this library lies in: a daemon that is
/// started with an environment of its own finds the plant by the library's path.
///
/// # Errors
///
/// [`Status::DRIVER_NOT_LOADED`] where there is none.
pub(crate) fn root() -> Result<PathBuf, Status> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let dir = ROOT.get_or_init(|| env::var_os("FAKE_NVML_DIR").map(PathBuf::from).or_else(own_dir));
    dir.clone().filter(|dir| dir.is_dir()).ok_or(Status::DRIVER_NOT_LOADED)
}

/// Waits as long as the driver is to hang.
pub(crate) fn wait_for_driver() -> Result<(), Status> {
    let hang = root()?.join("hang");
    while hang.exists() {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The directory of this library, by the process's own memory map.
fn own_dir() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let library = maps.lines().find(|line| line.ends_with("/libfake_nvml.so"))?;
    let path = &library[library.find('/')?..];
    PathBuf::from(path).parent().filter(|dir| dir.join("gpu0").is_dir()).map(PathBuf::from)
}

/// The number of GPUs: `gpu0` and on, without a gap.
pub(crate) fn n_gpus() -> Result<u32, Status> {
    let root = root()?;
    let is_there = |index: &u32| root.join(format!("gpu{index}")).is_dir();
    u32::try_from((0..).take_while(is_there).count()).map_err(|_| Status::UNKNOWN)
}

/// The version a driver would have; the plant need not say one.
pub(crate) fn driver_version() -> Result<String, Status> {
    let text = fs::read_to_string(root()?.join("driver_version"));
    Ok(text.map_or_else(|_| "535.161.08".to_owned(), |t| t.trim().to_owned()))
}

/// What a handle stands for: a GPU, or one instance of it by its MIG index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Gpu(Gpu),
    Instance(Gpu, u32),
}

impl Target {
    pub(crate) fn by_uuid(uuid: &str) -> Result<Self, Status> {
        match Gpu::by_uuid(uuid) {
            Ok(gpu) => return Ok(Self::Gpu(gpu)),
            Err(Status::NOT_FOUND) => {}
            Err(status) => return Err(status),
        }
        let gpus = (0..n_gpus()?).map(|index| Gpu { index });
        let instance = |gpu: Gpu| {
            let place = gpu.instances().ok()?.iter().position(|i| i.uuid == uuid)?;
            Some(Self::Instance(gpu, u32::try_from(place).ok()?))
        };
        gpus.into_iter().find_map(instance).ok_or(Status::NOT_FOUND)
    }

    /// The GPU; an instance has its parent's counter, minor and name, as in the real library.
    pub(crate) fn gpu(self) -> Gpu {
        match self {
            Self::Gpu(gpu) | Self::Instance(gpu, _) => gpu,
        }
    }

    pub(crate) fn uuid(self) -> Result<String, Status> {
        match self {
            Self::Gpu(gpu) => gpu.text("uuid"),
            Self::Instance(gpu, index) => Ok(gpu.instance(index)?.uuid),
        }
    }

    /// Processes in a file of the GPU's: all of it, or those of the instance.
    pub(crate) fn pids(self, file: &str) -> Result<Vec<u32>, Status> {
        let of = match self {
            Self::Gpu(_) => None,
            Self::Instance(gpu, index) => Some(gpu.instance(index)?.uuid),
        };
        let gpu = self.gpu();
        gpu.misbehave()?;
        let text = gpu.read(file).unwrap_or_default();
        let process = |line: &str| {
            let mut words = line.split_whitespace();
            let pid = words.next()?.parse::<u32>().ok()?;
            of.as_deref().is_none_or(|uuid| words.next() == Some(uuid)).then_some(pid)
        };
        Ok(text.lines().filter_map(process).collect())
    }
}

/// One MIG instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) uuid: String,
    pub(crate) slices: u32,
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gpu {
    index: u32,
}

impl Gpu {
    pub(crate) fn by_index(index: u32) -> Result<Self, Status> {
        if index < n_gpus()? { Ok(Self { index }) } else { Err(Status::INVALID_ARGUMENT) }
    }

    pub(crate) fn by_uuid(uuid: &str) -> Result<Self, Status> {
        for gpu in (0..n_gpus()?).map(|index| Self { index }) {
            // As in nvml.h: an error where any of them has fallen off the bus.
            if gpu.text("uuid")? == uuid {
                return Ok(gpu);
            }
        }
        Err(Status::NOT_FOUND)
    }

    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// A text about the GPU.
    pub(crate) fn text(self, file: &str) -> Result<String, Status> {
        self.misbehave()?;
        self.read(file).ok_or(Status::NOT_SUPPORTED)
    }

    /// A number about the GPU.
    pub(crate) fn number(self, file: &str) -> Result<u64, Status> {
        self.text(file)?.parse().map_err(|_| Status::UNKNOWN)
    }

    /// A number that the API has as a C `unsigned int`.
    pub(crate) fn small_number(self, file: &str) -> Result<u32, Status> {
        self.number(file)?.try_into().map_err(|_| Status::UNKNOWN)
    }

    /// The MIG instances in the order of their MIG indices.
    pub(crate) fn instances(self) -> Result<Vec<Instance>, Status> {
        let text = self.text("instances")?;
        let instance = |line: &str| {
            let (uuid, slices) = line.trim().split_once(' ').ok_or(Status::UNKNOWN)?;
            let slices = slices.trim().parse().map_err(|_| Status::UNKNOWN)?;
            Ok(Instance { uuid: uuid.to_owned(), slices })
        };
        text.lines().map(instance).collect()
    }

    pub(crate) fn instance(self, index: u32) -> Result<Instance, Status> {
        let place = usize::try_from(index).map_err(|_| Status::INVALID_ARGUMENT)?;
        self.instances()?.into_iter().nth(place).ok_or(Status::NOT_FOUND)
    }

    /// Hangs and fails as the test has asked for.
    fn misbehave(self) -> Result<(), Status> {
        if let Some(hang_ms) = self.read("hang_ms").and_then(|text| text.parse().ok()) {
            thread::sleep(Duration::from_millis(hang_ms));
        }
        let error = self.read("error").and_then(|text| text.parse().ok());
        error.map_or(Ok(()), |number| Err(Status(number)))
    }

    fn read(self, file: &str) -> Option<String> {
        let path = root().ok()?.join(format!("gpu{}", self.index)).join(file);
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    }
}
