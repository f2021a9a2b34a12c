//! After its start ct-noded has nothing of root's, and nobody but root gets at what it has.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ct_core::protocol::{Reply, Request};

use crate::attacker::{ask_as, run_as};
use crate::noded::{Noded, Setup};
use crate::{OWNER, is_root};

/// The user it becomes here: `carbontracker`, else nobody.
fn service_uid() -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let uid = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    };
    uid("carbontracker").or_else(|| uid("nobody")).unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// All groups of a user, as `id` names them.
fn groups_of(uid: u32) -> Vec<String> {
    let said = Command::new("id").args(["-G", &uid.to_string()]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.split_whitespace().map(str::to_owned).collect()
}

/// Expects of a thread, or process, that it has no more than these capabilities.
#[track_caller]
fn assert_bare(status: &str, uid: u32, capabilities: u64) {
    let ids = vec![uid.to_string(); 4].join("\t");
    assert_eq!(field(status, "Uid"), ids, "{status}");
    assert_ne!(field(status, "Gid").split('\t').next(), Some("0"), "{status}");
    // Its own groups it may keep, by which a site lets it reach the device files of GPUs.
    let own = groups_of(uid);
    let groups: Vec<&str> = field(status, "Groups").split_whitespace().collect();
    assert!(groups.iter().all(|g| *g != "0" && own.iter().any(|own| own == g)), "{status}");
    let caps = |name| u64::from_str_radix(field(status, name), 16).unwrap();
    for name in ["CapPrm", "CapEff"] {
        assert_eq!(caps(name) & !capabilities, 0, "{name}: {status}");
    }
    for name in ["CapInh", "CapBnd", "CapAmb"] {
        assert_eq!(caps(name), 0, "{name}: {status}");
    }
    assert_eq!(field(status, "NoNewPrivs"), "1", "{status}");
}

fn statuses_of_threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

#[test]
fn no_thread_keeps_anything_of_root() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "on");
    let statuses = statuses_of_threads(noded.pid());
    assert!(statuses.len() > 2, "{statuses:?}");
    for status in &statuses {
        assert_bare(status, service_uid(), 0);
    }
}

#[test]
fn where_the_site_lets_it_end_jobs_its_threads_keep_cap_kill_at_the_most() {
    if !is_root() {
        return;
    }
    let config = "[track]\nallow_stop = true\n";
    let noded = Noded::start_with(&Setup { config, ..Setup::default() });
    noded.start_job(1, OWNER, "on");
    // linux/capability.h: CAP_KILL is 5. Threads that are started after the one that became the service
    // user have what it has.
    let statuses = statuses_of_threads(noded.pid());
    assert!(statuses.len() > 2, "{statuses:?}");
    for status in &statuses {
        assert_bare(status, service_uid(), 1 << 5);
    }
    assert_eq!(field(&noded.proc("status"), "CapEff"), "0000000000000020");
}

#[test]
fn neither_a_user_nor_the_service_user_sees_into_it() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    let pid = noded.pid();
    // Not dumpable: what is private to a process belongs to root, whoever the process is.
    for name in ["environ", "fd", "maps"] {
        let path = format!("/proc/{pid}/{name}");
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{path}");
    }
    assert!(noded.proc("environ").contains("SECRET=of-root"), "the test has its secret");
    for uid in [OWNER, service_uid()] {
        for name in ["environ", "maps", "mem", "auxv", "io"] {
            let output = run_as(uid, "cat", &[&format!("/proc/{pid}/{name}")]);
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{uid} {name}: {output:?}"
            );
        }
        let listed = run_as(uid, "ls", &[&format!("/proc/{pid}/fd")]);
        assert!(!listed.status.success() && listed.stdout.is_empty(), "{uid}: {listed:?}");
        // PTRACE_ATTACH is 16, PTRACE_SEIZE 0x4206; process_vm_readv is call 310 on x86-64.
        let script = format!(
            "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.ptrace.restype = ctypes.c_long\n\
             for kind in (16, 0x4206):\n    assert c.ptrace(kind, {pid}, None, None) == -1\n    \
             assert ctypes.get_errno() == 1, ctypes.get_errno()\n\
             class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n\
             to = ctypes.create_string_buffer(8); a = V(ctypes.addressof(to), 8); b = V(0x10000, 8)\n\
             assert c.process_vm_readv({pid}, ctypes.byref(a), 1, ctypes.byref(b), 1, 0) == -1\n\
             assert ctypes.get_errno() == 1, ctypes.get_errno()"
        );
        let output = run_as(uid, "/usr/bin/python3", &["-c", &script]);
        assert!(output.status.success(), "{uid}: {output:?}");
    }
}

