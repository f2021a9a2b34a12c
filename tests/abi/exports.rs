//! What the library shows and what it needs.

use std::process::Command;

use crate::LIMIT_MS;
use crate::host::{Host, LOCAL, plugin};

fn stdout_of(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).arg(plugin()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_exports_the_statics_and_the_hooks_in_use_and_nothing_else() {
    let table = stdout_of("nm", &["-D", "--defined-only"]);
    let mut names: Vec<_> = table.lines().filter_map(|l| l.split(' ').nth(2)).collect();
    names.sort_unstable();
    let expected = [
        "plugin_name",
        "plugin_type",
        "plugin_version",
        "slurm_spank_exit",
        "slurm_spank_init",
        "slurm_spank_init_post_opt",
        "slurm_spank_job_epilog",
        "slurm_spank_job_prolog",
        "slurm_spank_task_exit",
        "slurm_spank_task_init",
        "slurm_spank_user_init",
        "spank_plugin_version",
    ];
    assert_eq!(names, expected);
}

#[test]
fn it_needs_only_the_c_library_and_binds_lazily() {
    let dynamic = stdout_of("readelf", &["-dW"]);
    assert!(!dynamic.contains("BIND_NOW") && !dynamic.contains(" NOW"), "{dynamic}");
    let needed = dynamic.lines().filter(|l| l.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    let mut needed: Vec<String> = needed.filter_map(name).collect();
    // The loader itself is named where thread-local storage is reached through it.
    needed.retain(|name| !name.starts_with("ld-linux"));
    needed.sort_unstable();
    assert_eq!(needed, ["libc.so.6", "libgcc_s.so.1"]);
    // What rustc calls without a PLT is bound at once, whatever the flags say.
    let undefined = stdout_of("nm", &["-D", "--undefined-only"]);
    assert!(!undefined.contains("spank") && !undefined.contains("slurm"), "{undefined}");
}

#[test]
fn it_names_itself_as_slurm_expects() {
    let run = Host::new(LOCAL).run(&["symbols"]);
    let line = run.one("symbols");
    assert!(line.starts_with("carbontracker spank 0x"), "{line}");
}

#[test]
fn a_program_without_slurms_functions_loads_it_and_is_not_harmed() {
    let all = ["init", "init_post_opt", "user_init", "task_exit", "exit", "job_prolog"];
    for hook in all {
        let run = Host::bare().run(&[&format!("hook={hook}")]);
        run.assert_hooks_succeed(LIMIT_MS);
    }
}
