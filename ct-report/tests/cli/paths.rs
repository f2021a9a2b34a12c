//! What can be named: lists on stdin, patterns, compressed logs, and files no log should be.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Ran, assert_ran, command, ct_report, ran, upstream};

const CASE: &str = "v247-default-1gpu";
const STEM: &str = "18697.620164_2023-04-05T060741Z";
const KWH: f64 = 0.008659543809;

fn with_stdin(dir: &Path, args: &[&str], stdin: &[u8]) -> Ran {
    let mut child = command(dir, args);
    let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    ran(child.wait_with_output().unwrap())
}

fn energy(ran: &Ran) -> f64 {
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["energy_kwh"].as_f64().unwrap()
}

#[test]
fn a_list_on_stdin_is_read_by_line_and_by_nul() {
    let case = upstream().join(CASE);
    let log = format!("logs/{STEM}_carbontracker.log");
    for list in [format!("{log}\nlogs\n"), format!("{log}\0"), "logs".to_owned()] {
        let ran = with_stdin(&case, &["aggregate", "--json", "-"], list.as_bytes());
        assert_eq!((ran.code, energy(&ran)), (0, KWH), "{list:?}: {}", ran.stderr);
    }
    let ran = with_stdin(&case, &["parse", "-"], b"");
    assert_ran(&ran, 1, "[]\n", "note: nothing matched\n");
}

#[test]
fn patterns_find_directories_and_logs_and_pass_over_other_files() {
    let dir = upstream();
    let n = |args: &[&str]| {
        let ran = ct_report(&dir, args);
        assert_eq!(ran.stderr, "");
        serde_json::from_str::<Value>(&ran.stdout).unwrap().as_array().unwrap().len()
    };
    assert_eq!(n(&["parse", "v247-default-1gp?/logs"]), 1);
    assert_eq!(n(&["parse", "v247-default-1gpu/**/*"]), 1);
    let ran = ct_report(&dir, &["parse", "no-such-*"]);
    assert_ran(&ran, 1, "[]\n", "note: no file matches no-such-*\nnote: nothing matched\n");
}

#[test]
fn compressed_logs_count_as_their_originals() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(upstream().join(CASE).join("logs")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        let gzip = Command::new("gzip").arg(dir.path().join(entry.file_name())).status();
        assert!(gzip.unwrap().success());
    }
    let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
    assert_eq!((ran.code, energy(&ran)), (0, KWH), "{}", ran.stderr);
    let ran = ct_report(dir.path(), &["parse", "."]);
    let own: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(own[0]["output_filename"], format!("./{STEM}_carbontracker_output.log.gz"));
    // A compressed file that is torn is reported, and hides nothing.
    let path = dir.path().join(format!("{STEM}_carbontracker.log.gz"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
    assert_eq!((ran.code, energy(&ran)), (3, KWH));
}

/// A good pair, and beside it what must neither hang nor hide it.
fn hostile() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (kind, name) in [("", "1.1_x"), ("_output", "1.1_x")] {
        let from = upstream().join(CASE).join(format!("logs/{STEM}_carbontracker{kind}.log"));
        fs::copy(from, dir.path().join(format!("{name}_carbontracker{kind}.log"))).unwrap();
    }
    dir
}

#[test]
fn pipes_loops_and_devices_are_no_logs() {
    let dir = hostile();
    let name = |stem: &str| dir.path().join(format!("{stem}_carbontracker.log"));
    assert!(Command::new("mkfifo").arg(name("8")).status().unwrap().success());
    std::os::unix::fs::symlink("6_carbontracker.log", name("6")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", name("5")).unwrap();
    fs::create_dir(name("4")).unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "--json", "-R", "."]);
    assert_eq!((ran.code, energy(&ran)), (0, KWH), "{}", ran.stderr);
}

#[test]
fn an_endless_line_and_a_file_of_a_terabyte_are_named() {
    let dir = hostile();
    let log = |kind: &str| dir.path().join(format!("1.1_x_carbontracker{kind}.log"));
    let long = [&b"2024-02-03 05:06:07 - "[..], &b"A".repeat(9 << 20), b"\n"].concat();
    fs::write(log("_output"), [&long[..], &fs::read(log("_output")).unwrap()].concat()).unwrap();
    let sparse = dir.path().join("9_carbontracker.log");
    fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    let ran = ct_report(dir.path(), &["aggregate", "--json", "."]);
    assert_eq!((ran.code, energy(&ran)), (3, KWH), "{}", ran.stderr);
    let expected = "./1.1_x_carbontracker_output.log:1: skipped: line is longer than 4194304 bytes, \
                    its end is left out\n\
                    ./9_carbontracker.log: skipped: cannot read: file is larger than 1073741824 \
                    bytes, which no log is\n\
                    note: 2 part(s) could not be read and are not counted\n";
    assert_eq!(ran.stderr, expected);
}