#[test]
fn a_user_cannot_signal_it_nor_change_what_is_its_own() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    let output = run_as(OWNER, "sh", &["-c", &format!("kill -9 {}", noded.pid())]);
    assert!(!output.status.success(), "{output:?}");
    let at = |name: &str| noded.dir().join(name);
    for (name, mode) in [
        ("run", 0o755),
        ("run/noded.sock", 0o666),
        ("run/noded.lock", 0o600),
        ("run/noded.pid", 0o640),
        ("state", 0o750),
        ("state/jobs", 0o750),
        ("ledger", 0o750),
    ] {
        let seen = fs::symlink_metadata(at(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(seen, mode, "{name} has mode {seen:o}, expected {mode:o}");
    }
    for command in
        ["touch run/x", "rm -f run/noded.sock", "ls state", "ls ledger", "cat run/noded.lock"]
    {
        let command = format!("cd {} && {command}", noded.dir().display());
        let output = run_as(OWNER, "sh", &["-c", &command]);
        assert!(!output.status.success(), "{command}: {output:?}");
    }
    // The counter is as closed as it was, and is read all the same.
    let counter = at("plant/sys/class/powercap/intel-rapl:0/energy_uj").display().to_string();
    for uid in [OWNER, service_uid()] {
        let output = run_as(uid, "cat", &[&counter]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{uid}: {output:?}");
    }
    noded.start_job(1, OWNER, "on");
    let reply = ask_as(OWNER, &noded.socket(), &Request::Status { job_id: 1 });
    let Reply::Status(status) = reply else { panic!("{reply:?}") };
    assert_eq!(status.method.get("cpu").map(String::as_str), Some("rapl"), "{status:?}");
}

/// Programs that stand in for Slurm's: they tell which descriptors they were given.
fn spies(dir: &Path) {
    let script = format!(
        "#!/bin/sh\nls -l /proc/$$/fd >{0}/.fds.$$; cat /proc/$$/status >{0}/.status.$$\n\
         mv {0}/.fds.$$ {0}/fds.$$; mv {0}/.status.$$ {0}/status.$$\n",
        dir.display()
    );
    for name in ["squeue", "scontrol", "slurmd"] {
        let path = dir.join(name);
        fs::write(&path, &script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
}

fn is_closed_on_exec(process: &str, number: u32) -> bool {
    let info = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:")).unwrap_or("0").trim();
    // O_CLOEXEC of the descriptor, as fdinfo shows it.
    u32::from_str_radix(flags, 8).is_ok_and(|flags| flags & 0o2_000_000 != 0)
}

#[test]
fn what_it_starts_is_given_nothing_and_it_keeps_only_what_it_needs() {
    if !is_root() {
        return;
    }
    let spy_dir = tempfile::tempdir().unwrap();
    spies(spy_dir.path());
    let path = Some(spy_dir.path().to_owned());
    let noded = Noded::start_with(&Setup { path, ..Setup::default() });
    noded.start_job(1, OWNER, "on");
    noded.end_job(1, OWNER);
    let seen = |prefix: &str| -> Vec<String> {
        let entries = fs::read_dir(spy_dir.path()).unwrap().flatten();
        let of_kind = entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix));
        of_kind.map(|e| fs::read_to_string(e.path()).unwrap()).collect()
    };
    let end = Instant::now() + Duration::from_secs(30);
    while seen("status.").is_empty() {
        assert!(Instant::now() < end, "nothing was started: {}", noded.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    for fds in seen("fds.") {
        // Standard input is /dev/null, output and error are pipes; the script itself may be open.
        let own = |line: &&str| line.contains(" -> ");
        for line in fds.lines().filter(own) {
            let (_, to) = line.split_once(" -> ").unwrap();
            let is_own = to == "/dev/null"
                || to.starts_with("pipe:")
                || to.starts_with(&*spy_dir.path().to_string_lossy());
            assert!(is_own, "given {to}: {fds}");
        }
    }
    for status in seen("status.") {
        assert_bare(&status, service_uid(), 0);
    }
    let fds = fs::read_dir(format!("/proc/{}/fd", noded.pid())).unwrap().flatten();
    for fd in fds {
        let Ok(to) = fs::read_link(fd.path()) else { continue };
        let to = to.to_string_lossy().into_owned();
        let number = fd.file_name().to_string_lossy().parse::<u32>().unwrap();
        // What this test was started with itself is not of its making.
        let is_given = fs::read_link(format!("/proc/self/fd/{number}"))
            .is_ok_and(|own| own.to_string_lossy() == to && !is_closed_on_exec("self", number));
        let pid = noded.pid().to_string();
        let is_closed = number <= 2 || is_given || is_closed_on_exec(&pid, number);
        assert!(is_closed, "{number} -> {to} would be inherited");
        let known = ["/dev/null", "socket:", "pipe:", "anon_inode:", "/proc/", "/sys/"];
        let is_own = to.starts_with(&*noded.dir().to_string_lossy());
        assert!(is_own || known.iter().any(|k| to.starts_with(k)), "open: {to}");
    }
    assert!(matches!(noded.tell(&Request::Ping {}), ct_core::protocol::Reply::Pong { .. }));
}
