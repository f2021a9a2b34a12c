//! The sockets of slurmstepds, by which steps are known that nobody has told of.

use std::path::{Path, PathBuf};

/// A node's slurmd, as its configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// Its spool directory, in which the sockets are.
    pub dir: PathBuf,
    /// The user it runs as, root but for tests.
    pub uid: u32,
}

impl Spool {
    /// By the text of `scontrol show config`.
    pub fn parse(config: &str, node: &str, host: &str) -> Option<Self> {
        let value = |key: &str| {
            let (_, value) = config.lines().find(|l| l.starts_with(key))?.split_once('=')?;
            Some(value.trim())
        };
        let dir = value("SlurmdSpoolDir")?.replace("%n", node).replace("%h", host);
        // SlurmdUser = root(0)
        let uid = value("SlurmdUser").and_then(|user| user.rsplit_once('(')?.1.strip_suffix(')'));
        let uid = uid.and_then(|uid| uid.parse().ok()).unwrap_or(0);
        Some(Self { dir: dir.into(), uid }).filter(|spool| spool.dir.is_absolute())
    }
}

/// The paths of `/proc/net/unix`, as those who bound them wrote them: in which directory they are is
/// these processes' own word.
pub fn bound_paths(net_unix: &str) -> impl Iterator<Item = &Path> {
    // Num RefCount Protocol Flags Type St Inode Path
    net_unix.lines().filter_map(|line| line.split_whitespace().nth(7)).map(Path::new)
}

/// Job and step of a slurmstepd, which listens at `SPOOL/NODE_JOB.STEP`.
pub fn step_of_socket(path: &Path, node: &str) -> Option<(u32, String)> {
    let name = path.file_name()?.to_str()?.strip_prefix(node)?.strip_prefix('_')?;
    let (job, step) = name.split_once('.')?;
    // A heterogeneous step has the number of its part behind its own.
    let mut numbers = step.split('.').map(|n| n.parse::<u32>().ok());
    let first = numbers.next()??;
    numbers.all(|n| n.is_some()).then_some(())?;
    // slurm.h: SLURM_BATCH_SCRIPT and its neighbours.
    let step = match first {
        0xffff_fffb => "batch".to_owned(),
        0xffff_fffc => "extern".to_owned(),
        0xffff_fffa => "interactive".to_owned(),
        number => number.to_string(),
    };
    Some((job.parse().ok()?, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET_UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        000000005e12bc34: 00000003 00000000 00000000 0001 03 16679\n\
        00000000b1e0c18c: 00000002 00000000 00010000 0001 01 15777 /spool/n1/n1_12.4294967291\n\
        00000000b1e0c18d: 00000002 00000000 00010000 0001 01 15778 /spool/n1/n1_13.0\n";

    #[test]
    fn paths_are_found_in_the_table_of_sockets() {
        let paths: Vec<_> = bound_paths(NET_UNIX).skip(1).collect();
        assert_eq!(paths, ["/spool/n1/n1_12.4294967291", "/spool/n1/n1_13.0"].map(Path::new));
    }

    #[test]
    fn steps_are_known_by_the_names_of_their_sockets() {
        let of = |name: &str| step_of_socket(&Path::new("/spool/n1").join(name), "n1");
        for (name, job, step) in [
            ("n1_12.4294967291", 12, "batch"),
            ("n1_12.4294967292", 12, "extern"),
            ("n1_13.0", 13, "0"),
            ("n1_14.1.2", 14, "1"),
        ] {
            assert_eq!(of(name), Some((job, step.to_owned())), "{name}");
        }
        for name in
            ["n10_15.0", "n1_17.sock", "n1_x.0", "n1_17", "n1_17.", "n1_17.1.x", "cred_state"]
        {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn the_spool_directory_and_slurmds_user_are_read_from_the_configuration() {
        let config = "SlurmdPort              = 6818\nSlurmdSpoolDir          = /spool/%n\n\
                      SlurmdSyslogDebug       = (null)\nSlurmdUser              = ann(1000)\n";
        let spool = |config: &str| Spool::parse(config, "n1", "host");
        assert_eq!(spool(config), Some(Spool { dir: "/spool/n1".into(), uid: 1000 }));
        let host = Spool { dir: "/x/host-n1".into(), uid: 0 };
        assert_eq!(spool("SlurmdSpoolDir = /x/%h-%n\n"), Some(host));
        assert_eq!(spool("SlurmdSpoolDir = (null)\n"), None);
        assert_eq!(spool(""), None);
    }
}
