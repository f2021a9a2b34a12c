//! A library that comes before libc in ct-noded: a wrong clock, a ledger that fails or is slow, a user
//! over their quota.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The library, compiled, and the file by which it is told what to do.
pub struct Shim {
    dir: tempfile::TempDir,
    faults: fs::File,
}

/// A number in the file, by its place.
enum Fault {
    ClockS = 0,
    DelayMs = 1,
    Nth = 2,
    Error = 3,
    Failed = 4,
}

impl Shim {
    /// Compiles it; nothing fails yet.
    ///
    /// # Errors
    ///
    /// Where there is no C compiler, or no room.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // The service user maps the file.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let path = dir.path().join("faults");
        fs::write(&path, [0_u8; 40])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let shim = Self { faults: fs::File::options().write(true).read(true).open(&path)?, dir };
        let cc = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-o"])
            .arg(shim.library())
            .arg(format!("-DCT_FAULTS=\"{}\"", path.display()))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/shim/shim.c"))
            .output()
            .context("cc")?;
        ensure!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
        Ok(shim)
    }

    /// The library's path.
    pub fn library(&self) -> PathBuf {
        self.dir.path().join("shim.so")
    }

    fn set(&self, fault: Fault, value: i64) -> Result<()> {
        Ok(self.faults.write_all_at(&value.to_ne_bytes(), 8 * fault as u64)?)
    }

    /// Sets the clock on the wall off by so many seconds.
    ///
    /// # Errors
    ///
    /// Where its file of faults cannot be used.
    pub fn set_clock_off(&self, seconds: i64) -> Result<()> {
        self.set(Fault::ClockS, seconds)
    }

    /// Lets every call on the ledger take so much longer.
    ///
    /// # Errors
    ///
    /// Where its file of faults cannot be used.
    pub fn delay_ledger(&self, ms: i64) -> Result<()> {
        self.set(Fault::DelayMs, ms)
    }

    /// Lets the nth call on the ledger from now on fail; with no error, a write is done by half.
    ///
    /// # Errors
    ///
    /// Where its file of faults cannot be used.
    pub fn fail_ledger(&self, nth: i64, error: i64) -> Result<()> {
        self.set(Fault::Error, error)?;
        self.set(Fault::Nth, nth)
    }

    /// Whether the failure that was asked for has happened.
    ///
    /// # Errors
    ///
    /// Where its file of faults cannot be used.
    pub fn has_failed(&self) -> Result<bool> {
        Ok(self.get(Fault::Nth)? == 0)
    }

    /// Whether opening, writing and syncing the ledger have failed each by now.
    ///
    /// # Errors
    ///
    /// Where its file of faults cannot be used.
    pub fn has_failed_each_call(&self) -> Result<bool> {
        Ok(self.get(Fault::Failed)? == 0b111)
    }

    fn get(&self, fault: Fault) -> Result<i64> {
        let mut bytes = [0_u8; 8];
        self.faults.read_exact_at(&mut bytes, 8 * fault as u64)?;
        Ok(i64::from_ne_bytes(bytes))
    }
}
