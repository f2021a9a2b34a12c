//! The plugin under AddressSanitizer: its own memory, and what it does with that of its host.
//!
//! rustc takes the flag on a stable toolchain with RUSTC_BOOTSTRAP=1; the standard library is the one
//! that is shipped, which is not watched itself. The runtime is gcc's, in the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use ct_core::protocol::Request;

use crate::daemon::FakeDaemon;
use crate::host::{ALLOCATOR, Host, JOB_SCRIPT, LOCAL, REMOTE, SLURMD, TestDir};
use crate::step::task_words;
use crate::trouble::{NO_ARGUMENTS, borrowed, hostile_words, null_handle, words_without_arguments};

/// The plugin, built so that it tells of every access.
fn watched_plugin() -> PathBuf {
    let plain = ct_tests::artifact::built("carbontracker", "libcarbontracker.so").unwrap();
    let target = plain.parent().and_then(Path::parent).unwrap().join("asan");
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With a target named, build scripts and macros are built without the flags.
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "carbontracker", "--target", host, "--target-dir"])
        .arg(&target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join(host).join("debug/libcarbontracker.so")
}

/// What the host's own mistake comes to: the watch is on.
fn is_watching(library: &Path) -> bool {
    let symbols = Command::new("nm").arg("-D").arg(library).output().unwrap();
    String::from_utf8_lossy(&symbols.stdout).contains("U __asan_report_load")
}

#[test]
fn address_sanitizer_finds_nothing() {
    let plugin = watched_plugin();
    assert!(is_watching(&plugin), "{} was not built for it", plugin.display());
    let dir = TestDir::new();
    let daemon = FakeDaemon::wanting_all(dir.path());
    let run = Host::under_asan(REMOTE, &plugin).run(&task_words(&dir));
    run.assert_hooks_succeed(60_000);
    assert!(daemon.requests().iter().any(|r| matches!(r, Request::Output { .. })), "{run}");
    for context in [LOCAL, ALLOCATOR] {
        let options = ["option=epochs:0", "option-null", "option=a\\", "option=help", "option=,:,"];
        let words = [dir.config_arg(), "hook=init".to_owned()];
        let words: Vec<&str> = words.iter().map(String::as_str).chain(options).collect();
        Host::under_asan(context, &plugin).run(&words);
    }
    for context in [REMOTE, JOB_SCRIPT, SLURMD, LOCAL, "context=0", "context=99"] {
        let dir = TestDir::new();
        let _daemon = FakeDaemon::wanting_all(dir.path());
        let host = Host::under_asan(context, &plugin);
        host.run_bytes(&borrowed(&hostile_words(&dir))).assert_hooks_succeed(60_000);
        null_handle(Host::under_asan(context, &plugin), &dir).assert_hooks_succeed(60_000);
        for args in NO_ARGUMENTS.into_iter().filter(|_| context != SLURMD) {
            Host::under_asan(context, &plugin).run(&words_without_arguments(args));
        }
    }
    let nobody = TestDir::new();
    let words = [&nobody.config_arg(), "arg=noded=/nonexistent", "hook=init", "hook=job_prolog"];
    Host::under_asan(SLURMD, &plugin).run(&words);
}
