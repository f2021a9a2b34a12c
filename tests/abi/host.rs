//! Compiles and runs the stand-in for Slurm's programs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

// The order of enum spank_context in spank.h.
pub(crate) const LOCAL: &str = "context=1";
pub(crate) const REMOTE: &str = "context=2";
pub(crate) const ALLOCATOR: &str = "context=3";
pub(crate) const SLURMD: &str = "context=4";
pub(crate) const JOB_SCRIPT: &str = "context=5";
/// SLURM_EXTERN_CONT.
pub(crate) const EXTERN: &str = "step=0xfffffffc";

/// The plugin, built once.
pub(crate) fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN
        .get_or_init(|| ct_tests::artifact::built("carbontracker", "libcarbontracker.so").unwrap())
}

pub(crate) fn user_id() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// A directory with a configuration that puts the socket there.
pub(crate) struct TestDir(TempDir);

impl TestDir {
    pub(crate) fn new() -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let mine = format!("x:{}", user_id());
        let me =
            passwd.lines().find(|l| l.split_once(':').is_some_and(|(_, r)| r.starts_with(&mine)));
        let me = me.and_then(|l| l.split(':').next()).unwrap_or("nobody");
        let text = format!("[node]\nservice_user = \"{me}\"\nrun_dir = \"{}\"\n", dir.text());
        fs::write(dir.path().join("carbontracker.toml"), text).unwrap();
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn text(&self) -> String {
        self.path().display().to_string()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("noded.sock")
    }

    pub(crate) fn config_arg(&self) -> String {
        format!("arg=config={}/carbontracker.toml", self.text())
    }
}

/// One process that plays a program of Slurm's.
pub(crate) struct Host {
    command: Command,
    context: &'static str,
    library: PathBuf,
    /// Whether a tool may say on standard error what it wants.
    is_watched: bool,
}

impl Host {
    pub(crate) fn new(context: &'static str) -> Self {
        let command = Command::new(compiled("host", &["-rdynamic"]));
        Self { command, context, library: plugin().to_owned(), is_watched: false }
    }

    /// A program that has none of Slurm's functions.
    pub(crate) fn bare() -> Self {
        let command = Command::new(compiled("bare", &["-DBARE"]));
        Self { command, context: REMOTE, library: plugin().to_owned(), is_watched: false }
    }

    pub(crate) fn under_valgrind(context: &'static str) -> Self {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        command.args(["--errors-for-leak-kinds=definite", "--child-silent-after-fork=yes"]);
        command.arg(compiled("host", &["-rdynamic"]));
        Self { command, context, library: plugin().to_owned(), is_watched: true }
    }

    /// A host whose memory is watched by AddressSanitizer, and a plugin that was built for it.
    pub(crate) fn under_asan(context: &'static str, library: &Path) -> Self {
        let flags = ["-rdynamic", "-fsanitize=address", "-fno-omit-frame-pointer"];
        let mut command = Command::new(compiled("asan", &flags));
        // Leaks are valgrind's to find; a finding ends the program at once.
        command.env("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=0:exitcode=99");
        Self { command, context, library: library.to_owned(), is_watched: true }
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.command.env(name, value);
    }

    pub(crate) fn run<S: AsRef<str>>(self, words: &[S]) -> Run {
        let words: Vec<_> = words.iter().map(|w| w.as_ref().as_bytes()).collect();
        self.run_bytes(&words)
    }

    /// Runs the words; the program must end with status 0 and print nothing itself.
    pub(crate) fn run_bytes(mut self, words: &[&[u8]]) -> Run {
        let results = tempfile::NamedTempFile::new().unwrap();
        let own = [OsString::from(self.context), format!("uid={}", user_id()).into()];
        self.command.arg(&self.library).arg(results.path()).args(own);
        let output =
            self.command.args(words.iter().map(|w| OsStr::from_bytes(w))).output().unwrap();
        let run = Run(String::from_utf8_lossy(&fs::read(results.path()).unwrap()).into_owned());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {stderr}\n{run}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{run}");
        assert!(self.is_watched || stderr.is_empty(), "{stderr}\n{run}");
        run
    }
}

/// Compiles host.c once per way.
fn compiled(name: &str, flags: &[&str]) -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    static BUILD: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = BUILD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let program = DIR.get_or_init(|| tempfile::tempdir().unwrap()).path().join(name);
    if !program.exists() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/abi/host.c");
        let output = Command::new("cc")
            .args(["-g", "-Wall", "-Wextra", "-Wno-unused", "-o"])
            .arg(&program)
            .args(flags)
            .args([source, "-ldl"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    program
}

/// What a run left in its results.
pub(crate) struct Run(String);

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "results:\n{}", self.0)
    }
}

impl Run {
    /// The lines of one kind, without it.
    pub(crate) fn all(&self, kind: &str) -> Vec<&str> {
        self.0.lines().filter_map(|l| l.strip_prefix(kind)).map(str::trim_start).collect()
    }

    /// The only line of that kind.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str) -> &str {
        let lines = self.all(kind);
        assert_eq!(lines.len(), 1, "lines {kind:?}\n{self}");
        lines[0]
    }

    #[track_caller]
    pub(crate) fn assert_hooks_succeed(&self, limit_ms: u64) {
        let hooks = self.all("hook ");
        assert!(!hooks.is_empty() && self.0.ends_with("done\n"), "{self}");
        for line in hooks {
            let (_, rest) =
                line.split_once(" rc=0 ms=").unwrap_or_else(|| panic!("{line}\n{self}"));
            assert!(rest.parse::<u64>().unwrap() <= limit_ms, "{line}\n{self}");
        }
    }

    /// What all hooks took together.
    pub(crate) fn hooks_took_ms(&self) -> u64 {
        let ms = |line: &&str| line.rsplit_once("ms=").and_then(|(_, ms)| ms.parse::<u64>().ok());
        self.all("hook ").iter().filter_map(ms).sum()
    }

    /// The first and the last count agree: no thread and no descriptor more.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let counts = self.all("count ");
        assert_eq!(counts.len(), 2, "{self}");
        assert!(counts[0].starts_with("threads=1 "), "{self}");
        assert_eq!(counts[0], counts[1], "{self}");
    }
}

/// The text of a file that another process is about to make.
pub(crate) fn wait_for_file(path: &Path) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::read_to_string(path) {
            Ok(text) => return text,
            Err(e) => assert!(Instant::now() < end, "{}: {e}", path.display()),
        }
        thread::sleep(Duration::from_millis(20));
    }
}
