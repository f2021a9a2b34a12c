//! A root tree that can be written, over one that stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use ct_tests::User;

/// The tree; unmounted when dropped.
pub(crate) struct Overlay {
    root: PathBuf,
}

impl Overlay {
    /// Over `tree`, with what is written kept in `dir`.
    pub(crate) fn over(tree: &Path, dir: &Path) -> Result<Self> {
        let [root, upper, work] = ["root", "upper", "work"].map(|name| dir.join(name));
        for dir in [&root, &upper, &work] {
            fs::create_dir(dir)?;
        }
        let [lower, up, down] = [tree, &upper, &work].map(Path::display);
        let options = format!("lowerdir={lower},upperdir={up},workdir={down}");
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options])
            .arg(&root)
            .output()?;
        if !mounted.status.success() {
            // No overlays here: a copy does as well, and takes a while.
            let copied = Command::new("cp").arg("-aT").args([tree, &root]).status()?;
            ensure!(copied.success(), "cannot copy {}", tree.display());
        }
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.root).output();
    }
}

/// The tree has users of its own, and the package adds one; the cluster's are to be among them.
pub(crate) fn add_user(root: &Path, user: &User) -> Result<()> {
    for (file, line) in [
        ("etc/passwd", format!("{0}:x:{1}:{2}::/:/bin/sh\n", user.name(), user.uid(), user.gid())),
        ("etc/group", format!("{}:x:{}:\n", user.name(), user.gid())),
    ] {
        let path = root.join(file);
        // The machine's tree has a user of its own with such a number.
        let is_other = |l: &&str| l.split(':').nth(2) != Some(&user.uid().to_string());
        let text = fs::read_to_string(&path)?;
        let kept: Vec<_> = text.lines().filter(is_other).collect();
        fs::write(&path, kept.join("\n") + "\n" + &line)?;
    }
    Ok(())
}
