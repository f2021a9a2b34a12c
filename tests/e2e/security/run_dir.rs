//! The socket's path in a stranger's hands: ct-noded does not start there, and neither the plugin
//! (tests/abi/trouble.rs) nor ct-track takes a stranger for ct-noded.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use ct_core::protocol::{Confirm, ConfirmState, Reply, to_line};
use ct_tests::artifact;
use ct_tests::plant::{PowerPlant, Spec};

use crate::attacker::as_user;
use crate::noded::{self, Setup};
use crate::{OWNER, STRANGER, is_root};

/// What ct-noded says to directories that `prepare` has made; it must end at once.
fn refused(prepare: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let plant = PowerPlant::start(&dir.path().join("plant"), Spec::default()).unwrap();
    noded::write_config(dir.path(), &plant, "");
    prepare(dir.path());
    let mut command = Command::new("timeout");
    let inner = noded::command(dir.path(), &Setup::default());
    command.arg("20").arg(inner.get_program()).args(inner.get_args());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn directories_that_are_a_strangers_or_everybodys_are_refused() {
    if !is_root() {
        return;
    }
    for name in ["run", "state"] {
        let said = refused(|dir| {
            fs::create_dir(dir.join(name)).unwrap();
            chown(dir.join(name), Some(STRANGER), Some(STRANGER)).unwrap();
        });
        assert!(said.contains(&format!("it belongs to uid {STRANGER}, expected root")), "{said}");
        let said = refused(|dir| {
            fs::create_dir(dir.join(name)).unwrap();
            mode(&dir.join(name), 0o777);
        });
        assert!(said.contains("everybody can write to it (mode 777)"), "{said}");
    }
}

#[test]
fn a_strangers_link_gives_nothing_of_roots_away() {
    if !is_root() {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let said = refused(|dir| {
        symlink(target.path(), dir.join("run")).unwrap();
        lchown(dir.join("run"), Some(STRANGER), Some(STRANGER)).unwrap();
    });
    assert!(said.contains(&format!("it belongs to uid {STRANGER}")), "{said}");
    assert_eq!(fs::metadata(target.path()).unwrap().uid(), 0, "it was given away");
}

/// A stranger who listens, prints into the job's output and ends jobs where anybody lets it.
fn impostor(socket: &Path) -> UnixListener {
    let socket = socket.to_owned();
    as_user(STRANGER, move || {
        let listener = UnixListener::bind(&socket).unwrap();
        mode(&socket, 0o666);
        listener
    })
}

#[test]
fn ct_track_neither_prints_nor_does_what_a_stranger_says() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    mode(dir.path(), 0o777);
    let socket = dir.path().join("noded.sock");
    let listener = impostor(&socket);
    let answering = std::thread::spawn(move || {
        // One client, if there ever is one that says something.
        let Ok((stream, _)) = listener.accept() else { return String::new() };
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        let confirm = Some(Confirm { state: ConfirmState::N, how: "PWNED".to_owned() });
        let text = "PWNED\x1b[2J".to_owned();
        let reply = Reply::Text { text, need_logs: false, confirm, end: true };
        let _ = (&stream).write_all(to_line(&reply).unwrap().as_bytes());
        line
    });
    let track = artifact::built("ct-node", "ct-track").unwrap();
    // Where the user can run it: the build's directory may be root's alone.
    let program = dir.path().join("ct-track");
    fs::copy(track, &program).unwrap();
    mode(&program, 0o755);
    let id = OWNER.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(&program)
        .args(["epoch", "end"])
        .env("CARBONTRACKER_SOCKET", &socket)
        .env("CARBONTRACKER_JOB_ID", "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "tracking ends no job: {said}");
    assert!(!said.contains("PWNED"), "{said}");
    assert!(said.contains(&format!("belongs to uid {STRANGER}")), "{said}");
    assert_eq!(answering.join().unwrap(), "", "nothing was told to the stranger");
}
