//! Slurm from another root tree: `CT_CLUSTER_ROOT` names a directory with a whole Debian and its
//! Slurm in it, as `tests/vm/vm.sh tree` makes one.
//!
//! Every program of a cluster then runs in that tree, in a mount namespace of its own into which
//! /proc, /sys, /dev, the users and the cluster's directory are bound; the tree itself is not
//! changed. Processes, control groups and ports are this machine's, so all else stays as it is.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// What names the tree.
const ROOT_VARIABLE: &str = "CT_CLUSTER_ROOT";

/// Enters the tree $1 with the directory $2 bound in, and there becomes the rest of the arguments.
const ENTER: &str = r#"
root=$1 dir=$2 here=$PWD
shift 2
for tree in /proc /sys /dev; do mount --rbind "$tree" "$root$tree" || exit; done
for file in passwd group hosts; do
  # A tree of a test's own knows the users, and perhaps others that a package made.
  if [ $file = hosts ] || ! grep -qs '^ctuser1:' "$root/etc/passwd"; then
    mount --bind "/etc/$file" "$root/etc/$file" || exit
  fi
done
mount --bind /tmp "$root/tmp" || exit
case $dir in
/tmp/*) ;;
*) mkdir -p "$root$dir" && mount --bind "$dir" "$root$dir" || exit ;;
esac
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$here" "$@"
"#;

/// The tree, where one is named.
pub(crate) fn root() -> Option<PathBuf> {
    env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(PathBuf::from)
}

/// The path of a file of Slurm's tree, as seen from here.
pub(crate) fn inside(path: &str) -> PathBuf {
    root().map_or_else(|| path.into(), |root| root.join(path.trim_start_matches('/')))
}

/// The words that make a command line one inside the tree, for a cluster in `dir`; none without
/// a tree. The process stays the same through all of them.
pub(crate) fn prefix(dir: &Path) -> Vec<OsString> {
    let Some(root) = root() else { return Vec::new() };
    let words = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "sh"];
    words.into_iter().map(OsString::from).chain([root.into(), dir.into()]).collect()
}

/// Whether Slurm has a plugin of that file name.
pub(crate) fn has_slurm_plugin(file: &str) -> bool {
    let dirs = fs::read_dir(inside("/usr/lib")).into_iter().flatten().flatten();
    dirs.map(|dir| dir.path().join("slurm-wlm").join(file)).any(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tree_a_command_is_itself() {
        if root().is_none() {
            assert_eq!(prefix(Path::new("/tmp/x")), Vec::<OsString>::new());
            assert_eq!(inside("/usr/sbin/slurmd"), Path::new("/usr/sbin/slurmd"));
        }
    }
}
