//! One request to a ct-noded and its reply, within a time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ct_core::protocol::{MAX_MESSAGE, Request, to_line};
use rustix::net::{
    self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt,
};

/// Asks whoever listens at `socket`, and waits for the line of the reply; with no patience it is told, and
/// nothing is waited for.
///
/// # Errors
///
/// Those of the socket; `TimedOut` or `WouldBlock` where nothing comes in time, `PermissionDenied` where
/// somebody else listens.
pub(crate) fn exchange(
    socket: &Path,
    request: &Request,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let stream = connect(socket, patience)?;
    trust(&stream, socket)?;
    (&stream).write_all(to_line(request)?.as_bytes())?;
    read_line(&stream, end)
}

/// Reads a line, however it comes, by a time: one that answers a byte now and then is silent, too.
fn read_line(mut stream: &UnixStream, end: Instant) -> io::Result<Vec<u8>> {
    let (mut line, mut buffer) = (Vec::new(), [0_u8; 4096]);
    while !line.ends_with(b"\n") {
        if line.len() > MAX_MESSAGE {
            return Err(io::Error::new(ErrorKind::InvalidData, "its reply is longer than 64 KiB"));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => line.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(line)
}

/// Connects within a time: where the socket's backlog is full, connect(2) waits as sending does.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let flags = match patience.is_zero() {
        true => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        false => SocketFlags::CLOEXEC,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    if !patience.is_zero() {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    }
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// ct-noded listens as root, or as the service user, whose directory it is, where it had to listen
/// anew; `ct-track run` listens as ourselves. What anybody else says is not printed in the job's output,
/// and ends no job.
fn trust(stream: &UnixStream, socket: &Path) -> io::Result<()> {
    let listener = sockopt::socket_peercred(stream)?.uid.as_raw();
    let own = rustix::process::geteuid().as_raw();
    let service = socket.parent().map(std::fs::metadata).transpose()?.map_or(0, |m| m.uid());
    if ![0, own, service].contains(&listener) {
        let socket = socket.display();
        let text = format!(
            "{socket} belongs to uid {listener}, expected root, uid {own} or uid {service}; not used"
        );
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(send: impl FnOnce(UnixStream) + Send + 'static) -> io::Result<Vec<u8>> {
        let (own, others) = UnixStream::pair().unwrap();
        let sending = std::thread::spawn(move || send(others));
        let line = read_line(&own, Instant::now() + Duration::from_millis(300));
        drop(own);
        sending.join().unwrap();
        line
    }

    #[test]
    fn a_reply_is_a_whole_line_in_time_however_it_is_cut() {
        let line = read(|mut to| {
            for byte in b"{}\n" {
                to.write_all(&[*byte]).unwrap();
            }
        });
        assert_eq!(line.unwrap(), b"{}\n");
        let cut = read(|mut to| to.write_all(b"{").unwrap());
        assert_eq!(cut.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let endless = read(|mut to| while to.write_all(&[b'x'; 4096]).is_ok() {});
        assert_eq!(endless.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_byte_now_and_then_is_no_answer() {
        let late = read(|mut to| {
            while to.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert!(matches!(late.unwrap_err().kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
    }
}
