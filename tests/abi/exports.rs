//! What the library shows and what it needs.

use std::path::Path;
use std::process::Command;

use crate::LIMIT_MS;
use crate::host::{Host, LOCAL, plugin};

/// The size of the plugin as it is released, in bytes: what every slurmstepd of a node loads.
const MOST_BYTES: u64 = 1700 << 10;

fn stdout_of(program: &str, args: &[&str]) -> String {
    stdout_of_file(program, args, plugin())
}

fn stdout_of_file(program: &str, args: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(args).arg(file).output().unwrap();
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
    assert_eq!(needed(&dynamic), NEEDED);
    // What rustc calls without a PLT is bound at once, whatever the flags say.
    let undefined = stdout_of("nm", &["-D", "--undefined-only"]);
    assert!(!undefined.contains("spank") && !undefined.contains("slurm"), "{undefined}");
}

const NEEDED: [&str; 2] = ["libc.so.6", "libgcc_s.so.1"];

/// The libraries that are loaded with it, by readelf's word.
fn needed(dynamic: &str) -> Vec<String> {
    let lines = dynamic.lines().filter(|l| l.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    let mut names: Vec<String> = lines.filter_map(name).collect();
    // The loader itself is named where thread-local storage is reached through it.
    names.retain(|name| !name.starts_with("ld-linux"));
    names.sort_unstable();
    names
}

#[test]
fn as_it_is_released_it_is_small_and_needs_no_more() {
    let target = plugin().parent().and_then(Path::parent).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "carbontracker", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let released = target.join("release/libcarbontracker.so");
    let bytes = released.metadata().unwrap().len();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes, expected at most {MOST_BYTES}");
    assert_eq!(needed(&stdout_of_file("readelf", &["-dW"], &released)), NEEDED);
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
