//! A step, from its start to the text in the job's output.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ct_core::protocol::Request;

use crate::LIMIT_MS;
use crate::daemon::{self, FakeDaemon};
use crate::host::{EXTERN, Host, REMOTE, TestDir, user_id, wait_for_file};

#[test]
fn a_batch_job_is_told_with_everything_a_step_knows() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let run = Host::new(REMOTE).run(&batch_words(&dir));
    run.assert_hooks_succeed(LIMIT_MS);
    run.assert_nothing_left();
    let requests = daemon.requests();
    let Request::StepStart { job, step } = &requests[0] else { panic!("{requests:?}") };
    assert_eq!((job.job_id, job.uid, job.gid), (42, user_id(), user_id()));
    assert_eq!(job.option.as_deref(), Some("epochs:3"));
    assert_eq!(job.site_option.as_deref(), Some(r"update_interval:5,log_file_prefix:a\:b\,c\\d"));
    assert_eq!(job.site_default, Some(true));
    assert_eq!((job.array_job_id, job.array_task_id), (Some(40), Some(7)));
    assert_eq!((job.alloc_cpus, job.alloc_mem_mb), (Some(2), Some(500)));
    assert_eq!(job.cores.as_deref(), Some("0-1"));
    assert_eq!((job.restart, job.n_nodes), (Some(2), Some(3)));
    assert_eq!(job.nodelist.as_deref(), Some("n[1-3]"));
    assert_eq!(job.job_gpus.as_deref(), Some("2,3"));
    assert_eq!(job.job_name, None, "control characters never leave the plugin");
    assert_eq!((job.work_dir.as_ref(), step.name.as_str()), (None, "batch"));
    assert!(step.stepd_pid > 1 && step.cgroup.contains(":/"), "{step:?}");

    let env = run.all("setenv");
    assert!(env.contains(&"CARBONTRACKER_JOB_ID=42"), "{run}");
    assert!(env.contains(&&*format!("CARBONTRACKER_SOCKET={}", dir.socket().display())), "{run}");
}

/// A batch step from init to exit, with two tasks.
pub(crate) fn batch_words(dir: &TestDir) -> Vec<String> {
    let mut words = vec![dir.config_arg(), format!("chdir={}", dir.path().display())];
    words.extend(
        [
            "arg=default=on",
            "arg=update_interval=5",
            r"arg=log_file_prefix=a:b,c\d",
            "step=0xfffffffb",
            "tasks=2",
            "array=40",
            "env=SLURM_RESTART_COUNT=2",
            "env=SLURM_JOB_NUM_NODES=3",
            "env=SLURM_JOB_NODELIST=n[1-3]",
            "env=SLURM_JOB_GPUS=2,3",
            "env=SLURM_JOB_NAME=a\u{1b}[31mb",
            "env=SLURM_UMASK=0077",
            "count",
            "hook=init",
            "option=epochs:3",
            "hook=init_post_opt",
            "hook=user_init",
            "hook=task_exit",
            "hook=task_exit",
            "hook=exit",
            "count",
        ]
        .map(str::to_owned),
    );
    words
}

/// A batch step whose first task's output is wanted, and a watcher beside it, which is a script that
/// leaves its arguments in the file `seen`.
pub(crate) fn task_words(dir: &TestDir) -> Vec<String> {
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (track, seen) = (at("ct-track"), at("seen"));
    fs::write(&track, format!("#!/bin/sh\necho \"$*\" >{seen}.new\nmv {seen}.new {seen}\n"))
        .unwrap();
    fs::set_permissions(&track, fs::Permissions::from_mode(0o755)).unwrap();
    let mut words = batch_words(dir);
    let task = words.iter().position(|w| w == "hook=task_exit").unwrap();
    words.insert(task, "in-task=task_init".to_owned());
    let first = [format!("arg=noded={}", at("ct-noded")), format!("stdout={}", at("out"))];
    words.splice(0..0, first);
    words
}

#[test]
fn the_first_tasks_output_is_passed_on_and_again_at_its_end_and_a_watcher_is_started() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::wanting_all(dir.path());
    let run = Host::new(REMOTE).run(&task_words(&dir));
    run.assert_hooks_succeed(LIMIT_MS);
    run.assert_nothing_left();
    let requests = daemon.requests();
    let names: Vec<_> = requests.iter().map(daemon::name).collect();
    let expected = ["step_start", "logs", "output", "status", "output", "step_end", "logs"];
    assert_eq!(names, expected, "{run}");
    assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), "printed\nprinted\n");
    let seen = wait_for_file(&dir.path().join("seen"));
    let pid = seen.trim().strip_prefix("watch ").unwrap();
    assert!(pid.parse::<u32>().unwrap() > 1, "{seen}");
}

