//! The end of a job that nobody answered for: a file in the run directory tells it to the ct-noded that
//! comes after one which is killed with what it was told, or that is just coming.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ct_core::protocol::{self, ENDED_DIR, JobEnd, Request};

use crate::client::ClientError;
use crate::logging::{Kind, Log};
use crate::os;
use crate::silence;
use crate::site::Service;

/// Most files: where ct-noded is away for days, nobody reads them.
const MOST: usize = 1024;

/// Keeps an end, where somebody may come who reads it.
pub(crate) fn keep(service: &Service, end: JobEnd, error: &ClientError, log: &Log) {
    let is_of_use = match error {
        ClientError::Silent { .. }
        | ClientError::NotAwaited { .. }
        | ClientError::Broken { .. } => true,
        ClientError::Absent { .. } => silence::is_starting(service),
        _ => false,
    };
    if !is_of_use {
        return;
    }
    let dir = service.socket.with_file_name(ENDED_DIR);
    match write(&dir, service, end) {
        // The directory is ct-noded's own: without one there was never any.
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            let text = format!("the job's end is not kept in {}: {e}", dir.display());
            log.error(
                Kind::Untold,
                &format!("{text}; it is found out from slurmctld, or not at all"),
            );
        }
        _ => {}
    }
}

fn write(path: &Path, service: &Service, end: JobEnd) -> io::Result<()> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let dir = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let (owner, mode) = (dir.metadata()?.uid(), dir.metadata()?.mode());
    if !service.trusted.contains(&owner) || mode & 0o022 != 0 {
        let text = format!("uid {owner} may write there, expected root or the service user alone");
        return Err(io::Error::other(text));
    }
    if path.read_dir()?.take(MOST).count() == MOST {
        return Err(io::Error::other(format!("there are {MOST} already")));
    }
    let name = end.file_name();
    let line = protocol::to_line(&Request::JobEnd(end))?;
    let mut file = File::from(os::make_new_file(&dir, &name, 0o644)?);
    // Whatever umask slurmd has.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(line.as_bytes())
}
