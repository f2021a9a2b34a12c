//! Does ct-noded answer, and as whom does it run?

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ct_core::config::Config;
use ct_core::protocol::{
    MAX_MESSAGE, NodeStatus, Reply, Request, SOCKET_NAME, parse_reply, to_line,
};

use super::{Area, Finding, age};
use crate::slurm;

/// How long ct-noded may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at ct-noded, and returns what it says of its node; `file` is the configuration's.
pub(crate) fn check(config: &Config, file: &Path, out: &mut Vec<Finding>) -> Option<NodeStatus> {
    let mut area = Area::new("ct-noded", out);
    let socket = config.node.run_dir.join(SOCKET_NAME);
    match ask(&socket, &Request::Ping {}) {
        Ok(Reply::Pong { version, pid }) => {
            let own = env!("CARGO_PKG_VERSION");
            if version == own {
                area.ok(format!(
                    "version {version}, process {pid}, answers on {}",
                    socket.display()
                ));
            } else {
                area.warn(
                    format!("ct-noded is of version {version}, ct-report of {own}"),
                    "install both from one build, and restart ct-noded",
                );
            }
            age::check(config, file, pid, &mut area);
        }
        Ok(other) => area.fail(format!("it answers {other:?} to a ping"), "restart ct-noded"),
        Err(error) => {
            area.fail(
                format!("{error:#}"),
                "start it: `systemctl start ct-noded`, or restart slurmd, whose plugin does it",
            );
            return None;
        }
    }
    let status = match ask(&socket, &Request::Node {}) {
        Ok(Reply::Node(status)) => *status,
        Ok(other) => {
            area.warn(format!("it does not tell of its node: {other:?}"), "restart ct-noded");
            return None;
        }
        Err(_) if !rustix::process::geteuid().is_root() => {
            area.warn(
                "its meters and GPUs were not looked at: that needs root",
                "run this as root",
            );
            return None;
        }
        Err(error) => {
            area.warn(format!("it does not tell of its meters: {error:#}"), "run this as root");
            return None;
        }
    };
    check_user(config, &status, &socket, &mut area);
    Some(status)
}

/// Whether somebody listens where ct-noded would.
pub(crate) fn answers(config: &Config) -> bool {
    UnixStream::connect(config.node.run_dir.join(SOCKET_NAME)).is_ok()
}

fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    let silent = || format!("nobody answers on {}", socket.display());
    let stream = UnixStream::connect(socket).with_context(silent)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    (&stream).write_all(to_line(request)?.as_bytes()).with_context(silent)?;
    let mut line = Vec::new();
    let mut reader = BufReader::new((&stream).take(MAX_MESSAGE as u64));
    reader.read_until(b'\n', &mut line).with_context(silent)?;
    match parse_reply(&line).with_context(silent)? {
        Reply::Error { message } => bail!("{message}"),
        reply => Ok(reply),
    }
}

/// The service user is there, and ct-noded runs as it; its socket is root's.
fn check_user(config: &Config, status: &NodeStatus, socket: &Path, area: &mut Area<'_>) {
    let name = &config.node.service_user;
    let uid = slurm::run("id", &["-u", name], PATIENCE).ok().filter(|answer| answer.is_success);
    let uid: Option<u32> = uid.and_then(|answer| answer.out.trim().parse().ok());
    match uid {
        None => area.warn(
            format!("there is no user {name}: ct-noded runs as uid {}", status.uid),
            "make the user (`systemd-sysusers`, or `useradd --system carbontracker`) and restart \
             ct-noded",
        ),
        Some(uid) if uid != status.uid => area.warn(
            format!("it runs as uid {}, not as {name} (uid {uid})", status.uid),
            "restart ct-noded as root: it becomes the service user by itself",
        ),
        Some(uid) => area.ok(format!("it runs as {name} (uid {uid})")),
    }
    let owner = std::fs::metadata(socket).map(|meta| meta.uid()).unwrap_or_default();
    if owner != 0 && Some(owner) != uid {
        area.fail(
            format!("{} belongs to uid {owner}, so the plugin does not use it", socket.display()),
            "remove the socket, see to the rights of node.run_dir, and restart ct-noded",
        );
    }
}
