//! File handles that are not what they should be: ct-noded writes to nothing that is not the owner's
//! own log, and keeps nothing open that it was not asked to keep.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ct_core::protocol::{Reply, Request};

use crate::attacker::{Connection, as_user, refusal};
use crate::noded::Noded;
use crate::{OWNER, STRANGER, is_root};

const LOGS: Request = Request::Logs { job_id: 1 };

fn append(path: &Path) -> OwnedFd {
    OpenOptions::new().append(true).create(true).open(path).unwrap().into()
}

/// Four files as the plugin opens them.
pub(crate) fn own_logs(home: &Path) -> Vec<OwnedFd> {
    (0..4).map(|n| append(&home.join(format!("log-{n}")))).collect()
}

pub(crate) fn borrowed(handles: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    handles.iter().map(AsFd::as_fd).collect()
}

/// What ct-noded has open, by name, but for the running job's file of CPU time, which is opened with its
/// next sample.
fn opened(noded: &Noded) -> Vec<PathBuf> {
    let fds = fs::read_dir(format!("/proc/{}/fd", noded.pid())).unwrap().flatten();
    let is_other = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.starts_with("cpuacct.") && name != "cpu.stat"
    };
    fds.map(|fd| fs::read_link(fd.path()).unwrap_or_default()).filter(is_other).collect()
}

/// The files a hostile owner may hand over in place of the second log, with what is said of them.
fn wrong_files(home: &Path, root_file: &Path, others_file: &Path) -> Vec<(&'static str, OwnedFd)> {
    let open = |options: &mut OpenOptions, path: &Path| OwnedFd::from(options.open(path).unwrap());
    let own = home.join("own");
    drop(append(&own));
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let (socket, _) = UnixStream::pair().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let append_only = || {
        let mut options = OpenOptions::new();
        options.append(true);
        options
    };
    vec![
        ("a directory", File::open(home).unwrap().into()),
        ("a device", open(&mut append_only(), Path::new("/dev/null"))),
        ("a terminal device", open(&mut append_only(), Path::new("/dev/zero"))),
        ("a pipe", writer),
        ("a socket", socket.into()),
        ("a named pipe", open(append_only().read(true), &home.join("fifo"))),
        ("opened for reading", File::open(&own).unwrap().into()),
        ("opened for writing anywhere", open(OpenOptions::new().write(true), &own)),
        (
            "opened to be named only",
            open(append_only().read(true).custom_flags(libc_o_path()), &own),
        ),
        ("root's, which everybody may write", open(&mut append_only(), root_file)),
        ("another user's", open(&mut append_only(), others_file)),
    ]
}

fn libc_o_path() -> i32 {
    i32::try_from(rustix::fs::OFlags::PATH.bits()).unwrap()
}

