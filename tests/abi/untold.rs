//! The end of a job that nobody answers for: where it is kept, and where not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use ct_core::protocol::{Request, parse_request};

use crate::LIMIT_MS;
use crate::daemon::FakeDaemon;
use crate::host::{Host, JOB_SCRIPT, Run, TestDir, user_id};

/// The epilog of job 42, told to a ct-noded that is silent.
fn epilog(dir: &TestDir) -> Run {
    let run = Host::new(JOB_SCRIPT).run(&[&dir.config_arg(), "job=42", "hook=job_epilog"]);
    run.assert_hooks_succeed(LIMIT_MS);
    run
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn an_end_is_kept_only_where_ct_noded_alone_may_write_and_it_is_said_where_it_is_not() {
    let dir = TestDir::new();
    let _silent = FakeDaemon::silent(dir.path());
    let ended = dir.path().join("ended");
    // Before the first ct-noded there is no such directory, and nobody to read it.
    assert!(!epilog(&dir).to_string().contains("is not kept"));
    fs::create_dir(&ended).unwrap();
    fs::set_permissions(&ended, Permissions::from_mode(0o700)).unwrap();
    let run = epilog(&dir);
    assert!(!run.to_string().contains("is not kept"), "{run}");
    let [file] = &files(&ended)[..] else { panic!("{run}") };
    let line = fs::read(file).unwrap();
    let Ok(Request::JobEnd(end)) = parse_request(&line) else { panic!("{run}") };
    assert_eq!((end.job.job_id, file.file_name().unwrap()), (42, end.file_name().as_ref()));
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o644);
    fs::remove_file(file).unwrap();
    let is_refused = |what: &str| {
        let run = epilog(&dir);
        assert!(run.to_string().contains("the job's end is not kept in"), "{what}: {run}");
        assert!(files(&ended).is_empty(), "{what}: {run}");
    };
    for mode in [0o770, 0o702] {
        fs::set_permissions(&ended, Permissions::from_mode(mode)).unwrap();
        is_refused("others can write");
    }
    fs::set_permissions(&ended, Permissions::from_mode(0o700)).unwrap();
    if user_id() == 0 {
        chown(&ended, Some(4242), Some(4242)).unwrap();
        is_refused("a stranger's");
        chown(&ended, Some(0), Some(0)).unwrap();
    }
    let aside = dir.path().join("aside");
    fs::rename(&ended, &aside).unwrap();
    symlink(&aside, &ended).unwrap();
    is_refused("a link");
}
