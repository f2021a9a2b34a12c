//! The packages for distributions with RPM, in an overlay over the tree of Debian 13: what is in them,
//! what they need, and how they are installed, upgraded under a running daemon and erased.
//!
//! No Slurm runs here. The tree's own packages are none of RPM's, so one that is made here stands for
//! them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ct_tests::packages::{self, RpmPackages};
use ct_tests::rpm_test_is_wanted;
use ct_tests::site::wait_for;

use crate::installation::{CONFIGURATION, DAEMON, daemon_in, words};
use crate::overlay::Overlay;

const OURS: &str = "carbontracker-slurm";
const PLUGIN: &str = "carbontracker-slurm-plugin-24.11";
const OTHER_PLUGIN: &str = "carbontracker-slurm-plugin-22.05";
const LIBRARY: &str = "usr/lib64/slurm/carbontracker.so";
/// A link that `systemctl enable` makes.
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/ct-noded.service";

#[test]
fn rpm_packages_are_installed_upgraded_and_erased() -> Result<()> {
    if !rpm_test_is_wanted() {
        return Ok(());
    }
    let tree = packages::slurm_tree(packages::SUITE)?;
    let dir = tempfile::tempdir_in("/tmp")?;
    let site = Site {
        packages: RpmPackages::build(&tree)?,
        overlay: Overlay::over(&tree, dir.path())?,
        dir: dir.path().to_owned(),
    };
    site.files_are_where_they_belong()?;
    site.only_the_right_slurm_will_do()?;
    let daemon = site.install()?;
    let daemon = site.upgrade(daemon)?;
    site.erase(daemon)
}

struct Site {
    packages: RpmPackages,
    overlay: Overlay,
    dir: PathBuf,
}

impl Site {
    fn path(&self, path: &str) -> PathBuf {
        self.overlay.root().join(path)
    }

    /// Runs a command with the kernel's trees bound into the root; what was said, and whether it was
    /// well.
    fn run(&self, words: &[&str]) -> Result<(String, bool)> {
        const ENTER: &str = r#"root=$1; shift
            for tree in /proc /sys /dev; do mount --rbind "$tree" "$root$tree" || exit; done
            exec "$@""#;
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"])
            .arg(self.overlay.root())
            .args(words)
            .output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Ok((said, output.status.success()))
    }

    fn rpm(&self, words: &[&str], packages: &[PathBuf]) -> Result<(String, bool)> {
        let root = self.overlay.root().display().to_string();
        let packages: Vec<_> = packages.iter().map(|path| path.display().to_string()).collect();
        let mut command = vec!["rpm", "--root", &root];
        command.extend(words);
        command.extend(packages.iter().map(String::as_str));
        self.run(&command)
    }

    /// As [`Self::rpm`], where it has to be well.
    fn do_rpm(&self, words: &[&str], packages: &[PathBuf]) -> Result<String> {
        let (said, is_well) = self.rpm(words, packages)?;
        ensure!(is_well, "rpm {words:?} {packages:?}: {said}");
        Ok(said)
    }

    fn in_root(&self, words: &[&str]) -> Result<String> {
        let root = self.overlay.root().display().to_string();
        let mut command = vec!["chroot", &root];
        command.extend(words);
        let (said, is_well) = self.run(&command)?;
        ensure!(is_well, "{words:?}: {said}");
        Ok(said)
    }

    fn daemon(&self) -> Option<u32> {
        daemon_in(&self.path("run/carbontracker"))
    }

    /// Modes, and flags: c is a configuration, n "keep the one that is there", d a document.
    fn files_are_where_they_belong(&self) -> Result<()> {
        let form = "--queryformat=[%{FILENAMES} %{FILEMODES:octal} <%{FILEFLAGS:fflags}>\n]";
        let paths = self.packages.find(1, &[OURS, PLUGIN])?;
        let files = self.do_rpm(&["-qp", form], &paths)?;
        for line in [
            "/usr/sbin/ct-noded 100755 <>",
            "/usr/bin/ct-track 100755 <>",
            "/usr/lib/systemd/system/ct-noded.service 100644 <>",
            "/etc/carbontracker/carbontracker.toml 100644 <cn>",
            "/usr/share/licenses/carbontracker-slurm/LICENSE 100644 <d>",
            "/usr/share/doc/carbontracker-slurm/INSTALL.md.gz 100644 <d>",
            "/usr/share/man/man8/ct-noded.8.gz 100644 <>",
            "/usr/share/zsh/site-functions/_ct-report 100644 <>",
            "/usr/lib64/slurm/carbontracker.so 100644 <>",
            "/etc/slurm/plugstack.conf.d/carbontracker.conf 100644 <cn>",
        ] {
            assert!(files.lines().any(|l| l == line), "no {line:?} in\n{files}");
        }
        assert!(!files.contains("lintian") && !files.contains("linux-gnu"), "{files}");
        let scripts = self.do_rpm(&["-qp", "--scripts"], &paths)?;
        assert!(!scripts.contains("#INCLUDE"), "{scripts}");
        Ok(())
    }

