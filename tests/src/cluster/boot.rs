//! Starting and stopping the daemons.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::{CLUSTER_DIR_VARIABLE, Cluster, User};
use crate::process::{end, is_alive, poll_until, signal};
use crate::tree;

/// How long a daemon may take to answer.
const BOOT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a slurmd may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Becomes the slurmd of node $3, which asks slurmctld at port $2 for all its files. Without any it
/// looks for munged, whose socket is $1, in the usual place.
const CONFIGLESS_SLURMD: &str = r#"
mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /etc/slurm || exit
mkdir /run/munge && ln -s "$1" /run/munge/munge.socket.2 || exit
unset SLURM_CONF
exec slurmd -D -N "$3" --conf-server "127.0.0.1:$2"
"#;
/// The search path of daemons and clients.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Cluster {
    /// Starts munged, slurmctld and every slurmd, and returns when all nodes are idle.
    ///
    /// # Errors
    ///
    /// Where a daemon cannot be started or does not answer within 30 s.
    pub fn boot(&self) -> Result<()> {
        let accounting =
            || if self.config.has_accounting { self.boot_accounting() } else { Ok(()) };
        let result = self.boot_munge().and_then(|()| accounting());
        let result = result.and_then(|()| self.boot_controller());
        self.note_failure(result.and_then(|()| self.boot_nodes()))
    }

    fn boot_munge(&self) -> Result<()> {
        let dir = self.dir();
        let key = dir.join("run/munge.key");
        let mut secret = [0; 128];
        File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut secret))?;
        fs::write(&key, secret).context("cannot write the munge key")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let socket = self.layout.munge_socket();
        let option = |name: &str, file: &Path| format!("--{name}={}", file.display());
        let args = [
            "--foreground".to_owned(),
            "--force".to_owned(),
            "--num-threads=2".to_owned(),
            option("key-file", &key),
            option("socket", &socket),
            option("pid-file", &dir.join("run/munged.pid")),
            option("log-file", &dir.join("log/munged.log")),
            option("seed-file", &dir.join("run/munged.seed")),
        ];
        self.spawn("munged", "munged", &args, &BTreeMap::new())?;
        let socket = socket.display().to_string();
        self.wait_until("munged answers", || self.answers("munge", &["-n", "-S", &socket]))
    }

    fn boot_controller(&self) -> Result<()> {
        self.spawn_controller(&["-D", "-c"])
    }

    fn spawn_controller(&self, args: &[&str]) -> Result<()> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        self.spawn("slurmctld", "slurmctld", &args, &BTreeMap::new())?;
        self.wait_until("slurmctld answers", || self.answers("scontrol", &["ping"]))
    }

    /// Ends slurmctld with SIGTERM and waits for its end; it saves what it knows.
    pub fn stop_slurmctld(&self) {
        let text = fs::read_to_string(self.dir().join("pid/slurmctld")).unwrap_or_default();
        if let Ok(pid) = text.trim().parse() {
            end(pid, STOP_PATIENCE);
        }
    }

    /// Starts slurmctld with what the one before knew.
    ///
    /// # Errors
    ///
    /// Where it does not answer within 30 s.
    pub fn start_slurmctld(&self) -> Result<()> {
        self.note_failure(self.spawn_controller(&["-D"]))
    }

    fn boot_nodes(&self) -> Result<()> {
        for node in 1..=self.n_nodes() {
            self.spawn_slurmd(node)?;
        }
        self.wait_until("all nodes are idle", || {
            let states = self.node_states();
            states.is_ok_and(|s| s.len() == self.n_nodes() && s.values().all(|s| s == "idle"))
        })
    }

    pub(super) fn answers(&self, program: &str, args: &[&str]) -> bool {
        self.command(&User::root(), program).args(args).run().is_ok_and(|o| o.is_success())
    }

    pub(super) fn wait_until(&self, what: &str, done: impl FnMut() -> bool) -> Result<()> {
        ensure!(poll_until(BOOT_PATIENCE, done), "waited {BOOT_PATIENCE:?} in vain until {what}");
        Ok(())
    }

    /// Starts a daemon in a session of its own; its pid goes to `pid/NAME`, what it prints to
    /// `log/NAME.out`.
    pub(super) fn spawn(
        &self,
        name: &str,
        program: &str,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<()> {
        let out = File::create(self.dir().join(format!("log/{name}.out")))?;
        let child = Command::new("setsid")
            .args(tree::prefix(self.dir()))
            .arg(program)
            .args(args)
            // A crashing slurmstepd leaves its core in slurmd's working directory.
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LANG", "C.UTF-8")
            .env(CLUSTER_DIR_VARIABLE, self.dir())
            .env("SLURM_CONF", self.slurm_conf())
            .envs(env)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let pid = child.id();
        self.keep(name, child);
        // setsid(1) becomes the program without forking, so this is the daemon's own pid.
        fs::write(self.dir().join("pid").join(name), format!("{pid}\n"))
            .with_context(|| format!("cannot write the pid of {name}"))
    }

    fn keep(&self, name: &str, child: Child) {
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut former) = daemons.insert(name.to_owned(), child) {
            let _ = former.try_wait();
        }
    }

    fn spawn_slurmd(&self, node: usize) -> Result<()> {
        let name = self.node(node);
        let (program, args) = if self.config.is_configless {
            let munge = self.layout.munge_socket().display().to_string();
            // What enters a tree has made all mounts private, and the tree's root is none.
            let propagation = if tree::root().is_some() { "unchanged" } else { "private" };
            let own =
                ["--mount", "--propagation", propagation, "sh", "-c", CONFIGLESS_SLURMD, "sh"];
            let port = self.layout.port(0).to_string();
            (
                "unshare",
                own.map(str::to_owned).into_iter().chain([munge, port, name.clone()]).collect(),
            )
        } else {
            ("slurmd", vec!["-D".to_owned(), "-N".to_owned(), name.clone()])
        };
        self.spawn(&format!("slurmd-{name}"), program, &args, &self.node_env[node - 1])
    }

    /// The process id of a node's slurmd; none while it does not run.
    #[track_caller]
    pub fn slurmd_pid(&self, node: usize) -> Option<u32> {
        let file = self.dir().join("pid").join(format!("slurmd-{}", self.node(node)));
        let pid = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        is_alive(pid).then_some(pid)
    }

    /// Ends a node's slurmd with SIGTERM and waits for its end. Jobs go on running.
    #[track_caller]
    pub fn stop_slurmd(&self, node: usize) {
        if let Some(pid) = self.slurmd_pid(node) {
            end(pid, STOP_PATIENCE);
        }
    }

    /// Ends a node's slurmd with SIGKILL. Jobs go on running.
    #[track_caller]
    pub fn kill_slurmd(&self, node: usize) {
        if let Some(pid) = self.slurmd_pid(node) {
            signal(pid, Signal::KILL);
            poll_until(STOP_PATIENCE, || !is_alive(pid));
        }
    }

    /// Stops a node's slurmd where it runs, starts it, and waits until it says that it has started.
    ///
    /// # Errors
    ///
    /// Where that takes longer than 30 s.
    pub fn restart_slurmd(&self, node: usize) -> Result<()> {
        self.stop_slurmd(node);
        let log = self.slurmd_log(node);
        let n_starts = || starts_in(&log);
        let before = n_starts();
        let result = self.spawn_slurmd(node).and_then(|()| {
            self.wait_until("slurmd is started again", || {
                n_starts() > before && self.slurmd_pid(node).is_some()
            })
        });
        self.note_failure(result)
    }

    /// The state of every node, by name, in Slurm's words: `idle`, `mixed`, `drained`, ...
    ///
    /// # Errors
    ///
    /// Where `sinfo` fails.
    pub fn node_states(&self) -> Result<BTreeMap<String, String>> {
        let sinfo =
            self.command(&User::root(), "sinfo").args(&["-h", "-N", "-o", "%N %T"]).run()?;
        ensure!(sinfo.is_success(), "sinfo failed: {}", sinfo.stderr());
        let lines = sinfo.stdout_unchecked().lines().map(str::to_owned).collect::<Vec<_>>();
        let states = lines.iter().filter_map(|line| line.split_once(' '));
        Ok(states.map(|(name, state)| (name.to_owned(), state.to_owned())).collect())
    }

    /// Puts drained and failed nodes back to work, and waits until all of them answer.
    ///
    /// # Errors
    ///
    /// Where `scontrol` fails, or a node does not come back within 30 s.
    pub fn resume_nodes(&self) -> Result<()> {
        for (name, _) in self.node_states()?.iter().filter(|(_, state)| is_out_of_work(state)) {
            let node = format!("nodename={name}");
            let output = self.scontrol(&["update", &node, "state=resume"])?;
            ensure!(output.is_success(), "cannot resume {name}: {}", output.stderr());
        }
        // A resumed node shows as "idle*", not responding, until slurmctld has reached it.
        let works = |state: &String| !is_out_of_work(state) && !state.contains('*');
        let result = self.wait_until("all nodes are back", || {
            self.node_states().is_ok_and(|states| states.values().all(works))
        });
        self.note_failure(result)
    }
}

fn is_out_of_work(state: &str) -> bool {
    ["drain", "down", "fail"].iter().any(|bad| state.contains(bad))
}

/// How often a slurmd says in its log that it has started.
fn starts_in(log: &Path) -> usize {
    let text = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&text).matches("slurmd started on").count()
}
