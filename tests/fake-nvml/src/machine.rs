//! The GPUs as the power plant's files show them: one directory each, `gpu<NVML index>`.
//!
//! Beside what the plant writes (`uuid`, `name`, `minor`, `energy_mj`, `power_mw`) a test may put
//! there `mig` (0 or 1: the mode), `error` (the number that every call on the GPU is to return)
//! and `hang_ms` (how long every call on it is to take). A quantity without a file is one the GPU
//! does not support.

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
        let mut gpus = (0..n_gpus()?).map(|index| Self { index });
        // A GPU that answers nothing, not even who it is, is not the one.
        gpus.find(|gpu| gpu.text("uuid").is_ok_and(|t| t == uuid)).ok_or(Status::NOT_FOUND)
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
