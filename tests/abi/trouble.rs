//! No daemon, a silent one, a stranger, wrong arguments: every hook succeeds, in time.

use std::process::Command;

use ct_core::protocol::Request;

use crate::LIMIT_MS;
use crate::daemon::FakeDaemon;
use crate::host::{Host, JOB_SCRIPT, LOCAL, REMOTE, Run, SLURMD, TestDir, user_id};
use crate::step::task_words;

#[test]
fn without_a_daemon_every_hook_succeeds_in_time_and_leaves_nothing_behind() {
    let dir = TestDir::new();
    let config = dir.config_arg();
    for context in [REMOTE, JOB_SCRIPT, SLURMD, LOCAL] {
        let run = Host::new(context).run(&[
            &config,
            "arg=noded=/nonexistent/ct-noded",
            "count",
            "hook=init",
            "hook=init_post_opt",
            "hook=user_init",
            "hook=task_exit",
            "hook=exit",
            "hook=job_prolog",
            "hook=job_epilog",
            "count",
        ]);
        run.assert_hooks_succeed(LIMIT_MS);
        run.assert_nothing_left();
        // A step's lines go to slurmd's log only: slurm_error would reach the job's output.
        let own = run.all("say").len() + if context == REMOTE { run.all("error").len() } else { 0 };
        assert_eq!(own, 0, "{run}");
    }
}

#[test]
fn a_missing_daemon_is_said_once_with_its_path_and_how_to_mend_it() {
    let dir = TestDir::new();
    let noded = "arg=noded=/nonexistent/ct-noded";
    let words = [&dir.config_arg(), noded, "hook=init", "hook=init"];
    let run = Host::new(SLURMD).run(&words);
    let message = run.one("error");
    for part in ["ct: slurmd: cannot start /nonexistent/ct-noded", "No such file", "noded=PATH"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn who_asked_for_tracking_is_told_once_that_nothing_is_measured() {
    let dir = TestDir::new();
    let (batch, first, second) = ("step=0xfffffffb", "step=0", "step=1");
    for (step, option, env, n_told) in [
        (batch, Some("option=epochs:3"), "env=X=1", 1),
        (first, Some("option=on"), "env=X=1", 1),
        (second, Some("option=on"), "env=X=1", 0),
        // The batch step has said it.
        (first, Some("option=on"), "env=ENVIRONMENT=BATCH", 0),
        (batch, Some("option=off"), "env=X=1", 0),
        // The site asked, or nobody.
        (batch, None, "env=X=1", 0),
    ] {
        let config = dir.config_arg();
        let mut words = vec![&*config, "arg=noded=/nonexistent", "arg=default=on", step, env];
        words.push("hook=init");
        words.extend(option);
        words.extend(["hook=init_post_opt", "hook=user_init", "hook=task_exit", "hook=exit"]);
        let run = Host::new(REMOTE).run(&words);
        run.assert_hooks_succeed(LIMIT_MS);
        let told = run.all("say");
        assert_eq!(told.len(), n_told, "{step} {option:?} {env} {run}");
        assert!(told.iter().all(|line| line.contains("the job is not measured")), "{run}");
    }
}

#[test]
fn a_daemon_that_has_not_come_to_be_executed_in_time_is_not_said_to_be_started() {
    let dir = TestDir::new();
    // A file in its way that nobody opens at the other end holds the child up.
    let fifo = dir.path().join("cgroup.procs");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let config = dir.path().join("carbontracker.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = format!("{text}[path]\ncgroupfs = \"{}\"\n", dir.text());
    std::fs::write(&config, text).unwrap();
    let noded = "arg=noded=/bin/true";
    let words = [&dir.config_arg(), noded, "hook=init", "hook=init_post_opt"];
    // It holds the host's output until then.
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let mut other_end = std::fs::File::open(&fifo).unwrap();
        std::io::copy(&mut other_end, &mut std::io::sink()).unwrap();
        std::fs::remove_file(&fifo).unwrap();
    });
    let run = Host::new(REMOTE).run(&words);
    run.assert_hooks_succeed(LIMIT_MS);
    let said = run.all("info");
    let is_unsure = |line: &&str| line.contains("no answer yet whether it could be executed");
    assert!(said.iter().any(is_unsure), "{run}");
    assert!(!said.iter().any(|line| line.contains(": started ")), "{run}");
    letting_go.join().unwrap();
}

