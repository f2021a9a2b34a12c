//! Slurm's accounting: a MariaDB and a slurmdbd of the cluster's own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::layout::{self, Layout, MAX_NODES};
use super::{Cluster, User};

/// Lines of slurm.conf.
pub(super) fn slurm_conf(layout: &Layout) -> String {
    format!(
        "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n\
         AccountingStoragePort={}\nAccountingStoragePass={}\n",
        layout.port(MAX_NODES),
        layout.munge_socket().display()
    )
}

fn slurmdbd_conf(layout: &Layout) -> String {
    format!(
        "AuthType=auth/munge\nAuthInfo=socket={munge}\nDbdHost=localhost\nDbdAddr=127.0.0.1\n\
         DbdPort={port}\nSlurmUser=root\nLogFile={dir}/log/slurmdbd.log\n\
         PidFile={dir}/run/slurmdbd.pid\nStorageType=accounting_storage/mysql\n\
         StorageHost=localhost\nStorageUser=root\nStorageLoc=slurm_acct_db\n",
        munge = layout.munge_socket().display(),
        port = layout.port(MAX_NODES),
        dir = layout.dir().display(),
    )
}

impl Cluster {
    /// Starts MariaDB and slurmdbd and makes the cluster known to it; munged answers already.
    pub(super) fn boot_accounting(&self) -> Result<()> {
        self.boot_database()?;
        let conf = self.conf_dir().join("slurmdbd.conf");
        layout::write(&conf, &slurmdbd_conf(&self.layout))?;
        // slurmdbd refuses a configuration that others may read.
        fs::set_permissions(&conf, fs::Permissions::from_mode(0o600))?;
        let socket = self.database_socket().display().to_string();
        let env = BTreeMap::from([("MYSQL_UNIX_PORT".to_owned(), socket)]);
        self.spawn("slurmdbd", "slurmdbd", &["-D".to_owned()], &env)?;
        self.wait_until("slurmdbd answers", || {
            self.answers("sacctmgr", &["-n", "list", "cluster"])
        })?;
        let add = ["-i", "add", "cluster", "lab"];
        ensure!(self.answers("sacctmgr", &add), "cannot add the cluster to slurmdbd");
        Ok(())
    }

    fn database_socket(&self) -> PathBuf {
        self.dir().join("run/db.sock")
    }

    fn boot_database(&self) -> Result<()> {
        let data = self.dir().join("db");
        let data_dir = format!("--datadir={}", data.display());
        let install = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--skip-test-db", &data_dir])
            .output()
            .context("cannot run mariadb-install-db")?;
        let said = String::from_utf8_lossy(&install.stderr);
        ensure!(install.status.success(), "mariadb-install-db failed: {said}");
        let socket = self.database_socket();
        let args = [
            "--no-defaults".to_owned(),
            "--user=root".to_owned(),
            "--skip-networking".to_owned(),
            data_dir,
            format!("--socket={}", socket.display()),
            format!("--pid-file={}/run/mariadbd.pid", self.dir().display()),
        ];
        self.spawn("mariadbd", "mariadbd", &args, &BTreeMap::new())?;
        self.wait_until("mariadbd answers", || socket.exists())
    }

    /// Gives an unprivileged user an account that jobs are charged to; it is made where missing.
    ///
    /// # Errors
    ///
    /// Where sacctmgr fails, as it does without [`Builder::accounting`](super::Builder::accounting).
    pub fn add_account(&self, user: &User, account: &str) -> Result<()> {
        let root = User::root();
        let account_of = format!("account={account}");
        // An account that is there already is no failure of ours.
        let _ = self.command(&root, "sacctmgr").args(&["-i", "add", "account", account]).run()?;
        let add = ["-i", "add", "user", user.name(), &account_of];
        let output = self.command(&root, "sacctmgr").args(&add).run()?;
        ensure!(
            output.is_success(),
            "cannot add {} to {account}: {}",
            user.name(),
            output.stderr()
        );
        Ok(())
    }
}
