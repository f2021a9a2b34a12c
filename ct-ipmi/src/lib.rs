//! One request to a node's BMC by Linux' `/dev/ipmiN`, and its answer.
//!
//! A safe wrapper of the two ioctls that needs (`linux/ipmi.h`), and nothing else: what the bytes
//! mean is for the caller to know. It is a crate of its own because ioctl(2) is unsafe and ct-core
//! forbids that; the crates that offer it bring their own RMCP+ with ciphers, 25 crates in all.
#![warn(missing_docs)]

mod abi;

use std::ffi::c_long;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A request: what follows it are the bytes of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Network function, 6 bits.
    pub netfn: u8,
    /// Command.
    pub cmd: u8,
    /// Data of the request.
    pub data: &'a [u8],
}

/// The most bytes of an answer that Linux' driver hands on.
const MOST_BYTES: usize = 272;

/// An open `/dev/ipmiN`; it stays usable after root was given up.
#[derive(Debug)]
pub struct Ipmi {
    file: File,
    last_id: c_long,
}

impl Ipmi {
    /// Opens it; that needs root on most nodes.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, last_id: 0 })
    }

    /// Asks the BMC and waits for its answer: the completion code, then the data.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] without an answer in time, else those of ioctl(2): `ENOTTY`
    /// where the file is no IPMI device.
    pub fn ask(&mut self, request: Request<'_>, patience: Duration) -> io::Result<Vec<u8>> {
        let until = Instant::now() + patience;
        self.last_id += 1;
        abi::send(&self.file, self.last_id, request)?;
        loop {
            self.wait(until.saturating_duration_since(Instant::now()))?;
            let mut data = [0_u8; MOST_BYTES];
            let (id, n) = abi::receive(&self.file, &mut data)?;
            // The late answer to a question that was given up is nobody's.
            if id == self.last_id {
                return Ok(data[..n].to_vec());
            }
        }
    }

    fn wait(&self, patience: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        let mut files = [PollFd::new(&self.file, PollFlags::IN)];
        if poll(&mut files, Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request { netfn: 0x2c, cmd: 0x02, data: &[0xdc, 1, 0, 0] };

    #[test]
    fn a_file_that_is_no_ipmi_device_is_refused_by_the_kernel() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut ipmi = Ipmi::open(file.path()).unwrap();
        let error = ipmi.ask(REQUEST, Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTTY.raw_os_error()));
    }

    #[test]
    fn a_missing_device_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let error = Ipmi::open(&dir.path().join("ipmi0")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_wait_for_an_answer_ends() {
        let (reader, _writer) = io::pipe().unwrap();
        let ipmi = Ipmi { file: File::from(std::os::fd::OwnedFd::from(reader)), last_id: 0 };
        let error = ipmi.wait(Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
