//! Arguments of the plugstack.conf line: what the plugin parses, and what the documents list.

/// An argument of the plugin's own; any other is a key of the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `config=PATH`.
    Config,
    /// `noded=PATH`.
    Noded,
    /// `default=on|off`.
    Default,
}

/// How the documents describe an argument.
#[derive(Debug)]
pub struct ArgumentSpec {
    /// Which one.
    pub argument: Argument,
    /// Its name, before the `=`.
    pub name: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

/// Every argument of the plugin's own.
pub static ARGUMENTS: &[ArgumentSpec] = &[
    ArgumentSpec {
        argument: Argument::Config,
        name: "config",
        default: super::DEFAULT_PATH,
        help: "the configuration, an absolute path; handed to a ct-noded that the plugin starts",
    },
    ArgumentSpec {
        argument: Argument::Noded,
        name: "noded",
        default: "ct-noded",
        help: "the daemon, an absolute path; else looked for in /usr/sbin, /usr/bin, /usr/local/sbin",
    },
    ArgumentSpec {
        argument: Argument::Default,
        name: "default",
        default: "off",
        help: "whether a job without --carbontracker is tracked: on or off; the ledger has every \
               job either way",
    },
];

impl Argument {
    /// The argument of that name; none for a key of the option.
    pub fn named(name: &str) -> Option<Self> {
        ARGUMENTS.iter().find(|spec| spec.name == name).map(|spec| spec.argument)
    }
}
