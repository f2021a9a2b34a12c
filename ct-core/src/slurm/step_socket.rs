//! The sockets of slurmstepds, by which steps are known that nobody has told of.

use std::collections::BTreeSet;
use std::path::Path;

/// Jobs that have a step on a node, by the text of `/proc/net/unix`.
///
/// A slurmstepd listens at `SPOOL/NODE_JOB.STEP`, `SPOOL` being slurmd's spool directory; without one
/// any directory counts.
pub fn jobs_with_steps(net_unix: &str, node: &str, spool: Option<&Path>) -> BTreeSet<u32> {
    let of_socket = |line: &str| {
        // Num RefCount Protocol Flags Type St Inode Path
        let path = Path::new(line.split_whitespace().nth(7)?);
        let is_here = spool.is_none_or(|spool| path.parent() == Some(spool));
        let (job, step) =
            path.file_name()?.to_str()?.strip_prefix(node)?.strip_prefix('_')?.split_once('.')?;
        step.split('.').all(|number| number.parse::<u32>().is_ok()).then_some(())?;
        job.parse().ok().filter(|_| is_here)
    };
    net_unix.lines().filter_map(of_socket).collect()
}

/// The spool directory of a node's slurmd, by the text of `scontrol show config`.
pub fn spool_dir(config: &str, node: &str, host: &str) -> Option<std::path::PathBuf> {
    let (_, dir) = config.lines().find(|l| l.starts_with("SlurmdSpoolDir"))?.split_once('=')?;
    let dir = dir.trim().replace("%n", node).replace("%h", host);
    Some(dir.into()).filter(|dir: &std::path::PathBuf| dir.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET_UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        000000005e12bc34: 00000003 00000000 00000000 0001 03 16679\n\
        00000000b1e0c18c: 00000002 00000000 00010000 0001 01 15777 /spool/n1/n1_12.4294967291\n\
        00000000b1e0c18d: 00000002 00000000 00010000 0001 01 15778 /spool/n1/n1_13.0\n\
        00000000b1e0c18e: 00000002 00000000 00010000 0001 01 15779 /spool/n1/n1_14.1.2\n\
        00000000b1e0c18f: 00000002 00000000 00010000 0001 01 15780 /spool/n1/n10_15.0\n\
        00000000b1e0c190: 00000002 00000000 00010000 0001 01 15781 /tmp/n1_16.0\n\
        00000000b1e0c191: 00000002 00000000 00010000 0001 01 15782 /spool/n1/n1_17.sock\n\
        00000000b1e0c192: 00000002 00000000 00010000 0001 01 15783 /spool/n1/n1_x.0\n";

    #[test]
    fn jobs_are_found_by_the_sockets_of_their_steps() {
        let at = |spool: Option<&str>| {
            let found = jobs_with_steps(NET_UNIX, "n1", spool.map(Path::new));
            found.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(at(Some("/spool/n1")), [12, 13, 14]);
        assert_eq!(at(None), [12, 13, 14, 16]);
        assert!(at(Some("/elsewhere")).is_empty());
    }

    #[test]
    fn the_spool_directory_is_read_from_the_configuration() {
        let config = "SlurmdPort              = 6818\nSlurmdSpoolDir          = /spool/%n\n\
                      SlurmdSyslogDebug       = (null)\n";
        let dir = |config: &str| spool_dir(config, "n1", "host");
        assert_eq!(dir(config), Some("/spool/n1".into()));
        assert_eq!(dir("SlurmdSpoolDir = /x/%h-%n\n"), Some("/x/host-n1".into()));
        assert_eq!(dir("SlurmdSpoolDir = (null)\n"), None);
        assert_eq!(dir(""), None);
    }
}