    /// The plugin needs our package and its release of Slurm, and excludes that of another.
    fn only_the_right_slurm_will_do(&self) -> Result<()> {
        let [ours, plugin, other] =
            [OURS, PLUGIN, OTHER_PLUGIN].map(|n| self.packages.find(1, &[n]));
        let (ours, plugin, other) = (ours?, plugin?, other?);
        self.do_rpm(&["-i"], &[self.stand_in("24.11.5", &ours)?])?;
        for (packages, complaint) in [
            (plugin.clone(), "carbontracker-slurm >= 0.1.0 is needed by"),
            ([ours.clone(), other.clone()].concat(), "slurm < 22.06~ is needed by"),
            ([ours, plugin, other].concat(), "conflicts with"),
        ] {
            let (said, is_well) = self.rpm(&["-i", "--test"], &packages)?;
            assert!(!is_well && said.contains(complaint), "{complaint:?}, but: {said}");
        }
        Ok(())
    }

    /// A package named slurm of a release that provides also what ours need of a system.
    fn stand_in(&self, release: &str, ours: &[PathBuf]) -> Result<PathBuf> {
        let needs = self.do_rpm(&["-qp", "--requires"], ours)?;
        let needs = needs.lines().filter(|need| !need.starts_with("rpmlib("));
        let provides: String = needs.map(|need| format!("Provides: {need}\n")).collect();
        let spec = self.dir.join("slurm.spec");
        fs::write(
            &spec,
            format!(
                "Name: slurm\nVersion: {release}\nRelease: 1\nSummary: stands for a system\n\
                 License: MIT\nBuildArch: noarch\n{provides}%description\nNone.\n%files\n"
            ),
        )?;
        let built = Command::new("rpmbuild")
            .args(["-bb", "--define", &format!("_topdir {}", self.dir.join("rpmbuild").display())])
            .arg(&spec)
            .output()
            .context("rpmbuild; apt-get install rpm")?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Ok(self.dir.join(format!("rpmbuild/RPMS/noarch/slurm-{release}-1.noarch.rpm")))
    }

    /// Installs the first revision, and starts the daemon as the plugin would.
    fn install(&self) -> Result<u32> {
        let said = self.do_rpm(&["-i"], &self.packages.find(1, &[OURS, PLUGIN])?)?;
        assert!(!said.contains("scriptlet failed"), "{said}");
        assert!(self.in_root(&["ct-report", "--version"])?.contains("0.1.0"));
        assert!(self.in_root(&[DAEMON, "--help"])?.contains("--foreground"));
        assert!(self.in_root(&["id", "carbontracker"])?.starts_with("uid="));
        assert!(self.path(LIBRARY).exists());
        let edited = fs::read_to_string(self.path(CONFIGURATION))? + "# the site's\n";
        fs::write(self.path(CONFIGURATION), edited)?;
        fs::create_dir_all(self.path(ENABLED).parent().context("a directory")?)?;
        symlink("/usr/lib/systemd/system/ct-noded.service", self.path(ENABLED))?;
        let start = format!("setsid -f {DAEMON} --daemon --node n1 </dev/null >/dev/null 2>&1");
        self.in_root(&["sh", "-c", &start])?;
        wait_for("the daemon", || self.daemon())
    }

    /// The daemon is another, started with the same words; the edited configuration stays.
    fn upgrade(&self, before: u32) -> Result<u32> {
        let said = self.do_rpm(&["-U"], &self.packages.find(2, &[OURS, PLUGIN])?)?;
        assert!(!said.contains("scriptlet failed"), "{said}");
        let after = wait_for("the new daemon", || self.daemon().filter(|pid| *pid != before))?;
        assert_eq!(words(after)?, [DAEMON, "--daemon", "--node", "n1"], "{said}");
        assert!(fs::read_to_string(self.path(CONFIGURATION))?.ends_with("# the site's\n"));
        assert!(self.path(LIBRARY).exists() && self.path(ENABLED).symlink_metadata().is_ok());
        let installed = self.do_rpm(&["-q", OURS, PLUGIN], &[])?;
        assert_eq!(installed.matches("0.1.0-2").count(), 2, "{installed}");
        Ok(after)
    }

    fn erase(&self, daemon: u32) -> Result<()> {
        let said = self.do_rpm(&["-e", OURS, PLUGIN], &[])?;
        assert!(!said.contains("scriptlet failed"), "{said}");
        assert_eq!(self.daemon(), None, "daemon {daemon} went with its program");
        for gone in [LIBRARY, "usr/sbin/ct-noded", "usr/bin/ct-report", CONFIGURATION] {
            assert!(!self.path(gone).exists(), "{gone} is left: {said}");
        }
        assert!(self.path(ENABLED).symlink_metadata().is_err(), "the unit is still enabled");
        // What the site wrote, and its accounts, stay.
        assert!(self.path(&format!("{CONFIGURATION}.rpmsave")).exists(), "{said}");
        assert!(self.path("var/spool/carbontracker/ledger").exists());
        Ok(())
    }
}

/// A daemon that a failed test leaves.
impl Drop for Site {
    fn drop(&mut self) {
        if let Some(pid) = self.daemon() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    }
}
