//! What holds of a connection whatever its peer sends: bytes cut anywhere, and file handles of every
//! kind, in any number, beside any of them.

use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::*;
use crate::log_files::LogFiles;

/// Handles a peer may pass, each of a file of its own.
struct Kinds {
    /// The only one that may be a log.
    log: File,
    others: Vec<OwnedFd>,
    /// At its end once every copy of its other end is closed.
    reader: OwnedFd,
}

impl Kinds {
    fn open(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name);
        let new =
            |name: &str, options: &mut OpenOptions| options.create(true).open(at(name)).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (socket, _) = UnixStream::pair().unwrap();
        fs::write(at("read"), "").unwrap();
        Self {
            log: new("log", OpenOptions::new().append(true)),
            others: vec![
                writer,
                File::open(dir).unwrap().into(),
                File::open(at("read")).unwrap().into(),
                new("written", OpenOptions::new().write(true)).into(),
                OpenOptions::new().append(true).open("/dev/null").unwrap().into(),
                socket.into(),
            ],
            reader,
        }
    }

    /// The logs are most of them, or four in a row would be rare.
    fn get(&self, kind: usize) -> BorrowedFd<'_> {
        self.others.get(kind).map_or(self.log.as_fd(), AsFd::as_fd)
    }
}

/// One send: bytes, and the kinds of the handles beside them.
type Piece = (Vec<u8>, Vec<usize>);

fn send(peer: &UnixStream, (bytes, kinds): &Piece, files: &Kinds) {
    let handles: Vec<_> = kinds.iter().map(|kind| files.get(*kind)).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&handles)));
    }
    sendmsg(peer, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let byte = prop_oneof![3 => Just(b'x'), 1 => Just(b'\n')];
    let few = prop::collection::vec(0..12_usize, 0..6);
    let many = prop::collection::vec(0..12_usize, 6..32);
    let four_logs = Just(vec![9; 4]);
    let handles = prop_oneof![2 => Just(Vec::new()), 2 => few, 1 => many, 2 => four_logs];
    prop::collection::vec((prop::collection::vec(byte, 1..8), handles), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_handle_is_kept_or_taken_for_a_log_that_is_none(pieces in pieces(), at_once in 1..8_usize) {
        let dir = tempfile::tempdir().unwrap();
        let files = Kinds::open(dir.path());
        let owner = fs::metadata(dir.path()).unwrap().uid();
        let is_log = |handle: &OwnedFd| {
            let of = File::from(handle.try_clone().unwrap()).metadata().unwrap();
            of.ino() == files.log.metadata().unwrap().ino()
        };
        let mut lines = Vec::new();
        let mut answer = |_: Peer, line: &[u8], handles: Vec<OwnedFd>| {
            lines.push(line.to_vec());
            assert!(handles.len() <= MOST_HANDLES);
            let are_logs = handles.len() == 4 && handles.iter().all(is_log);
            assert_eq!(LogFiles::default().attach(1, owner, handles).is_ok(), are_logs);
            String::new()
        };
        let (peer, own) = UnixStream::pair().unwrap();
        let mut client = Client::new(own).unwrap();
        for some in pieces.chunks(at_once) {
            some.iter().for_each(|piece| send(&peer, piece, &files));
            client.receive();
            client.answer_one(&mut answer);
        }
        while client.has_line() {
            client.answer_one(&mut answer);
        }
        let sent: Vec<u8> = pieces.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut expected: Vec<&[u8]> = sent.split(|b| *b == b'\n').collect();
        expected.pop();
        prop_assert_eq!(lines, expected);
        // With the connection all that came with it is closed.
        drop((client, peer));
        let Kinds { others, reader, .. } = files;
        drop(others);
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let end = File::from(reader).read(&mut [0]);
        prop_assert_eq!(end.ok(), Some(0), "a copy of a handle is open");
    }
}
