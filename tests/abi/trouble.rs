//! No daemon, a silent one, a stranger, wrong arguments: every hook succeeds, in time.

use std::process::Command;

use crate::LIMIT_MS;
use crate::daemon::FakeDaemon;
use crate::host::{Host, JOB_SCRIPT, LOCAL, REMOTE, SLURMD, TestDir, user_id};
use crate::step::batch_words;

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
        eprintln!("skipped: only root can listen as somebody else");
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

#[test]
fn hostile_arguments_and_nulls_harm_nobody() {
    for context in [LOCAL, REMOTE, SLURMD, JOB_SCRIPT, "context=0", "context=99"] {
        for args in [
            &["args-null"][..],
            &["args-negative"],
            &["arg-null", "arg=noded=/nonexistent"],
            &["arg=noded=/nonexistent", "arg=", "arg==", "arg=config=", "arg=%n%s%n"],
            &["arg=noded=/nonexistent", "arg=default=maybe", "arg=epochs=0", "arg=\u{1b}[31m=x"],
        ] {
            // A machine that has a ct-noded keeps it out of this.
            let is_contained = args.contains(&"arg=noded=/nonexistent");
            if context == SLURMD && !is_contained {
                continue;
            }
            let mut words = args.to_vec();
            if !is_contained {
                words.insert(0, "job=0");
            }
            words.extend(["count", "hook=init", "option-null", "hook=init_post_opt"]);
            words.extend(["hook=user_init", "hook=task_exit", "hook=exit", "hook=job_prolog"]);
            words.extend(["hook=job_epilog", "count"]);
            // Only where init registered it is there an option to give.
            if ![LOCAL, REMOTE].contains(&context) {
                words.retain(|w| *w != "option-null");
            }
            let run = Host::new(context).run(&words);
            run.assert_hooks_succeed(LIMIT_MS);
            run.assert_nothing_left();
        }
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

/// Arguments that no Slurm gives.
pub(crate) const HOSTILE: [&[&str]; 4] = [
    &["args-null"],
    &["args-negative"],
    &["arg-null", "arg=noded=/nonexistent"],
    &["arg=noded=/nonexistent", "arg=", "arg==", "arg=config=", "arg=%n%s%n", "arg=\u{1b}[31m=x"],
];

/// Every hook with them, in a context where none starts a daemon.
pub(crate) fn hostile_words(args: &[&'static str]) -> Vec<&'static str> {
    let hooks = ["hook=init", "hook=init_post_opt", "hook=user_init", "hook=task_exit"];
    let ends = ["hook=exit", "hook=job_prolog", "hook=job_epilog"];
    [&["job=0"], args, &hooks, &ends].concat()
}

#[test]
fn valgrind_finds_nothing() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let dir = TestDir::new();
    let daemon = FakeDaemon::start(dir.path(), true);
    let run = Host::under_valgrind(REMOTE).run(&batch_words(&dir));
    // How long a hook takes there says nothing.
    run.assert_hooks_succeed(60_000);
    assert!(!daemon.requests().is_empty(), "{run}");
    let words = [&dir.config_arg(), "hook=init", "option=epochs:0", "option-null", "option=a\\"];
    Host::under_valgrind(LOCAL).run(&words);
    let nobody = TestDir::new();
    let words = [&nobody.config_arg(), "arg=noded=/nonexistent", "hook=init", "hook=job_prolog"];
    Host::under_valgrind(SLURMD).run(&words);
    for args in HOSTILE {
        Host::under_valgrind(JOB_SCRIPT).run(&hostile_words(args));
    }
}