#[test]
fn a_daemon_that_does_not_answer_costs_half_a_second_in_all() {
    for (context, hooks) in [
        (REMOTE, &["hook=init", "hook=init_post_opt", "hook=user_init", "hook=exit"][..]),
        (JOB_SCRIPT, &["hook=job_prolog", "hook=job_epilog"]),
        (SLURMD, &["hook=init"]),
    ] {
        let dir = TestDir::new();
        let _stopped = FakeDaemon::silent(dir.path());
        let mut words = vec![dir.config_arg(), "count".to_owned()];
        words.extend(hooks.iter().map(ToString::to_string));
        words.push("count".to_owned());
        let run = Host::new(context).run(&words);
        run.assert_hooks_succeed(LIMIT_MS);
        run.assert_nothing_left();
        assert!(format!("{run}").contains("does not answer on"), "{run}");
        // One of them waits; the others tell, and do not.
        assert!(run.hooks_took_ms() <= LIMIT_MS, "{run}");
        if user_id() != 0 {
            // Only root leaves a note.
            continue;
        }
        // Nor does any other process until ct-noded has removed the note.
        let note = dir.path().join("noded.silent");
        let again = Host::new(context).run(&words);
        assert!(again.hooks_took_ms() < LIMIT_MS / 2, "{again}");
        assert!(!format!("{again}").contains("does not answer on"), "{again}");
        std::fs::remove_file(note).unwrap();
        let anew = Host::new(context).run(&words);
        assert!(format!("{anew}").contains("does not answer on"), "{anew}");
    }
}

#[test]
fn a_strangers_socket_is_named_and_nothing_is_sent_to_it() {
    if user_id() != 0 {
        ct_tests::say_skipped("skipped: only root can listen as somebody else");
        return;
    }
    let dir = TestDir::new();
    let listen = format!("listen=4242:{}", dir.socket().display());
    let words = [&dir.config_arg(), &listen, "hook=init", "hook=init_post_opt"];
    let run = Host::new(REMOTE).run(&words);
    run.assert_hooks_succeed(LIMIT_MS);
    let is_named = |line: &&str| line.contains("belongs to uid 4242");
    assert!(run.all("info").iter().any(is_named), "{run}");
    assert_eq!(run.all("setenv").len(), 0, "{run}");
}

/// Contexts as Slurm has them, and as it has not.
const CONTEXTS: [&str; 6] = [LOCAL, REMOTE, SLURMD, JOB_SCRIPT, "context=0", "context=99"];

#[test]
fn hostile_arguments_are_read_in_every_context_and_harm_nobody() {
    for context in CONTEXTS {
        let dir = TestDir::new();
        let daemon = FakeDaemon::wanting_all(dir.path());
        let run = Host::new(context).run_bytes(&borrowed(&hostile_words(&dir)));
        run.assert_hooks_succeed(LIMIT_MS);
        run.assert_nothing_left();
        assert!(!run.to_string().contains('\u{1b}'), "{run}");
        if context == REMOTE || context == SLURMD {
            let said = run.all("error").join("\n") + &run.all("info").join("\n");
            for part in [
                "expected KEY=VALUE",
                "expected UTF-8",
                "\"maybe\"",
                "config is \"relative\"",
                "log_dir",
            ] {
                assert!(said.contains(part), "{part} in {run}");
            }
        }
        // What stands behind them is read, too.
        let is_told = |request: &Request| match request {
            Request::JobStart(job) | Request::StepStart { job, .. } => {
                assert_eq!(job.site_option.as_deref(), Some("update_interval:5"), "{run}");
                true
            }
            _ => false,
        };
        assert!(daemon.requests().iter().any(is_told), "{run}");
    }
}

#[test]
fn no_arguments_no_handle_and_a_negative_number_of_them_harm_nobody() {
    for context in CONTEXTS.into_iter().filter(|context| *context != SLURMD) {
        for args in NO_ARGUMENTS {
            let run = Host::new(context).run(&words_without_arguments(args));
            run.assert_hooks_succeed(LIMIT_MS);
        }
    }
    for context in CONTEXTS {
        let dir = TestDir::new();
        let run = null_handle(Host::new(context), &dir);
        run.assert_hooks_succeed(LIMIT_MS);
        run.assert_nothing_left();
    }
}

