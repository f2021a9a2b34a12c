//! Every section and key of carbontracker.toml, once: the parser knows its keys from here, and
//! the shipped file, the table in INSTALL and carbontracker.conf(5) are written from it.

/// One section.
#[derive(Debug)]
pub struct Section {
    /// Its name, with that of the section it lies in: `track.limits`.
    pub name: &'static str,
    /// What it is about; nothing where the keys say it all.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Whether its keys are checked elsewhere: they are those of the option.
    pub is_open: bool,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the section.
    pub name: &'static str,
    /// What it is where it is unset.
    pub default: KeyDefault,
    /// What it means: unit, reason, and what is allowed.
    pub help: &'static str,
}

/// The default of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDefault {
    /// This value, as TOML.
    Is(&'static str),
    /// None, or one that depends on the node; with an example, as TOML.
    Unset(&'static str),
}

const fn is(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default: KeyDefault::Is(default), help }
}

const fn unset(name: &'static str, example: &'static str, help: &'static str) -> Key {
    Key { name, default: KeyDefault::Unset(example), help }
}

const fn section(name: &'static str, about: &'static str, keys: &'static [Key]) -> Section {
    Section { name, about, keys, is_open: false }
}

/// Every section, in the order of the file.
pub static SECTIONS: &[Section] = &[
    section("node", "", NODE),
    section("path", "Where the kernel's trees are.", PATH),
    section("track", "", TRACK),
    Section {
        name: "track.options",
        about: "Site defaults of the option's keys, such as: update_interval = 5. The job's own \
                keys win over those of the plugstack line, and those over these. Simulated \
                components (sim_cpu, sim_gpu …) change what a job's logs show, never the ledger.",
        keys: &[],
        is_open: true,
    },
    section("track.limits", "", LIMITS),
    section("attribution", "", ATTRIBUTION),
    section(
        "attribution.idle_w",
        "Watts that one device draws with no job. Where it is unset, it is learned while nobody \
         holds the device; until then idle energy is split by activity as well, and every record \
         says so.",
        IDLE_W,
    ),
    section("power", "", POWER),
    section(
        "carbon",
        "Of each hour the series counts, where it has a value, else the fixed intensity, else the \
         country's annual average, else the world's of 2024, 445 g/kWh; every record says what was \
         used.",
        CARBON,
    ),
    section(
        "carbon.fetch",
        "How \"ct-report intensity fetch\" fills the series file, on one host that has the network.",
        FETCH,
    ),
    section("ledger", "", LEDGER),
    section(
        "budget",
        "What accounts may draw in a month. Off without an account. \"ct-report budget --write\", run \
         by a timer, adds up what their jobs have used; a running job adds its own.",
        BUDGET,
    ),
    Section {
        name: "budget.account",
        about: "Budgets by account, with PUE, such as: physics = { energy_kwh = 500, co2_g = 200000, \
                on_budget = \"stop\" }. \"*\" is every account without one of its own. \"warn\", the \
                default, says it in the logs, the output and the record of each job; \"stop\" also \
                ends the jobs that run when it is passed.",
        keys: &[],
        is_open: true,
    },
];

const NODE: &[Key] = &[
    is(
        "service_user",
        r#""carbontracker""#,
        "User that ct-noded becomes after it has opened the counters, which are root's; \"nobody\" \
         where it does not exist.",
    ),
    is(
        "run_dir",
        r#""/run/carbontracker""#,
        "Directory of the socket noded.sock; %n in it where several slurmd run on one host.",
    ),
    is(
        "state_dir",
        r#""/var/lib/carbontracker""#,
        "Directory of what survives a restart: running jobs, the last counters.",
    ),
    is(
        "sample_idle_s",
        "60",
        "Seconds between samples while no job runs; at most 15 while idle power is being learned. \
         RAPL counters wrap: 262 kJ are 22 minutes at 200 W.",
    ),
    unset(
        "nvml_library",
        r#""/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1""#,
        "NVML library, where it is not in the loader's path.",
    ),
];

