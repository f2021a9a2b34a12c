//! The site's word: arguments of the plugstack.conf line, and what the configuration says of the
//! socket. A wrong argument is left out, and said by those who log for administrators.

use std::fs;
use std::path::{Path, PathBuf};

use ct_core::config::Config;
use ct_core::config::plugstack::Argument;
use ct_core::option::OptionSet;
use ct_core::protocol::{JobFacts, SOCKET_NAME};

use crate::logging::{Kind, Log};

/// Arguments of the plugstack.conf line.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// `config=PATH`.
    pub(crate) config: Option<PathBuf>,
    /// `noded=PATH`.
    pub(crate) noded: Option<PathBuf>,
    default: Option<bool>,
    /// Option keys, in the option's own grammar.
    option: Option<String>,
    problems: Vec<String>,
}

impl Site {
    /// Reads the arguments; what is wrong is left out and remembered.
    pub(crate) fn from_args(args: &[String]) -> Self {
        let mut site = Self::default();
        for arg in args {
            if let Err(problem) = site.take(arg) {
                site.problems.push(problem);
            }
        }
        site
    }

    fn take(&mut self, arg: &str) -> Result<(), String> {
        if arg.contains(char::REPLACEMENT_CHARACTER) {
            return Err(format!("argument {arg:?} in plugstack.conf, expected UTF-8"));
        }
        let Some((key, value)) = arg.split_once('=') else {
            return Err(format!("argument {arg:?} in plugstack.conf, expected KEY=VALUE"));
        };
        #[cfg(feature = "fault-injection")]
        if key == "panic" {
            return Ok(());
        }
        let Some(argument) = Argument::named(key) else { return self.take_option(key, value) };
        match argument {
            Argument::Config => self.config = Some(absolute(key, value)?),
            Argument::Noded => self.noded = Some(absolute(key, value)?),
            Argument::Default => match value {
                "on" => self.default = Some(true),
                "off" => self.default = Some(false),
                other => {
                    return Err(format!(
                        "default is {other:?} in plugstack.conf, expected on or off"
                    ));
                }
            },
        }
        Ok(())
    }

    fn take_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let checked = OptionSet::default().set(key, value);
        checked.map_err(|e| format!("argument {key:?} in plugstack.conf: {e}"))?;
        let option = self.option.get_or_insert_default();
        if !option.is_empty() {
            option.push(',');
        }
        option.push_str(key);
        option.push(':');
        for c in value.chars() {
            if matches!(c, ',' | ':' | '\\') {
                option.push('\\');
            }
            option.push(c);
        }
        Ok(())
    }

    /// Says once which arguments are wrong.
    pub(crate) fn report(&self, log: &Log) {
        if !self.problems.is_empty() {
            log.error(Kind::Argument, &format!("ignored: {}", self.problems.join("; ")));
        }
    }

    /// Adds the site's defaults to what is known of a job.
    pub(crate) fn complete(&self, facts: &mut JobFacts) {
        facts.site_default = self.default;
        facts.site_option.clone_from(&self.option);
    }

    /// Where ct-noded is to be found on this node.
    pub(crate) fn service(&self, node: &str, log: &Log) -> Service {
        let config = Config::load(self.config.as_deref()).unwrap_or_else(|error| {
            let cause = std::error::Error::source(&error).map(|s| format!(": {s}"));
            let text = format!(
                "{error}{}; ct-noded does not start before it is mended, one that runs goes on; hint: \
                 `ct-report check` looks at it",
                cause.unwrap_or_default()
            );
            log.error(Kind::Config, &text);
            Config::places(self.config.as_deref())
        });
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let config = config.for_node(node, host.trim());
        Service {
            socket: config.node.run_dir.join(SOCKET_NAME),
            cgroupfs: config.path.cgroupfs,
            trusted: trusted_uids(&config.node.service_user),
        }
    }
}

fn absolute(key: &str, path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(path.into());
    }
    Err(format!("{key} is {path:?} in plugstack.conf, expected an absolute path"))
}

/// ct-noded on this node.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Its socket.
    pub(crate) socket: PathBuf,
    /// The cgroup mount point.
    pub(crate) cgroupfs: PathBuf,
    /// Users it may run as.
    pub(crate) trusted: Vec<u32>,
}

/// Root, and the service user, or nobody, which ct-noded becomes where that user does not exist.
///
/// Read from /etc/passwd, as asking the name service may load libraries and the network into
/// Slurm's daemons. A service user known elsewhere only is trusted as long as ct-noded opens its
/// socket as root, which it does.
fn trusted_uids(service_user: &str) -> Vec<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let exists = passwd.lines().any(|line| line.split(':').next() == Some(service_user));
    let wanted = if exists { service_user } else { "nobody" };
    let uid = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (name == wanted).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    std::iter::once(0).chain(passwd.lines().find_map(uid)).collect()
}

/// This node's name in Slurm.
///
/// Slurm puts it into the environment of slurmstepd, prolog and epilog. slurmd itself has it on its
/// command line where several run on one host; else it is the host's name, without domain.
pub(crate) fn node_name() -> String {
    if let Ok(name) = std::env::var("SLURMD_NODENAME") {
        return name;
    }
    let command_line = fs::read(Path::new("/proc/self/cmdline")).unwrap_or_default();
    name_from_args(&command_line).unwrap_or_else(|| {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        host.trim().split('.').next().unwrap_or_default().to_owned()
    })
}

/// The value of slurmd's `-N`, alone (`-N n1`), joined (`-Nn1`) or after flags (`-DN n1`).
fn name_from_args(command_line: &[u8]) -> Option<String> {
    /// slurmd's options that take no value.
    const FLAGS: &str = "bcCDGhMsvVZ";
    let text = String::from_utf8_lossy(command_line);
    let mut args = text.split('\0').skip(1);
    while let Some(arg) = args.next() {
        let Some(letters) = arg.strip_prefix('-') else { continue };
        let rest = letters.trim_start_matches(|c| FLAGS.contains(c));
        match rest.strip_prefix('N') {
            Some("") => return args.next().map(str::to_owned),
            Some(name) => return Some(name.to_owned()),
            None => {}
        }
    }
    None
}
