//! A command run by a user, and what came of it.

use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::boot::SEARCH_PATH;
use super::{CLUSTER_DIR_VARIABLE, Cluster, User};
use crate::process::poll_until;
use crate::tree;

/// How long a command may take where nothing else is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A command on its way to [`ClusterCommand::run`]; made by [`Cluster::command`].
#[derive(Debug)]
#[must_use = "a command does nothing until it is run"]
pub struct ClusterCommand<'a> {
    cluster: &'a Cluster,
    user: User,
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: PathBuf,
    input: String,
    timeout: Duration,
}

impl Cluster {
    /// Prepares any program to be run by a user in the user's home, with an environment that
    /// holds only what a login gives, and `SLURM_CONF`.
    pub fn command(&self, user: &User, program: &str) -> ClusterCommand<'_> {
        ClusterCommand {
            cluster: self,
            user: user.clone(),
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: self.home(user),
            input: String::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl ClusterCommand<'_> {
    /// Adds arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Adds a variable to the environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.dir);
        self
    }

    /// Sets what the command reads from standard input; nothing by default.
    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    /// Sets how long the command may take; 60 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the command to its end, whatever its exit status.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, or takes longer than its timeout; then it is killed, and the
    /// error holds what it had printed.
    pub fn run(self) -> Result<Output> {
        let result = self.run_unnoted();
        self.cluster.note_failure(result)
    }

    fn run_unnoted(&self) -> Result<Output> {
        let line = format!("{} {}", self.program, self.args.join(" "));
        // Files, not pipes: a grandchild that keeps a pipe open would hold this process up.
        let (mut stdin, mut stdout, mut stderr) =
            (tempfile::tempfile()?, tempfile::tempfile()?, tempfile::tempfile()?);
        stdin.write_all(self.input.as_bytes())?;
        stdin.seek(SeekFrom::Start(0))?;
        let mut child = self
            .to_command()
            .stdin(stdin)
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {line}"))?;
        let status = wait(&mut child, self.timeout)?;
        let output = Output {
            command: line,
            user: self.user.name().to_owned(),
            status: status.unwrap_or_default(),
            stdout: text_of(&mut stdout)?,
            stderr: text_of(&mut stderr)?,
        };
        if status.is_none() {
            bail!("not done after {:?}, killed\n{output}", self.timeout);
        }
        Ok(output)
    }

    fn to_command(&self) -> Command {
        let mut words = tree::prefix(self.cluster.dir());
        words.push("setpriv".into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let (uid, gid) = (self.user.uid().to_string(), self.user.gid().to_string());
        command.args(["--reuid", &uid, "--regid", &gid, "--init-groups", "--"]);
        command.arg(&self.program).args(&self.args).current_dir(&self.dir);
        command.env_clear().env("PATH", SEARCH_PATH).env("LANG", "C.UTF-8").env("SHELL", "/bin/sh");
        command.env("USER", self.user.name()).env("LOGNAME", self.user.name());
        command.env("HOME", self.cluster.home(&self.user));
        command.env("SLURM_CONF", self.cluster.slurm_conf());
        command.env(CLUSTER_DIR_VARIABLE, self.cluster.dir()).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// Waits for the end; kills the child's whole group, and says none, where it takes too long.
fn wait(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let mut status = None;
    let is_done = poll_until(timeout, || {
        status = child.try_wait().transpose();
        status.is_some()
    });
    if is_done {
        return status.transpose().context("cannot wait for the command");
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().context("cannot wait for the command")?;
    Ok(None)
}

fn text_of(file: &mut std::fs::File) -> Result<String> {
    let mut bytes = Vec::new();
    // The child shares the offset, so what it wrote last stands before it.
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a command printed, and how it ended.
///
/// The display form holds all of it.
#[derive(Clone, Debug)]
pub struct Output {
    command: String,
    user: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Output {
    /// True for exit status 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// The exit status; none where a signal ended the command.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts exit status 0.
    ///
    /// # Panics
    ///
    /// Where it is another one, with everything the command printed.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.is_success(), "{self}");
        self
    }

    /// Asserts exit status 0 and returns standard output without blanks at its end.
    ///
    /// # Panics
    ///
    /// As [`Output::success`].
    #[track_caller]
    pub fn stdout(&self) -> &str {
        assert!(self.is_success(), "{self}");
        self.stdout.trim_end()
    }

    /// Standard output as it is, whatever the exit status.
    pub fn stdout_unchecked(&self) -> &str {
        &self.stdout
    }

    /// Standard error as it is.
    pub fn stderr(&self) -> &str {
        &self.stderr
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (as {}): {}", self.command, self.user, self.status)?;
        writeln!(f, "stdout:\n{}\nstderr:\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
