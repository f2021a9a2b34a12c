//! Prolog, epilog, and the start of the daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ct_core::protocol::Request;

use crate::LIMIT_MS;
use crate::daemon::FakeDaemon;
use crate::host::{self, Host, JOB_SCRIPT, REMOTE, SLURMD, TestDir, user_id};

#[test]
fn prolog_and_epilog_tell_start_and_end_of_the_job() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let mut host = Host::new(JOB_SCRIPT);
    for (name, value) in [
        ("SLURMD_NODENAME", "n7"),
        ("SLURM_JOB_WORK_DIR", "/home/ann"),
        ("SLURM_JOB_USER", "ann"),
        ("SLURM_JOB_RESTART_COUNT", "0"),
        ("CUDA_VISIBLE_DEVICES", "2,3"),
        ("SLURM_JOB_EXIT_CODE", "256"),
    ] {
        host.env(name, value);
    }
    let run = host.run(&[
        &dir.config_arg(),
        "getopt=NULL",
        "count",
        "hook=job_prolog",
        "hook=job_epilog",
        "count",
    ]);
    run.assert_hooks_succeed(LIMIT_MS);
    run.assert_nothing_left();
    let requests = daemon.requests();
    let [Request::JobStart(job), Request::JobEnd(end)] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert_eq!((job.job_id, job.uid), (42, user_id()));
    assert_eq!(job.node.as_deref(), Some("n7"));
    assert_eq!(job.work_dir.as_deref(), Some(Path::new("/home/ann")));
    assert_eq!(job.option.as_deref(), Some("on"));
    assert_eq!((job.restart, job.cuda_visible_devices.as_deref()), (Some(0), Some("2,3")));
    assert_eq!((end.job.job_id, end.wait_status), (42, Some(256)));
    // Who reads it late, or hears of the job only now, knows when and what it was.
    assert!(end.job.told_at_ms >= job.told_at_ms && job.told_at_ms > Some(0), "{end:?}");
    assert_eq!(end.job.user.as_deref(), Some("ann"));
}

#[test]
fn the_daemon_is_started_in_a_session_of_its_own_with_nothing_inherited() {
    let dir = TestDir::new();
    let seen = dir.path().join("seen");
    let script = script(
        &dir,
        "{ echo \"args $*\"; echo \"session $(cut -d' ' -f6 /proc/$$/stat)\"; grep SigIgn \
         /proc/$$/status; for fd in /proc/$$/fd/*; do readlink $fd; done; pwd; }",
    );
    let mut host = Host::new(SLURMD);
    host.env("SLURMD_NODENAME", "n7");
    let noded = format!("arg=noded={script}");
    let run =
        host.run(&[&dir.config_arg(), &noded, "ignore-signals", "count", "hook=init", "count"]);
    run.assert_hooks_succeed(LIMIT_MS);
    run.assert_nothing_left();
    assert!(run.one("info").contains("for node n7"), "{run}");
    let seen = host::wait_for_file(&seen);
    let config = dir.path().join("carbontracker.toml");
    let args = format!("args --daemon --config {} --node n7", config.display());
    assert!(seen.starts_with(&args), "{seen}");
    let ignored = seen.lines().find_map(|l| l.strip_prefix("SigIgn:\t")).unwrap();
    // 32 and 33 are the C library's own, and it lets nobody set them.
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{seen}");
    assert!(seen.ends_with("/\n"), "it starts in the root directory: {seen}");
    for line in seen.lines().filter(|l| l.starts_with('/') || l.contains(":[")) {
        let own = ["/dev/null", "/"].contains(&line) || line.starts_with(&*dir.text());
        assert!(own, "inherited {line}: {seen}");
    }
}

/// A program in ct-noded's place that leaves what `commands` print in the file `seen`.
fn script(dir: &TestDir, commands: &str) -> String {
    let (path, seen) = (dir.path().join("ct-noded"), dir.path().join("seen"));
    let seen = seen.display();
    let text = format!("#!/bin/sh\n{commands} >{seen}.new 2>&1\nmv {seen}.new {seen}\n");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_daemon_that_ended_during_a_step_is_started_again_for_the_steps_end() {
    if user_id() != 0 {
        ct_tests::say_skipped("skipped: a step's end starts the daemon as root only");
        return;
    }
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), false);
    let noded = format!("arg=noded={}", script(&dir, "echo started $*"));
    let run = Host::new(REMOTE).run(&[
        &dir.config_arg(),
        &noded,
        "count",
        "hook=init",
        "hook=init_post_opt",
        &format!("unlink={}", dir.socket().display()),
        "hook=task_exit",
        "hook=exit",
        "count",
    ]);
    run.assert_hooks_succeed(LIMIT_MS);
    run.assert_nothing_left();
    let seen = host::wait_for_file(&dir.path().join("seen"));
    assert!(seen.starts_with("started --daemon --config "), "{seen}");
    // It does not listen, which costs the step its text and nothing else.
    assert!(run.all("info").iter().any(|l| l.contains("does not listen on")), "{run}");
    assert_eq!(daemon.requests().len(), 1, "{run}");
}
