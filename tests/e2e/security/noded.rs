//! A ct-noded that root starts, as on a node, with a power plant in place of hardware.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ct_core::protocol::{JobEnd, JobFacts, OpenLogs, Reply, Request, StepFacts};
use ct_tests::artifact;
use ct_tests::plant::{Domain, Package, PowerPlant, Spec};
use tempfile::TempDir;

use crate::attacker::Connection;

/// Its package's power.
pub(crate) const WATTS: f64 = 100.0;

/// What a test changes of it.
pub(crate) struct Setup {
    pub(crate) config: &'static str,
    /// A directory searched for programs before the usual ones; without one there is a `squeue` that
    /// knows no job, so that none waits for slurmctld's word on it.
    pub(crate) path: Option<PathBuf>,
    /// Hard limit of open files.
    pub(crate) n_files: u32,
    /// What its package's counter has at the start.
    pub(crate) initial_uj: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self { config: "", path: None, n_files: 4096, initial_uj: 0 }
    }
}

pub(crate) struct Noded {
    child: Child,
    _plant: PowerPlant,
    dir: TempDir,
}

impl Noded {
    pub(crate) fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    pub(crate) fn start_with(setup: &Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let spec = Spec {
            packages: vec![Package::new(Domain::constant(WATTS).starting_at(setup.initial_uj))],
            update_ms: 2,
            ..Spec::default()
        };
        let plant = PowerPlant::start(&dir.path().join("plant"), spec).unwrap();
        write_config(dir.path(), &plant, setup.config);
        fs::create_dir(dir.path().join("bin")).unwrap();
        symlink("/bin/true", dir.path().join("bin/squeue")).unwrap();
        let child = command(dir.path(), setup).spawn().unwrap();
        let noded = Self { child, _plant: plant, dir };
        noded.wait_until_it_listens();
        noded
    }

    fn wait_until_it_listens(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if std::os::unix::net::UnixStream::connect(self.socket()).is_ok() {
                let reply = Connection::open(&self.socket()).ask(&Request::Ping {});
                assert!(matches!(reply, Reply::Pong { .. }), "{reply:?}");
                return;
            }
            assert!(Instant::now() < end, "ct-noded does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir().join("run/noded.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file below its directory of /proc, as root reads it.
    pub(crate) fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("noded.err")).unwrap_or_default()
    }

    /// Root's word, as a hook says it.
    pub(crate) fn tell(&self, request: &Request) -> Reply {
        Connection::open(&self.socket()).ask(request)
    }

    /// Starts a tracked job of a user's with its batch step; what log files are wanted of it.
    pub(crate) fn start_job(&self, job_id: u32, uid: u32, option: &str) -> Option<OpenLogs> {
        let facts = JobFacts {
            job_id,
            uid,
            gid: uid,
            work_dir: Some(self.dir().to_owned()),
            option: Some(option.to_owned()),
            alloc_cpus: Some(1),
            ..JobFacts::default()
        };
        let step = StepFacts { name: "batch".to_owned(), stepd_pid: 1, ..StepFacts::default() };
        match self.tell(&Request::StepStart { job: Box::new(facts), step }) {
            Reply::Started { tracked: true, open_logs, .. } => open_logs,
            other => panic!("the job was not started: {other:?}"),
        }
    }

    pub(crate) fn end_job(&self, job_id: u32, uid: u32) {
        let job = Box::new(JobFacts { job_id, uid, gid: uid, ..JobFacts::default() });
        let end = JobEnd { job, ..JobEnd::default() };
        assert_eq!(self.tell(&Request::JobEnd(end)), Reply::Ok {});
    }

    /// A directory that belongs to a user.
    pub(crate) fn home_of(&self, uid: u32) -> PathBuf {
        let home = self.dir().join(format!("home-{uid}"));
        if !home.exists() {
            fs::create_dir(&home).unwrap();
            std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
        }
        home
    }
}

impl Drop for Noded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration whose directories lie in `dir`.
pub(crate) fn write_config(dir: &Path, plant: &PowerPlant, more: &str) {
    let at = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "[node]\nrun_dir = {:?}\nstate_dir = {:?}\n[path]\nsysfs = {:?}\nprocfs = {:?}\n\
         [ledger]\ndir = {:?}\ncluster = \"lab\"\n{more}",
        at("run"),
        at("state"),
        plant.sysfs(),
        plant.procfs(),
        at("ledger"),
    );
    fs::write(dir.join("carbontracker.toml"), text).unwrap();
}

/// The daemon's command, with an environment that is a secret, and its words in `noded.err`.
pub(crate) fn command(dir: &Path, setup: &Setup) -> Command {
    let noded = artifact::built("ct-node", "ct-noded").unwrap();
    let path = setup.path.clone().unwrap_or_else(|| dir.join("bin"));
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nofile={}:{}", setup.n_files, setup.n_files))
        .arg(noded)
        .args(["--foreground", "--node", "n1", "--config"])
        .arg(dir.join("carbontracker.toml"))
        .env_clear()
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path.display()))
        .env("SECRET", "of-root")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("noded.err")).unwrap());
    command
}
