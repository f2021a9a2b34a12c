//! A Unix stream socket with a deadline, file handles and the peer's user.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::Duration;

use super::{Deadline, check, check_int};

/// Most handles in one message.
const MAX_HANDLES: usize = 8;

/// Connects, at the latest by the deadline.
pub(crate) fn connect(path: &Path, deadline: Deadline) -> io::Result<OwnedFd> {
    let address = address(path)?;
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket takes no pointer.
    let fd = check_int(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: socket has just returned this descriptor, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = libc::socklen_t::try_from(mem::size_of_val(&address)).unwrap_or(0);
    loop {
        // SAFETY: `address` is a sockaddr_un of `len` bytes and outlives the call.
        let rc = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) };
        match check_int(rc) {
            Ok(_) => return Ok(socket),
            // A full backlog: unlike TCP's, such a socket cannot be polled for its turn.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !deadline.is_over() => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(timed_out()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Two connected sockets, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `fds` has room for two descriptors.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: socketpair has just returned this descriptor, and nobody else knows it.
    let first = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let second = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((first, second))
}

fn address(path: &Path) -> io::Result<libc::sockaddr_un> {
    // SAFETY: sockaddr_un is plain data, for which all zeros is a value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(address)
}

/// The user who listens at the other end.
pub(crate) fn peer_uid(socket: &OwnedFd) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = libc::socklen_t::try_from(mem::size_of_val(&peer)).unwrap_or(0);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    let to = (&raw mut peer).cast();
    // SAFETY: `to` points to `len` bytes of a ucred, which SO_PEERCRED fills in.
    check_int(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, to, &raw mut len) })?;
    Ok(peer.uid)
}

/// Sends all bytes; the handles travel with the first of them.
pub(crate) fn send(
    socket: &OwnedFd,
    mut bytes: &[u8],
    handles: &[RawFd],
    deadline: Deadline,
) -> io::Result<()> {
    let mut handles = handles;
    while !bytes.is_empty() {
        match send_once(socket, bytes, handles) {
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                handles = &[];
            }
            Err(e) => wait_if_blocked(e, socket, libc::POLLOUT, deadline)?,
        }
    }
    Ok(())
}

fn send_once(socket: &OwnedFd, bytes: &[u8], handles: &[RawFd]) -> io::Result<usize> {
    let mut control = Control { header: [], space: [0; CONTROL_SPACE] };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !handles.is_empty() {
        attach(&mut message, &mut control, handles)?;
    }
    // SAFETY: `message` points to `part`, `bytes` and `control`, which all outlive the call;
    // sendmsg only reads `bytes`.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
}

const CONTROL_SPACE: usize = 64;

/// Room for one control message, aligned as its header must be.
#[repr(C)]
struct Control {
    header: [libc::cmsghdr; 0],
    space: [u8; CONTROL_SPACE],
}

fn attach(message: &mut libc::msghdr, control: &mut Control, handles: &[RawFd]) -> io::Result<()> {
    if handles.len() > MAX_HANDLES {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let size = u32::try_from(mem::size_of_val(handles)).unwrap_or(0);
    // SAFETY: CMSG_SPACE only computes.
    let space = unsafe { libc::CMSG_SPACE(size) } as usize;
    debug_assert!(space <= CONTROL_SPACE && control.header.is_empty());
    message.msg_control = control.space.as_mut_ptr().cast();
    message.msg_controllen = space;
    // SAFETY: msg_control has msg_controllen zeroed bytes, more than a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const *message) };
    // SAFETY: `header` is NULL or points into `control`, which is aligned for it and zeroed.
    let header = unsafe { header.as_mut() }.ok_or(io::ErrorKind::InvalidInput)?;
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: CMSG_LEN only computes.
    header.cmsg_len = unsafe { libc::CMSG_LEN(size) } as usize;
    // SAFETY: `header` begins a control message of CMSG_SPACE(size) bytes.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: there are `size` bytes behind `data`, by the space computed above, and they do not
    // overlap the caller's handles.
    unsafe { ptr::copy_nonoverlapping(handles.as_ptr().cast(), data, size as usize) };
    Ok(())
}

/// The handles that came with one byte, where they have come.
pub(crate) fn receive_handles(socket: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut control = Control { header: [], space: [0; CONTROL_SPACE] };
    let mut byte = [0_u8; 1];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // SAFETY: msghdr is plain data, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.space.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_SPACE;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: `message` points to `part`, `byte` and `control`, which all outlive the call.
    check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    // SAFETY: the kernel has filled in `message`, whose control buffer is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: `header` is NULL or points to a header that the kernel has filled in.
    let Some(found) = (unsafe { header.as_ref() }) else { return Ok(Vec::new()) };
    // SAFETY: CMSG_LEN only computes.
    let empty = unsafe { libc::CMSG_LEN(0) } as usize;
    if found.cmsg_level != libc::SOL_SOCKET || found.cmsg_type != libc::SCM_RIGHTS {
        return Ok(Vec::new());
    }
    let n = found.cmsg_len.saturating_sub(empty) / size_of::<RawFd>();
    let mut fds = [-1; MAX_HANDLES];
    let n = n.min(MAX_HANDLES);
    // SAFETY: `header` begins a control message.
    let data = unsafe { libc::CMSG_DATA(header) };
    let size = n * size_of::<RawFd>();
    // SAFETY: there are `size` bytes behind `data`, by the message's own length, and room for them.
    unsafe { ptr::copy_nonoverlapping(data, fds.as_mut_ptr().cast(), size) };
    // SAFETY: the kernel has just made these descriptors for us alone.
    let own = |fd: &RawFd| unsafe { OwnedFd::from_raw_fd(*fd) };
    Ok(fds.iter().take(n).map(own).collect())
}

/// Receives what there is, waiting for the first byte; 0 at the end.
pub(crate) fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    deadline: Deadline,
) -> io::Result<usize> {
    loop {
        let (to, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `to` points to `len` writable bytes.
        match check(unsafe { libc::recv(socket.as_raw_fd(), to, len, 0) }) {
            Ok(n) => return Ok(n),
            Err(e) => wait_if_blocked(e, socket, libc::POLLIN, deadline)?,
        }
    }
}

/// Waits until the socket is ready, where `error` says that it was not.
fn wait_if_blocked(
    error: io::Error,
    socket: &OwnedFd,
    events: libc::c_short,
    deadline: Deadline,
) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => return Ok(()),
        io::ErrorKind::WouldBlock if deadline.is_over() => return Err(timed_out()),
        io::ErrorKind::WouldBlock => {}
        _ => return Err(error),
    }
    let mut ready = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // SAFETY: `ready` is one pollfd and outlives the call.
    match check_int(unsafe { libc::poll(&raw mut ready, 1, deadline.remaining_ms()) }) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

fn timed_out() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}