#[test]
fn an_output_that_is_no_file_is_not_passed_on_and_the_user_is_told() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::wanting_all(dir.path());
    let mut words = task_words(&dir);
    words.retain(|word| !word.starts_with("stdout="));
    let run = Host::new(REMOTE).run(&words);
    run.assert_hooks_succeed(LIMIT_MS);
    assert!(run.all("say").iter().any(|l| l.contains("this output is a pipe")), "{run}");
    assert!(!daemon.requests().iter().any(|r| matches!(r, Request::Output { .. })), "{run}");
}

#[test]
fn log_files_are_opened_by_the_user_passed_on_and_passed_again_when_they_were_lost() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let run = Host::new(REMOTE).run(&batch_words(&dir));
    let requests = daemon.requests();
    let names: Vec<_> = requests.iter().map(daemon::name).collect();
    assert_eq!(names, ["step_start", "logs", "status", "step_end", "logs"], "{run}");
    for name in ["42.log", "42.json"] {
        // The daemon writes one line through each handle it is passed.
        let text = fs::read_to_string(dir.path().join("carbontracker").join(name)).unwrap();
        assert_eq!(text, "1\n2\n", "appended, and twice");
    }
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("carbontracker")), 0o700, "the job's umask counts");
    assert_eq!(mode(&dir.path().join("carbontracker/42.log")), 0o600);
    // The text, line by line and never as a format.
    assert_eq!(run.all("say"), ["Actual consumption:", "100 %s %n of it"], "{run}");
}

#[test]
fn log_files_that_are_links_or_pipes_are_not_opened_and_the_user_is_told() {
    for make_trap in [
        (|p: &Path| std::os::unix::fs::symlink("/etc/ct-target", p).unwrap()) as fn(&Path),
        |p| assert!(Command::new("mkfifo").arg(p).status().unwrap().success()),
        |p| fs::create_dir(p).unwrap(),
    ] {
        let dir = TestDir::new();
        let daemon = FakeDaemon::start(dir.path(), true);
        fs::create_dir(dir.path().join("carbontracker")).unwrap();
        make_trap(&dir.path().join("carbontracker/42.json"));
        let run = Host::new(REMOTE).run(&batch_words(&dir));
        run.assert_hooks_succeed(LIMIT_MS);
        run.assert_nothing_left();
        let told = run.all("say").join("\n");
        assert!(told.contains("carbontracker: cannot write logs in carbontracker: "), "{run}");
        assert!(told.contains("energy is still accounted"), "{run}");
        assert!(run.all("info").iter().any(|l| l.contains("carbontracker/42.json")), "{run}");
        assert!(!daemon.requests().iter().any(|r| matches!(r, Request::Logs { .. })));
    }
}

#[test]
fn log_files_are_not_opened_under_another_users_ids() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let mut words = batch_words(&dir);
    words.insert(0, "uid=4242".to_owned());
    let run = Host::new(REMOTE).run(&words);
    run.assert_hooks_succeed(LIMIT_MS);
    assert!(!dir.path().join("carbontracker").exists(), "{run}");
    assert!(!daemon.requests().iter().any(|r| matches!(r, Request::Logs { .. })));
}

#[test]
fn an_srun_step_ends_with_its_last_task_and_only_once() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), false);
    let task = "hook=task_exit";
    let run = Host::new(REMOTE).run(&[
        &dir.config_arg(),
        "step=3",
        "tasks=2",
        "hook=init",
        "hook=init_post_opt",
        "hook=user_init",
        task,
        task,
        "hook=exit",
    ]);
    let requests = daemon.requests();
    let names: Vec<_> = requests.iter().map(daemon::name).collect();
    assert_eq!(names, ["step_start", "step_end"], "{run}");
    assert_eq!(requests[1], Request::StepEnd { job_id: 42, step: "3".to_owned() });
}

#[test]
fn the_extern_step_does_and_says_nothing() {
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let run = Host::new(REMOTE).run(&[
        &dir.config_arg(),
        EXTERN,
        "hook=init",
        "hook=init_post_opt",
        "hook=exit",
    ]);
    run.assert_hooks_succeed(LIMIT_MS);
    assert_eq!(daemon.requests(), []);
    assert_eq!(run.all("info").len() + run.all("setenv").len(), 0, "{run}");
}
