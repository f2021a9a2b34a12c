//! Starting a daemon from inside one of Slurm's.
//!
//! A child that keeps one inherited descriptor holds its job for as long as it lives, so none is
//! kept. Between fork and exec other threads' locks may be held for good: the child allocates
//! nothing and calls only what signal-safety(7) allows, on memory made before.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{check_int, pair, receive};
use crate::os::Deadline;

/// How long the child may take to execute the program.
const REPORT_MS: u64 = 100;

/// What is known of a program that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// It runs.
    Executed,
    /// The child has not come so far yet as to say.
    Unknown,
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The program and its arguments.
    pub(crate) args: Vec<CString>,
    /// Its environment.
    pub(crate) env: Vec<CString>,
    /// `cgroup.procs` files to enter, so that it is in no job's cgroup.
    pub(crate) cgroups: Vec<CString>,
}

/// Starts a daemon, in a session of its own, as nobody's child.
///
/// # Errors
///
/// Why it could not be executed.
pub(crate) fn start_daemon(daemon: &Daemon) -> io::Result<Started> {
    let args = pointers(&daemon.args);
    let env = pointers(&daemon.env);
    // Closed on exec: how the child tells why exec failed.
    let (report_in, report_out) = pair()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: the child only runs `become_daemon`, which keeps to async-signal-safe calls.
    let child = check_int(unsafe { libc::fork() })?;
    if child == 0 {
        become_daemon(daemon, &args, &env, null.as_raw_fd(), report_out.as_raw_fd());
    }
    drop(report_out);
    reap(child);
    read_report(&report_in)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// The intermediate child ends at once; no wait of Slurm's own may find it.
fn reap(child: libc::pid_t) {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        let rc = unsafe { libc::waitpid(child, &raw mut status, 0) };
        let interrupted = io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if rc >= 0 || !interrupted {
            return;
        }
    }
}

/// Nothing where exec succeeded, as it closed the other end; else errno.
fn read_report(report: &OwnedFd) -> io::Result<Started> {
    let mut errno = [0_u8; 4];
    match receive(report, &mut errno, Deadline::in_ms(REPORT_MS)) {
        Ok(4) => Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(errno))),
        Ok(_) => Ok(Started::Executed),
        // It may come up all the same: the machine is busy.
        Err(_) => Ok(Started::Unknown),
    }
}

/// First descriptor above those the daemon starts with; the report's place until exec.
const REPORT: RawFd = 3;

/// The children's part: never returns.
fn become_daemon(
    daemon: &Daemon,
    args: &[*const c_char],
    env: &[*const c_char],
    null: RawFd,
    report: RawFd,
) -> ! {
    // SAFETY: setsid is async-signal-safe and takes nothing.
    unsafe { libc::setsid() };
    // SAFETY: fork is called in a process of one thread; the child goes on with safe calls only.
    if unsafe { libc::fork() } != 0 {
        exit_now();
    }
    for path in &daemon.cgroups {
        enter_cgroup(path);
    }
    only_keep(null, report);
    forget_signals();
    // SAFETY: the path ends in NUL.
    unsafe { libc::chdir(c"/".as_ptr()) };
    // SAFETY: both arrays end in NULL and hold NUL-terminated strings made before the fork.
    unsafe { libc::execve(args[0], args.as_ptr(), env.as_ptr()) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0).to_ne_bytes();
    // SAFETY: `errno` has four bytes.
    unsafe { libc::write(REPORT, errno.as_ptr().cast(), errno.len()) };
    exit_now()
}

fn exit_now() -> ! {
    // SAFETY: _exit is async-signal-safe and runs nothing of the parent's.
    unsafe { libc::_exit(0) }
}

fn enter_cgroup(path: &CStr) {
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if fd >= 0 {
        // SAFETY: the buffer has one byte; 0 means the writing process.
        unsafe { libc::write(fd, c"0".as_ptr().cast(), 1) };
        // SAFETY: `fd` was opened above.
        unsafe { libc::close(fd) };
    }
}

/// Leaves /dev/null as standard input, output and error, and the report until exec.
fn only_keep(null: RawFd, report: RawFd) {
    // Above all four places, so that none is overwritten before it is copied.
    // SAFETY: fcntl with F_DUPFD takes a number.
    let null = unsafe { libc::fcntl(null, libc::F_DUPFD, 4) };
    // SAFETY: as above.
    let report = unsafe { libc::fcntl(report, libc::F_DUPFD, 4) };
    if null < 0 || report < 0 {
        // Without free descriptors the step's own would stay open, and hold the job.
        // SAFETY: _exit takes a number and does not return.
        unsafe { libc::_exit(1) };
    }
    for fd in 0..REPORT {
        // SAFETY: dup2 takes two numbers.
        unsafe { libc::dup2(null, fd) };
    }
    // SAFETY: dup3 takes three numbers.
    unsafe { libc::dup3(report, REPORT, libc::O_CLOEXEC) };
    close_from(REPORT + 1);
}

fn close_from(first: RawFd) {
    // SAFETY: close_range takes numbers; kernels before 5.9 answer ENOSYS.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) };
    if rc == 0 {
        return;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let end = RawFd::try_from(limit.rlim_cur).unwrap_or(1 << 20).min(1 << 20);
    for fd in first..end {
        // SAFETY: close takes a number; descriptors that are not open answer EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Slurm blocks and ignores signals, and both would pass through exec.
fn forget_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; signals that cannot be set answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is plain data, for which all zeros is a value.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is writable.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: `none` was initialised above.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}
