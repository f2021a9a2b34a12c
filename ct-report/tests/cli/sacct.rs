//! `ct-report usage --sacct`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::{assert_ran, command, ct_report, fixtures, ran};

/// Job 1 of eva, 2 of bob, and two that have no record.
const SACCT: &str = "\
JobIDRaw|JobID|Cluster|User|Account|Partition|QOS|State|Start|End|AllocTRES|JobName
1|1|lab|eva|physics|cpu|normal|COMPLETED|2026-09-30T23:30:00|2026-10-01T00:30:00|cpu=2,node=1|train
2|2|lab|bob|chemistry|gpu|normal|COMPLETED|2026-10-02T10:00:00|2026-10-02T11:00:00|cpu=4,gres/gpu=2|x
9|8_3|lab|bob|chemistry|gpu|normal|CANCELLED by 0|2026-10-01T10:00:00|2026-10-01T12:00:00|cpu=4|a
12|12|lab|new|x|gpu|normal|FAILED|2026-10-01T10:00:00|2026-10-01T10:30:00|cpu=4|a
13|13|lab|new|x|gpu|normal|PENDING|Unknown|Unknown||a
";

const SHOWN: &str = "\
user|jobs|sacct_jobs|unseen_jobs|sacct_elapsed_h|sacct_core_hours|sacct_gpu_hours
bob|1|2|1|3|12|2
eva|2|1|0|1|2|0
new|0|1|1|0.5|2|0
";

const SAID: &str = "note: 1 record(s) are of no job sacct names\n\
                    note: 2 job(s) of sacct have no record: 8_3 12\n";

const COLUMNS: &str =
    "jobs,sacct_jobs,unseen_jobs,sacct_elapsed_h,sacct_core_hours,sacct_gpu_hours";

#[test]
fn jobs_the_tracker_never_saw_are_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sacct.txt");
    fs::write(&file, SACCT).unwrap();
    let args =
        ["usage", "--ledger", "ledger/v1", "--sacct", file.to_str().unwrap(), "-Po", COLUMNS];
    assert_ran(&ct_report(&fixtures(), &args), 0, SHOWN, SAID);
}

#[test]
fn sacct_is_run_where_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("sacct");
    // Its arguments and its zone are part of what is printed, as the job's name.
    let script = "#!/bin/sh\nhead=1\nwhile IFS= read -r line; do if [ $head ]; then echo \"$line\"; \
                  head=; else echo \"$line $TZ $*\"; fi; done <<'END'\n";
    fs::write(&program, format!("{script}{SACCT}END\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        ran(command(&fixtures(), args).env("PATH", path).output().unwrap())
    };
    let base = ["usage", "--ledger", "ledger/v1", "--sacct", "run"];
    assert_ran(&run(&[&base[..], &["-Po", COLUMNS]].concat()), 0, SHOWN, SAID);
    let window =
        ["-S", "2026-10-01", "-E", "2026-10-02", "--by", "job_name", "-Pno", "unseen_jobs"];
    let ran = run(&[&base[..], &window].concat());
    let asked = "UTC --allusers --allocations --duplicates --parsable2 -o \
                 JobIDRaw,JobID,Cluster,User,Account,Partition,QOS,State,Start,End,AllocTRES,JobName \
                 -S 2026-10-01T00:00:00 -E 2026-10-02T00:00:00";
    assert!(ran.stdout.contains(&format!("a {asked}|2\n")), "{}", ran.stdout);
    fs::write(&program, "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
        .unwrap();
    let stderr = "error: sacct failed: Slurm accounting storage is disabled\n";
    assert_ran(&run(&base), 2, "", stderr);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let args = ["usage", "--ledger", "ledger/v1", "--sacct", "logs", "--by", "node"];
    let stderr = "error: Slurm's accounting does not split a job by node: --sacct and --by node \
                  exclude each other\n";
    assert_ran(&ct_report(&fixtures(), &args), 2, "", stderr);
    let args = ["usage", "--ledger", "ledger/v1", "--sacct", "logs", "-j", "1.0"];
    let stderr =
        "error: sacct does not number the runs of a job: --sacct and -j 42.1 exclude each other\n";
    assert_ran(&ct_report(&fixtures(), &args), 2, "", stderr);
    let args = ["usage", "--ledger", "ledger/v1", "--sacct", "README.md"];
    let ran = ct_report(&fixtures(), &args);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.starts_with(
            "error: README.md is no output of sacct\ncaused by: column JobIDRaw is missing"
        ),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.ends_with("hint: name a file made by `sacct --json` or `sacct -P`, or `run`\n")
    );
}
