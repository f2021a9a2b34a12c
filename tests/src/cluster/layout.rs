//! The cluster's directory, its ports and its names.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The first port of all; below the ports that the kernel gives to outgoing connections (32768).
const FIRST_PORT: u16 = 20_000;
/// Ports per cluster: one for the controller, one for each node.
const PORTS_PER_CLUSTER: u16 = 32;
/// How many clusters find room.
const N_BLOCKS: u16 = (32_000 - FIRST_PORT) / PORTS_PER_CLUSTER;
/// The most nodes a cluster can have.
pub(super) const MAX_NODES: usize = PORTS_PER_CLUSTER as usize - 1;

/// The file that marks a directory as a cluster's; it holds the names of its nodes, one a line.
const MARKER: &str = ".ct-cluster";

/// What is made below the cluster's directory, readable by all.
const SUBDIRS: [&str; 10] =
    ["etc", "run", "log", "pid", "state", "spool", "dev", "lib", "home", "plant"];

/// Where everything of one cluster is.
///
/// A block of ports, the directory's name and the prefix of the node names are one and the same
/// number; whoever makes the directory has claimed all three.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
    prefix: String,
    base_port: u16,
}

impl Layout {
    /// Makes the directory of a new cluster below `base`.
    pub(super) fn claim(base: &Path, n_nodes: usize) -> Result<Self> {
        let first = u16::try_from(std::process::id() % u32::from(N_BLOCKS)).unwrap_or(0);
        for step in 0..N_BLOCKS {
            let block = (first + step) % N_BLOCKS;
            if let Some(layout) = Self::claim_block(base, block, n_nodes)? {
                return Ok(layout);
            }
        }
        bail!("all {N_BLOCKS} blocks of ports are taken\nhint: remove old {}/ct-*", base.display())
    }

    fn claim_block(base: &Path, block: u16, n_nodes: usize) -> Result<Option<Self>> {
        let dir = base.join(format!("ct-{block:03x}"));
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", dir.display())),
        }
        let base_port = FIRST_PORT + block * PORTS_PER_CLUSTER;
        let layout = Self { dir, prefix: format!("c{block:03x}"), base_port };
        if !layout.ports_are_free(n_nodes) {
            let _ = fs::remove_dir(&layout.dir);
            return Ok(None);
        }
        layout.fill(n_nodes)?;
        Ok(Some(layout))
    }

    fn ports_are_free(&self, n_nodes: usize) -> bool {
        (0..=n_nodes).all(|n| TcpListener::bind((Ipv4Addr::LOCALHOST, self.port(n))).is_ok())
    }

    fn fill(&self, n_nodes: usize) -> Result<()> {
        let names: Vec<_> = (1..=n_nodes).map(|n| self.node_name(n)).collect();
        write(&self.dir.join(MARKER), &(names.join("\n") + "\n"))?;
        make_public(&self.dir)?;
        for subdir in SUBDIRS {
            make_dir(&self.dir.join(subdir))?;
        }
        for name in names {
            make_dir(&self.dir.join("spool").join(name))?;
        }
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn conf_dir(&self) -> PathBuf {
        self.dir.join("etc")
    }

    pub(super) fn munge_socket(&self) -> PathBuf {
        self.dir.join("run/munge.socket")
    }

    pub(super) fn home(&self, user: &str) -> PathBuf {
        self.dir.join("home").join(user)
    }

    pub(super) fn fake_gpu(&self, gpu: usize) -> PathBuf {
        self.dev().join(format!("fakegpu{gpu}"))
    }

    /// The directory of the device files.
    pub(super) fn dev(&self) -> PathBuf {
        self.dir.join("dev")
    }

    /// The port of a node, or of the controller for 0.
    pub(super) fn port(&self, node: usize) -> u16 {
        self.base_port + u16::try_from(node).expect("the builder limits the nodes to MAX_NODES")
    }

    pub(super) fn node_name(&self, node: usize) -> String {
        format!("{}n{node}", self.prefix)
    }
}

/// The names of the nodes of the cluster in `dir`.
///
/// # Errors
///
/// Where `dir` is no cluster's directory; nothing may be torn down there.
pub(super) fn node_names(dir: &Path) -> Result<Vec<String>> {
    let marker = dir.join(MARKER);
    let names = fs::read_to_string(&marker)
        .with_context(|| format!("{} is no cluster's directory", dir.display()))?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Writes a file that everybody may read.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
    make_public(path)
}

fn make_public(path: &Path) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn two_clusters_share_neither_names_nor_ports() {
        let base = tempfile::tempdir().unwrap();
        let layouts: Vec<_> = (0..3).map(|_| Layout::claim(base.path(), 2).unwrap()).collect();
        let names: BTreeSet<_> = layouts.iter().map(|l| l.node_name(1)).collect();
        let ports: BTreeSet<_> = layouts.iter().flat_map(|l| (0..=2).map(|n| l.port(n))).collect();
        assert_eq!((names.len(), ports.len()), (3, 9));
        assert_eq!(node_names(layouts[0].dir()).unwrap(), [1, 2].map(|n| layouts[0].node_name(n)));
    }

    #[test]
    fn block_with_a_port_in_use_is_passed_over() {
        let base = tempfile::tempdir().unwrap();
        let first = Layout::claim(base.path(), 1).unwrap();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first.port(1))).unwrap();
        fs::remove_dir_all(first.dir()).unwrap();
        let second = Layout::claim(base.path(), 1).unwrap();
        assert_ne!(first.dir(), second.dir());
    }

    #[test]
    fn directory_without_the_marker_is_no_cluster() {
        let dir = tempfile::tempdir().unwrap();
        assert!(node_names(dir.path()).unwrap_err().to_string().contains("no cluster's directory"));
    }
}
