//! `ct-report publish`, with Slurm's clients played by scripts; the end-to-end tests have real ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Ran, assert_ran, command, fixtures, ran};

/// Clients that note how they were called; sacct answers with what is in `rows`.
const CLIENTS: [(&str, &str); 4] = [
    ("sacct", "cat rows"),
    ("squeue", "echo 4"),
    ("scontrol", "[ \"$1\" = show ] && echo 'ClusterName = lab'; true"),
    (
        "sacctmgr",
        "if grep -q \"$6\" refused 2>/dev/null; then echo ' Nothing modified'; exit 1; fi; true",
    ),
];

struct Slurm(tempfile::TempDir);

impl Slurm {
    /// With these rows of `JobIDRaw|User|AdminComment`.
    fn new(rows: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in CLIENTS {
            let path = dir.path().join(name);
            let noted =
                "PATH=/usr/bin:/bin; cd \"$(dirname \"$0\")\"; echo \"${0##*/} $*\" >>calls";
            fs::write(&path, format!("#!/bin/sh\n{noted}\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(dir.path().join("rows"), rows).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn publish(&self, args: &[&str]) -> Ran {
        let state = self.path().join("published.jsonl");
        let base = ["publish", "--ledger", "ledger/v1", "-S", "2026-09-01", "--rate", "1000"];
        let state = ["--state", state.to_str().unwrap(), "-P"];
        let mut command = command(&fixtures(), &[&base[..], &state, args].concat());
        ran(command.env("PATH", self.path()).output().unwrap())
    }

    /// How the clients were called since the last time.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path().join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path().join("calls"));
        calls.lines().map(str::to_owned).collect()
    }
}

/// Of the fixture: job 1 of eva, 2 of bob, task 7 of array 3 of eva, and 4, if it is there.
const ROWS: &str = "1|eva|\n2|bob|ticket 4711\n4|eva|carbontracker:v1 energy_j=1\n";

const HEAD: &str = "cluster|jobs|written|replaced|unchanged|foreign|unknown|waiting|failed\n";

#[test]
fn only_our_own_comments_are_written_and_only_once() {
    let slurm = Slurm::new(ROWS);
    let ran = slurm.publish(&[]);
    let said =
        "note: 1 job(s) have a comment of somebody else's, which --overwrite would replace: 2\n";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with(&format!("{HEAD}lab|")), "{}", ran.stdout);
    let calls = slurm.calls();
    let changes: Vec<&String> =
        calls.iter().filter(|c| c.contains("AdminComment=carbontracker:v1 energy_j=")).collect();
    let of_one = "sacctmgr -i modify job where cluster=lab jobid=1 set AdminComment=\
                  carbontracker:v1 energy_j=3600000.000000 co2e_g=480.000000 coverage=1.000 \
                  measured=1.000 nodes=1/1 runs=1";
    assert!(changes.iter().any(|call| *call == of_one), "{changes:#?}");
    assert!(!changes.iter().any(|call| call.contains("jobid=2 ")), "{changes:#?}");
    // squeue names job 4, a task of an array: slurmctld is told, and of this task alone.
    let of_task = "scontrol update jobid=3_7 AdminComment=carbontracker:v1 energy_j=0.000001 ";
    assert!(changes.iter().any(|call| call.starts_with(of_task)), "{changes:#?}");
    // What was written is not asked again; what is somebody else's is.
    let again = slurm.publish(&[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let calls = slurm.calls();
    assert!(!calls.iter().any(|call| call.contains("sacctmgr")), "{calls:#?}");
    let asked = calls.iter().find(|call| call.starts_with("sacct ")).unwrap();
    assert!(asked.contains(" 2") && !asked.contains("-j 1,"), "{asked}");
    // Unless it is asked for.
    let over = slurm.publish(&["--overwrite", "-j", "2"]);
    assert_ran(&over, 0, &format!("{HEAD}lab|1|0|1|0|0|0|0|0\n"), "");
}

#[test]
fn a_dry_run_changes_nothing() {
    let slurm = Slurm::new(ROWS);
    let ran = slurm.publish(&["--dry-run", "-j", "1,2"]);
    let stdout = "\
cluster|job|action|comment
lab|1|write|carbontracker:v1 energy_j=3600000.000000 co2e_g=480.000000 coverage=1.000 measured=1.000 nodes=1/1 runs=1
lab|2|foreign|carbontracker:v1 energy_j=7200000.000000 co2e_g=960.000000 coverage=1.000 measured=0.750 nodes=2/2 runs=1
";
    assert_ran(&ran, 0, stdout, "");
    assert_eq!(slurm.calls().len(), 1, "only sacct is asked");
    assert!(!slurm.path().join("published.jsonl").exists());
}

#[test]
fn a_job_that_cannot_be_changed_stops_no_other() {
    let slurm = Slurm::new("1|eva|\n2|bob|\n");
    fs::write(slurm.path().join("refused"), "jobid=1\n").unwrap();
    let ran = slurm.publish(&["-j", "1,2"]);
    let stderr = "job 1: skipped: sacctmgr: Nothing modified\n\
                  note: 1 part(s) could not be read and are not counted\n";
    assert_ran(&ran, 3, &format!("{HEAD}lab|2|1|0|0|0|0|0|1\n"), stderr);
    // The next run tries it again, and only it.
    fs::remove_file(slurm.path().join("refused")).unwrap();
    slurm.calls();
    let ran = slurm.publish(&["-j", "1,2"]);
    assert_ran(&ran, 0, &format!("{HEAD}lab|2|1|0|1|0|0|0|0\n"), "");
}

#[test]
fn accounting_that_is_off_is_told_with_its_mend() {
    let slurm = Slurm::new("");
    let sacct = "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n";
    fs::write(slurm.path().join("sacct"), sacct).unwrap();
    let stderr = "error: cannot ask Slurm's accounting\n\
                  caused by: sacct failed: Slurm accounting storage is disabled\n\
                  hint: publish needs slurmdbd: AccountingStorageType=accounting_storage/slurmdbd \
                  in slurm.conf\n";
    assert_ran(&slurm.publish(&[]), 2, "", stderr);
    let ran = crate::ct_report(&fixtures(), &["publish", "--rate", "0"]);
    assert!(ran.code == 2 && ran.stderr.contains("expected changes a second"), "{}", ran.stderr);
    // One run's energy is not the job's.
    let ran = crate::ct_report(&fixtures(), &["publish", "--dry-run", "-j", "1.0"]);
    let stderr =
        "error: a comment is of all runs of a job: name jobs without a restart, 42 for 42.1\n";
    assert_ran(&ran, 2, "", stderr);
}