#[test]
fn wrong_plugstack_arguments_are_said_to_administrators_and_not_to_users() {
    let dir = TestDir::new();
    let words =
        [&dir.config_arg(), "arg=noded=/nonexistent", "arg=defualt=on", "arg=x", "hook=init"];
    let run = Host::new(SLURMD).run(&words);
    let said = run.all("error");
    assert!(said[0].contains("\"defualt\"") && said[0].contains("expected KEY=VALUE"), "{run}");
    let run = Host::new(LOCAL).run(&words);
    assert_eq!(run.all("error").len() + run.all("say").len(), 0, "{run}");
}

/// Every hook, in the order of no context.
const HOOKS: [&str; 8] = [
    "hook=init",
    "hook=init_post_opt",
    "hook=user_init",
    "in-task=task_init",
    "hook=task_exit",
    "hook=exit",
    "hook=job_prolog",
    "hook=job_epilog",
];

/// Every hook with arguments that no Slurm gives; the directory's ct-noded is the only one they reach.
pub(crate) fn hostile_words(dir: &TestDir) -> Vec<Vec<u8>> {
    let chdir = format!("chdir={}", dir.text());
    let long = format!("arg=log_dir={}", "x".repeat(100_000));
    let own = [&*dir.config_arg(), "arg=noded=/nonexistent", &chdir].map(|w| w.as_bytes().to_vec());
    let hostile = [
        "arg-null",
        "arg=",
        "arg==",
        "arg=config=",
        "arg=config=relative",
        "arg=noded=",
        "arg=default=maybe",
        "arg=%n%s%n",
        "arg=epochs=0",
        "arg=update_interval=1e999",
        "arg=\u{1b}[31m=x",
        "arg=log_dir=a\nb",
        &long,
        "arg-null",
    ];
    let behind = ["arg=update_interval=5", "count"];
    let words = hostile.into_iter().chain(behind).chain(HOOKS).chain(["count"]);
    let mut words: Vec<Vec<u8>> =
        own.into_iter().chain(words.map(|w| w.as_bytes().to_vec())).collect();
    words.insert(5, b"arg=log_file_prefix=\xff\xfe".to_vec());
    words
}

pub(crate) fn borrowed(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

/// Arrays of arguments that are none.
pub(crate) const NO_ARGUMENTS: [&str; 2] = ["args-null", "args-negative"];

/// Every hook with one of them. It cannot name a configuration: with no job none asks a ct-noded.
pub(crate) fn words_without_arguments(args: &'static str) -> Vec<&'static str> {
    ["job=0", args].into_iter().chain(HOOKS).collect()
}

/// Every hook without a handle, where the job's number is in the environment alone.
pub(crate) fn null_handle(mut host: Host, dir: &TestDir) -> Run {
    for name in ["SLURM_JOB_ID", "SLURM_JOB_UID", "SLURM_JOB_GID"] {
        host.env(name, "42");
    }
    let config = dir.config_arg();
    let words = [&*config, "arg=noded=/nonexistent", "null-handle", "count"];
    let words: Vec<&str> = words.into_iter().chain(HOOKS).chain(["count"]).collect();
    host.run(&words)
}

#[test]
fn valgrind_finds_nothing() {
    if !ct_tests::has_program("valgrind", true) {
        return;
    }
    let dir = TestDir::new();
    let daemon = FakeDaemon::wanting_all(dir.path());
    let run = Host::under_valgrind(REMOTE).run(&task_words(&dir));
    // How long a hook takes there says nothing.
    run.assert_hooks_succeed(60_000);
    assert!(daemon.requests().iter().any(|r| matches!(r, Request::Output { .. })), "{run}");
    let words = [&dir.config_arg(), "hook=init", "option=epochs:0", "option-null", "option=a\\"];
    Host::under_valgrind(LOCAL).run(&words);
    let nobody = TestDir::new();
    let words = [&nobody.config_arg(), "arg=noded=/nonexistent", "hook=init", "hook=job_prolog"];
    Host::under_valgrind(SLURMD).run(&words);
    for context in [REMOTE, JOB_SCRIPT, SLURMD] {
        let dir = TestDir::new();
        let daemon = FakeDaemon::wanting_all(dir.path());
        let host = Host::under_valgrind(context);
        let run = host.run_bytes(&borrowed(&hostile_words(&dir)));
        run.assert_hooks_succeed(60_000);
        assert!(!daemon.requests().is_empty(), "{run}");
    }
    for args in NO_ARGUMENTS {
        Host::under_valgrind(JOB_SCRIPT).run(&words_without_arguments(args));
    }
    for context in [REMOTE, JOB_SCRIPT] {
        null_handle(Host::under_valgrind(context), &nobody).assert_hooks_succeed(60_000);
    }
}