#[test]
fn what_is_not_the_owners_log_is_refused_and_nothing_is_written_to_it() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "on").expect("logs are wanted");
    let home = noded.home_of(OWNER);
    // A file of root's that everybody may write, which the owner has linked into its own directory.
    let root_file = noded.dir().join("roots");
    let others_file = noded.home_of(STRANGER).join("theirs");
    for (path, owner) in [(&root_file, 0), (&others_file, STRANGER)] {
        fs::write(path, "untouched\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
    }
    let link = home.join("link");
    fs::hard_link(&root_file, &link).unwrap();
    let before = opened(&noded).len();
    as_user(OWNER, || {
        for (what, wrong) in wrong_files(&home, &link, &others_file) {
            let mut handles = own_logs(&home);
            handles[1] = wrong;
            let mut connection = Connection::open(&noded.socket());
            let reply = connection.ask_with(&LOGS, &borrowed(&handles));
            assert!(refusal(&reply).contains("file handle 1 is "), "{what}: {reply:?}");
        }
        let mut connection = Connection::open(&noded.socket());
        for n in [0, 1, 3, 5, 6, 50, 253] {
            let all: Vec<OwnedFd> = (0..n).map(|_| append(&home.join("own"))).collect();
            let reply = connection.ask_with(&LOGS, &borrowed(&all));
            assert!(refusal(&reply).contains("file handles came along"), "{n}: {reply:?}");
        }
        // After all that, the right ones are taken, once.
        let handles = own_logs(&home);
        let reply = connection.ask_with(&LOGS, &borrowed(&handles));
        assert!(matches!(reply, Reply::Text { .. }), "{reply:?}");
        let reply = connection.ask_with(&LOGS, &borrowed(&own_logs(&home)));
        assert!(refusal(&reply).contains("no log files of job 1 are wanted"), "{reply:?}");
    });
    noded.end_job(1, OWNER);
    for path in [&root_file, &others_file] {
        assert_eq!(fs::read_to_string(path).unwrap(), "untouched\n", "{}", path.display());
    }
    // They stay open until it is known how the job ended.
    let end = Instant::now() + Duration::from_secs(90);
    while opened(&noded).len() > before {
        assert!(Instant::now() < end, "{before} descriptors before, now {:?}", opened(&noded));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(fs::read_to_string(home.join("log-0")).unwrap().contains("carbontracker version"));
}

#[test]
fn a_stranger_passes_no_handles_for_a_job_and_an_output_has_to_be_a_file() {
    if !is_root() {
        return;
    }
    let noded = Noded::start();
    noded.start_job(1, OWNER, "epochs:2,epoch_by:pattern").expect("logs are wanted");
    let (own, theirs) = (noded.home_of(OWNER), noded.home_of(STRANGER));
    as_user(STRANGER, || {
        let handles = own_logs(&theirs);
        for request in [LOGS, Request::Output { job_id: 1 }] {
            let reply = Connection::open(&noded.socket()).ask_with(&request, &borrowed(&handles));
            assert!(refusal(&reply).contains("no job 1 of yours"), "{reply:?}");
        }
    });
    as_user(OWNER, || {
        let request = Request::Output { job_id: 1 };
        let mut connection = Connection::open(&noded.socket());
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let dir: OwnedFd = File::open(&own).unwrap().into();
        let written: OwnedFd = append(&own.join("out"));
        let device: OwnedFd = File::open("/dev/zero").unwrap().into();
        for (what, handle) in [
            ("a pipe", reader),
            ("a directory", dir),
            ("for writing", written),
            ("a device", device),
        ] {
            let reply = connection.ask_with(&request, &[handle.as_fd()]);
            assert!(refusal(&reply).contains("the output is "), "{what}: {reply:?}");
        }
    });
}

#[test]
fn handles_without_a_request_are_not_kept_and_use_up_no_descriptors() {
    if !is_root() {
        return;
    }
    let setup = crate::noded::Setup { n_files: 1024, ..Default::default() };
    let noded = Noded::start_with(&setup);
    let home = noded.home_of(OWNER);
    let before = opened(&noded).len();
    let flood: Vec<Connection> = as_user(OWNER, || {
        let file = append(&home.join("own"));
        let many = vec![file.as_fd(); 253];
        let connect = |_| {
            let connection = Connection::open(&noded.socket());
            // Never a newline: the handles come with no request at all.
            for _ in 0..20 {
                connection.send_handles(b" ", &many).ok()?;
            }
            Some(connection)
        };
        (0..200).filter_map(connect).collect()
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!flood.is_empty());
    // 64 connections with five handles each; a thousand descriptors are not used up.
    let most = before + 64 * 6 + 8;
    assert!(opened(&noded).len() <= most, "{} descriptors, {before} before", opened(&noded).len());
    let started = Instant::now();
    assert!(matches!(noded.tell(&Request::Ping {}), Reply::Pong { .. }));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    drop(flood);
    let end = Instant::now() + Duration::from_secs(30);
    while opened(&noded).len() > before + 1 {
        assert!(
            Instant::now() < end,
            "{} descriptors, {before} before: {:?}",
            opened(&noded).len(),
            (opened(&noded), fs::read_to_string(noded.dir().join("noded.err")))
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
