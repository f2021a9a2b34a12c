//! What Slurm on this machine says of itself: its release, where its plugins and files are.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::elf::Release;
use super::slurmd;
use crate::slurm;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The file that names Slurm's plugins.
const PLUGSTACK: &str = "plugstack.conf";
/// Where the kernel tells of processes.
pub(crate) const PROCFS: &str = "/proc";

/// Slurm here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Release of what is installed, in its own words: `slurm-wlm 22.05.8`.
    pub(crate) version: Option<String>,
    /// What `scontrol show config` says; empty where slurmctld does not answer.
    pub(super) config: BTreeMap<String, String>,
    /// The node's name in Slurm.
    pub(crate) node: String,
    /// The host's name.
    pub(crate) host: String,
    /// Whether the caller or Slurm named the node.
    pub(crate) is_named: bool,
    /// The node's slurmd, where it runs.
    pub(crate) slurmd: Option<u32>,
    /// Whether slurmd is installed.
    pub(crate) has_slurmd: bool,
    /// Whether slurmctld knows a node of this name; `None` where it does not answer.
    pub(crate) is_listed: Option<bool>,
}

impl Machine {
    /// Asks Slurm.
    pub(crate) fn ask(node: Option<&str>) -> Self {
        let told = |program: &str, args: &[&str]| {
            let answer = slurm::run(program, args, PATIENCE).ok().filter(|a| a.is_success);
            answer.map(|answer| answer.out)
        };
        // slurmd is what loads the plugin on a node, srun on a login node.
        let of_slurmd = told("slurmd", &["-V"]);
        let has_slurmd = of_slurmd.is_some();
        let version = of_slurmd.or_else(|| told("srun", &["-V"]));
        let config = parse(&told("scontrol", &["show", "config"]).unwrap_or_default());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let short = host.split('.').next().unwrap_or(&host).to_owned();
        let node = node.map(str::to_owned).or_else(|| env::var("SLURMD_NODENAME").ok());
        let is_named = node.is_some();
        let node = node.unwrap_or(short);
        let is_listed =
            (!config.is_empty()).then(|| told("scontrol", &["show", "node", &node]).is_some());
        Self {
            version: version.map(|text| text.trim().to_owned()),
            config,
            slurmd: slurmd::find(Path::new(PROCFS), &node),
            node,
            host,
            is_named,
            has_slurmd,
            is_listed,
        }
    }

    /// Release that plugins have to be built for.
    pub(crate) fn release(&self) -> Option<Release> {
        Release::from_text(self.version.as_deref()?)
    }

    /// A value of slurm.conf, if slurmctld told it.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str).filter(|value| *value != "(null)")
    }

    /// Whether slurmctld told its configuration.
    pub(crate) fn has_config(&self) -> bool {
        !self.config.is_empty()
    }

    /// The file that names plugins: as configured, else beside slurm.conf; on a node of configless
    /// Slurm, where neither is, what slurmd fetched.
    pub(crate) fn plugstack(&self) -> PathBuf {
        let told = self.get("PlugStackConfig").map(PathBuf::from);
        let told = told.unwrap_or_else(|| {
            let conf =
                env::var("SLURM_CONF").ok().or_else(|| self.get("SLURM_CONF").map(str::to_owned));
            let conf = conf.unwrap_or_else(|| "/etc/slurm/slurm.conf".to_owned());
            Path::new(&conf).parent().unwrap_or(Path::new("/etc/slurm")).join(PLUGSTACK)
        });
        if told.exists() {
            return told;
        }
        let spool = self.get("SlurmdSpoolDir").unwrap_or("/var/spool/slurmd");
        let spool = spool.replace("%n", &self.node).replace("%h", &self.host);
        let fetched = [PathBuf::from("/run/slurm/conf"), Path::new(&spool).join("conf-cache")];
        fetched.map(|dir| dir.join(PLUGSTACK)).into_iter().find(|f| f.exists()).unwrap_or(told)
    }

    /// Where a plugin is that plugstack.conf names without a directory.
    pub(crate) fn plugin(&self, named: &Path) -> Option<PathBuf> {
        if named.is_absolute() {
            return Some(named.to_owned());
        }
        let dirs = self.get("PluginDir").unwrap_or(
            "/usr/lib/x86_64-linux-gnu/slurm-wlm:/usr/lib/aarch64-linux-gnu/slurm-wlm:\
             /usr/lib64/slurm:/usr/lib/slurm:/usr/local/lib/slurm",
        );
        dirs.split(':').map(|dir| Path::new(dir).join(named)).find(|path| path.exists())
    }
}

/// Lines of the form `Key = value`.
fn parse(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine of this release and configuration.
    pub(crate) fn machine(version: &str, config: &str) -> Machine {
        let version = Some(version.to_owned()).filter(|version| !version.is_empty());
        let (node, host) = ("n1".to_owned(), "n1.example".to_owned());
        Machine { version, config: parse(config), node, host, ..Machine::default() }
    }

    #[test]
    fn what_slurmctld_tells_comes_before_what_is_usual() {
        let told = machine(
            "slurm-wlm 22.05.8",
            "Configuration data as of now\nPlugStackConfig         = (null)\n\
             SLURM_CONF              = /opt/slurm/slurm.conf\nPluginDir = /a:/b\n",
        );
        assert_eq!(told.release().unwrap().to_string(), "22.05");
        assert_eq!((told.get("PluginDir"), told.get("PlugStackConfig")), (Some("/a:/b"), None));
        if env::var_os("SLURM_CONF").is_none() {
            assert_eq!(told.plugstack(), Path::new("/opt/slurm/plugstack.conf"));
        }
        let spool = tempfile::tempdir().unwrap();
        let cache = spool.path().join("n1/conf-cache");
        std::fs::create_dir_all(&cache).unwrap();
        let config = format!(
            "PlugStackConfig = /x/p.conf\nSlurmdSpoolDir = {}/%n\n",
            spool.path().display()
        );
        let fetched = cache.join("plugstack.conf");
        std::fs::write(&fetched, "").unwrap();
        assert_eq!(machine("", &config).plugstack(), fetched);
        let named = machine("", "PlugStackConfig = /x/p.conf\n");
        assert_eq!((named.plugstack(), named.release()), (PathBuf::from("/x/p.conf"), None));
        assert_eq!(named.plugin(Path::new("/y/c.so")), Some(PathBuf::from("/y/c.so")));
    }
}
