//! Is the ledger there, writable for ct-noded, and on a file system that others see?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ct_core::config::Config;
use ct_core::protocol::NodeStatus;

use super::{Area, Finding};

/// Numbers by which the kernel names file systems that nodes share.
const SHARED: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x00c3_6400, "CephFS"),
    (0x1983_0326, "BeeGFS"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x5346_414f, "AFS"),
    (0x6573_5546, "FUSE"),
];

/// Looks at the ledger's directory.
pub(crate) fn check(config: &Config, status: Option<&NodeStatus>, out: &mut Vec<Finding>) {
    let mut area = Area::new("ledger", out);
    let dir = &config.ledger.dir;
    let user = &config.node.service_user;
    let make = format!("make it: `install -d -o {user} -g {user} -m 750 {}`", dir.display());
    let meta = match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => return area.fail(format!("{} is no directory", dir.display()), make),
        Err(error) => return area.fail(format!("cannot read {}: {error}", dir.display()), make),
    };
    if let Some(status) = status {
        if is_writable(&meta, status) {
            area.ok(format!("{} is writable for ct-noded (uid {})", dir.display(), status.uid));
        } else {
            area.fail(
                format!(
                    "{} belongs to uid {} with mode {:o}: ct-noded (uid {}) cannot write it",
                    dir.display(),
                    meta.uid(),
                    meta.mode() & 0o7777,
                    status.uid
                ),
                format!("give it to the service user: `chown {user}: {}`", dir.display()),
            );
        }
    }
    check_sharing(dir, &mut area);
}

/// Looks whether reports can be made of it here.
pub(crate) fn check_readable(config: &Config, out: &mut Vec<Finding>) {
    let mut area = Area::new("ledger", out);
    let dir = &config.ledger.dir;
    match fs::read_dir(dir) {
        Ok(_) => area.ok(format!("{} can be read: reports find it", dir.display())),
        Err(error) => area.pass(format!(
            "{} is not read here ({error}): reports take --ledger DIR or log directories",
            dir.display()
        )),
    }
}

fn is_writable(meta: &fs::Metadata, status: &NodeStatus) -> bool {
    let mode = meta.mode();
    match (meta.uid() == status.uid, meta.gid() == status.gid) {
        (true, _) => mode & 0o300 == 0o300,
        (false, true) => mode & 0o030 == 0o030,
        (false, false) => mode & 0o003 == 0o003,
    }
}

fn check_sharing(dir: &Path, area: &mut Area<'_>) {
    let kind = rustix::fs::statfs(dir).map(|stat| stat.f_type as u64 & 0xffff_ffff);
    let name = kind.ok().and_then(|kind| SHARED.iter().find(|(number, _)| *number == kind));
    match name {
        Some((_, name)) => area.ok(format!("it lies on {name}, which nodes can share")),
        None => area.warn(
            "it lies on a file system of this node's own",
            "set ledger.dir to a directory that all nodes share, or collect the files yourself",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn who_may_write_is_told_from_owner_group_and_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.ledger.dir = dir.path().join("ledger");
        let check = |config: &Config, status: Option<&NodeStatus>| {
            let mut out = Vec::new();
            check(config, status, &mut out);
            out
        };
        assert_eq!(check(&config, None)[0].level, Level::Error);
        fs::create_dir(&config.ledger.dir).unwrap();
        let meta = fs::metadata(&config.ledger.dir).unwrap();
        let own = NodeStatus { uid: meta.uid(), gid: meta.gid(), ..NodeStatus::default() };
        let other = NodeStatus { uid: meta.uid() + 1, gid: meta.gid() + 1, ..own.clone() };
        let set = |mode| fs::set_permissions(&config.ledger.dir, fs::Permissions::from_mode(mode));
        for (mode, status, level) in [
            (0o750, &own, Level::Ok),
            (0o550, &own, Level::Error),
            (0o750, &other, Level::Error),
            (0o753, &other, Level::Ok),
        ] {
            set(mode).unwrap();
            assert_eq!(check(&config, Some(status))[0].level, level, "{mode:o}");
        }
    }
}
