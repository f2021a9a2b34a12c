//! The users that submit jobs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::poll_until;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// The superuser, who is also `SlurmUser` in every cluster.
    pub fn root() -> Self {
        Self { name: "root".to_owned(), uid: 0, gid: 0 }
    }

    /// The unprivileged user `ctuser<n>`, made where missing. It stays: making and removing users
    /// in tests that run side by side would be a race.
    pub(super) fn unprivileged(n: usize) -> Result<Self> {
        let name = format!("ctuser{n}");
        let mut user = find(&name);
        // useradd gives up where another one holds the lock of /etc/passwd.
        poll_until(Duration::from_secs(10), || {
            if user.is_none() {
                add(&name);
                user = find(&name);
            }
            user.is_some()
        });
        let Some(user) = user else { bail!("user {name} does not exist and cannot be added") };
        Ok(user)
    }

    /// The login name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numeric user id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The numeric id of the user's group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Makes a directory of the user's own, closed to others.
    ///
    /// # Errors
    ///
    /// Where it exists or cannot be made.
    pub fn make_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
            .and_then(|()| chown(path, Some(self.uid), Some(self.gid)))
            .with_context(|| format!("cannot make {} for {}", path.display(), self.name))
    }
}

fn find(name: &str) -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<_> =
        passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
    let uid = fields.get(2)?.parse().ok()?;
    let gid = fields.get(3)?.parse().ok()?;
    Some(User { name: name.to_owned(), uid, gid })
}

/// Adds a user; whether it worked is seen in /etc/passwd.
fn add(name: &str) {
    let _ = Command::new("useradd")
        .args(["--no-create-home", "--user-group", "--shell", "/bin/sh", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