const PATH: &[Key] = &[
    is("sysfs", r#""/sys""#, "The sysfs mount point: counters of CPUs, GPUs and the node."),
    is("procfs", r#""/proc""#, "The procfs mount point: CPU time, processes."),
    is("cgroupfs", r#""/sys/fs/cgroup""#, "The cgroup mount point: CPU time of jobs."),
];

const TRACK: &[Key] = &[
    is(
        "default",
        r#""off""#,
        "Whether a job without the option is tracked: \"on\" or \"off\". The argument default= of \
         plugstack.conf comes first. The ledger has every job either way.",
    ),
    is(
        "allow_stop",
        "false",
        "Whether ct-noded keeps the capability CAP_KILL and itself ends the processes of a job that \
         is to end at its budget, or at its account's. Without it the job is ended as its owner: by \
         its own ct-track at the next mark of an epoch, or by the process \"ct-track watch\" that the \
         plugin starts in such jobs.",
    ),
    is("stop_grace_s", "30", "Seconds between SIGTERM and SIGKILL then."),
    is(
        "confirm_timeout_s",
        "600",
        "Seconds that a job with stop_and_confirm waits for an answer, 0 for ever.",
    ),
    is(
        "confirm_default",
        r#""y""#,
        "What counts as the answer where nobody gives one: \"y\" (go on) or \"n\" (the job ends).",
    ),
];

const LIMITS: &[Key] = &[is(
    "update_interval_min_s",
    "0.1",
    "Shortest update_interval in seconds; a shorter one is raised to it, so that no job makes the \
     daemon busy.",
)];

const ATTRIBUTION: &[Key] = &[is(
    "policy",
    r#""hybrid""#,
    "How a node's energy is split: \"hybrid\" (idle energy by allocation, the rest by activity), \
     \"allocated\", \"usage\", or \"node\" (the whole node to each job; not additive).",
)];

const IDLE_W: &[Key] = &[
    unset("cpu", "40", "Watts of one CPU package."),
    unset("dram", "5", "Watts of the memory of one package."),
    unset("gpu", "50", "Watts of one GPU."),
    unset("rest", "80", "Watts of the rest of the node: its own meter less CPUs, memory and GPUs."),
];

const POWER: &[Key] = &[
    unset(
        "pue",
        "1.3",
        "Power usage effectiveness of the data centre; 1.58 if unset, and said so.",
    ),
    unset(
        "cpu_tdp_watts",
        "205",
        "TDP in watts of one CPU package, for nodes without an energy counter. Unset: that of a \
         table of common CPUs (a guest has its cores' share of it), else 12 W per core. Every record \
         says that it was modelled, and from what.",
    ),
    unset(
        "cpu_idle_watts",
        "25",
        "Watts of an idle CPU package, for nodes without an energy counter; 12 % of the TDP if unset.",
    ),
];

const CARBON: &[Key] = &[
    unset(
        "series_file",
        r#""/var/spool/carbontracker/intensity.csv""#,
        "File of intensities by time, \"time,zone,g_per_kwh,source\", which every node can read; \
         see \"ct-report intensity fetch\".",
    ),
    unset(
        "zone",
        r#""DK-DK1""#,
        "Zone of the file whose values count; without a file the name of the zone of a fixed \
         intensity.",
    ),
    is("series_check_s", "60", "Seconds between two looks whether the file has changed."),
    unset(
        "intensity_g_per_kwh",
        "143.3",
        "Carbon intensity of the site's electricity in gCO2e/kWh, for hours that the file does not \
         have.",
    ),
    unset(
        "country",
        r#""DK""#,
        "Country of the built-in table, by ISO 3166-1 code or English name; else that of the zone's \
         first two letters.",
    ),
    unset("embodied_g_per_node_hour", "30", "Embodied footprint of a node per hour, in gCO2e."),
    unset("water_l_per_kwh", "1.8", "Water in litres per kWh."),
];

const FETCH: &[Key] = &[
    unset(
        "provider",
        r#""electricitymaps""#,
        "\"electricitymaps\" (with a token; zones such as \"DE\" or \"DK-DK1\"), \"carbonintensity\" \
         (Great Britain: \"GB\", a region \"GB-1\" to \"GB-17\", a postcode \"GB-RG10\") or \
         \"energidataservice\" (\"DK1\", \"DK2\").",
    ),
    unset(
        "token_file",
        r#""/etc/carbontracker/electricitymaps.token""#,
        "File with the token, mode 0600, of the user who fetches.",
    ),
    unset(
        "base_url",
        r#""https://api.electricitymaps.com""#,
        "Another address than the provider's own, such as a proxy's; with a token it has to be \
         https, or this host.",
    ),
    is("horizon_h", "24", "Hours ahead that a forecast is asked for."),
    is("history_h", "24", "Hours back that are asked for."),
];

const LEDGER: &[Key] = &[
    is(
        "dir",
        r#""/var/spool/carbontracker/ledger""#,
        "Directory of the ledger. Best a file system that all nodes share and the service user can \
         write.",
    ),
    unset("cluster", r#""lab""#, "Cluster name in records; Slurm's ClusterName if unset."),
];

const BUDGET: &[Key] = &[
    is(
        "timezone",
        r#""UTC""#,
        "Zone in which months begin: \"UTC\", \"local\" or a name such as \"Europe/Berlin\".",
    ),
    is("check_s", "60", "Seconds between two looks whether there are new sums."),
];

/// Names of a section's keys and of the sections in it; `None` where there is no such section, or
/// its keys are checked elsewhere. The root is the section "".
pub(super) fn names_in(section: &str) -> Option<Vec<&'static str>> {
    let known = SECTIONS.iter().find(|s| s.name == section);
    if !section.is_empty() && known.is_none_or(|s| s.is_open) {
        return None;
    }
    let keys = known.into_iter().flat_map(|s| s.keys).map(|key| key.name);
    let inner = SECTIONS.iter().filter_map(|s| match section {
        "" => Some(s.name),
        _ => s.name.strip_prefix(section)?.strip_prefix('.'),
    });
    Some(keys.chain(inner.filter(|name| !name.contains('.'))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_knows_its_keys_and_the_sections_in_it() {
        assert_eq!(names_in("track.limits"), Some(vec!["update_interval_min_s"]));
        assert!(names_in("track").unwrap().ends_with(&["confirm_default", "options", "limits"]));
        let roots = ["node", "path", "track", "attribution", "power", "carbon", "ledger", "budget"];
        assert_eq!(names_in(""), Some(roots.to_vec()));
        assert_eq!(names_in("track.options"), None);
        assert_eq!(names_in("nodes"), None);
    }
}
