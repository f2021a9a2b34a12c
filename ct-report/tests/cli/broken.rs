//! What goes wrong, and how it is said.

use std::fs;
use std::process::Stdio;

use crate::{assert_ran, command, ct_report, fixtures, ran, upstream};

#[test]
fn nothing_matched_is_1() {
    let args = ["usage", "--ledger", "ledger/v1", "-u", "nobody"];
    assert_ran(&ct_report(&fixtures(), &args), 1, "", "note: nothing matched\n");
    let args = [&args[..], &["--csv", "-o", "jobs"]].concat();
    assert_ran(&ct_report(&fixtures(), &args), 1, "user,jobs\n", "note: nothing matched\n");
}

#[test]
fn what_is_not_in_the_named_directory_is_told_of_that_directory() {
    let empty = upstream().join("x-empty-dir");
    let note = "note: no logs of carbontracker in logs; -R looks into directories below, too\n";
    assert_ran(&ct_report(&empty, &["parse", "logs"]), 1, "[]\n", note);
    let html = ["html", "-o", "none.html", "logs"];
    let job = ["job", "5", "logs"];
    for args in [&["aggregate", "logs"][..], &["usage", "logs"], &job, &html] {
        assert_ran(&ct_report(&empty, args), 1, "", note);
    }
    let note = "note: no logs of carbontracker in logs\n";
    assert_ran(&ct_report(&empty, &["usage", "-R", "logs"]), 1, "", note);
    // Logs of Python carbontracker have no record beside them.
    let case = upstream().join("v247-default-1gpu");
    let note = "note: 1 run(s) in logs have no record (…_carbontracker.json), which only \
                carbontracker-slurm writes: `ct-report aggregate` counts logs alone\n";
    assert_ran(&ct_report(&case, &["usage", "logs"]), 1, "", note);
    let note = "note: none of 2 record(s) in logs is asked for\n";
    assert_ran(&ct_report(&fixtures(), &["job", "99", "logs"]), 1, "", note);
}

#[test]
fn errors_have_cause_and_hint() {
    assert_ran(
        &ct_report(&fixtures(), &["parse", "nowhere"]),
        2,
        "",
        "error: cannot open nowhere\ncaused by: No such file or directory (os error 2)\n",
    );
    assert_ran(
        &ct_report(&fixtures(), &["aggregate", "README.md"]),
        2,
        "",
        "error: README.md is no log of carbontracker\n\
         hint: name a directory, or a file that ends in _carbontracker.log, \
         _carbontracker_output.log or _carbontracker.json\n",
    );
    assert_ran(
        &ct_report(&fixtures(), &["usage", "--ledger", "nowhere"]),
        2,
        "",
        "error: cannot read ledger nowhere\ncaused by: No such file or directory (os error 2)\n\
         hint: name its directory with --ledger, or a configuration with --config\n",
    );
    assert_ran(
        &ct_report(&fixtures(), &["usage", "--ledger", "ledger/v1", "-S", "soon"]),
        2,
        "",
        "error: time is \"soon\", expected a date (2026-10-01), a date and time \
         (2026-10-01T12:00:00Z), now, today, yesterday, lastmonth, thismonth, or one of these with \
         an offset (now-30days)\n",
    );
    assert_ran(
        &ct_report(&fixtures(), &["usage", "--ledger", "ledger/v1", "-o", "watts"]),
        2,
        "",
        "error: column is \"watts\", expected one of user, jobs, elapsed_h, energy_kwh, \
         allocated_kwh, dynamic_kwh, cpu_kwh, dram_kwh, gpu_kwh, rest_kwh, co2e_g, measured_share, \
         coverage, gpu_unused_kwh, failed_kwh, cancelled_kwh, embodied_g, water_l, core_hours, \
         gpu_hours, energy_j, allocated_j, dynamic_j, gpu_unused_j, co2e_repriced_g, \
         repriced_share, sci_g_per_job\n",
    );
}

#[test]
fn a_wrong_command_line_is_2_and_help_is_0() {
    let wrong = ct_report(&fixtures(), &["usage", "--by", "height"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
    assert!(wrong.stderr.starts_with("error: invalid value 'height' for '--by <BY>'"));
    let zone = ct_report(&fixtures(), &["usage", "--timezone", "Mars"]);
    assert_eq!(zone.code, 2);
    assert!(zone.stderr.contains("time zone is \"Mars\", expected UTC, local or a name"));
    let help = ct_report(&fixtures(), &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("Exit codes: 0 fine, 1 nothing matched"));
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let month = dir.path().join("l/2026-10");
    fs::create_dir_all(&month).unwrap();
    fs::copy(fixtures().join("ledger/v1/2026-10/n2.jsonl"), month.join("n2.jsonl")).unwrap();
    fs::write(month.join("n1.jsonl"), b"\xff\x1b[2J\n").unwrap();
    let ran = ct_report(dir.path(), &["usage", "--ledger", "l", "-Po", "jobs"]);
    let stderr = "l/2026-10/n1.jsonl:1: skipped: not UTF-8: invalid utf-8 sequence of 1 bytes from \
                  index 0\nnote: 1 part(s) could not be read and are not counted\n";
    assert_ran(&ran, 3, "user|jobs\nbob|1\n", stderr);
}

#[test]
fn many_skipped_parts_of_a_file_are_counted_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let month = dir.path().join("l/2026-10");
    fs::create_dir_all(&month).unwrap();
    fs::write(month.join("n1.jsonl"), "{}\n".repeat(7)).unwrap();
    let ran = ct_report(dir.path(), &["usage", "--ledger", "l", "--csv", "-n"]);
    let line = |n: u32| {
        format!(
            "l/2026-10/n1.jsonl:{n}: skipped: no record: missing field `v` at line 1 column 2\n"
        )
    };
    let stderr = (1..=5).map(line).collect::<String>()
        + "l/2026-10/n1.jsonl: skipped: 2 more\n\
           note: 7 part(s) could not be read and are not counted\n";
    assert_ran(&ran, 3, "", &stderr);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for args in [&["parse", "-R", "."][..], &["aggregate", "-R", "--json", "."]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command(&upstream(), args).stdout(writer).stderr(Stdio::piped()).spawn();
        let ran = ran(child.unwrap().wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stderr.contains("error:"), "{}", ran.stderr);
    }
}
