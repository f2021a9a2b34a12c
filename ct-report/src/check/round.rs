//! What is looked at on which machine: a node of Slurm's, one that only submits, one without Slurm.

use std::path::{Path, PathBuf};

use chrono::Utc;
use ct_core::config::{Config, DEFAULT_PATH};
use ct_core::protocol::SOCKET_NAME;

use super::machine::{Machine, PROCFS};
use super::{Area, Finding, daemon, intensity, ledger, meters, plugin, slurmd};

/// What a machine is to Slurm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It runs jobs.
    Node,
    /// It has Slurm's commands: jobs are submitted here, or it is the controller.
    Client,
    /// Slurm is not here.
    Bare,
}

/// What the caller names.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    pub(crate) config: Option<&'a Path>,
    pub(crate) plugin: Option<&'a Path>,
    pub(crate) node: Option<&'a str>,
}

/// Looks at this machine; a configuration that is refused is a finding, too.
pub(crate) fn check(named: &Named<'_>, out: &mut Vec<Finding>) {
    let machine = Machine::ask(named.node);
    let line = plugin::line(&machine);
    let has_line = line.is_some();
    let file = named.config.map(Path::to_owned).or_else(|| line.and_then(|line| line.config));
    let (config, mistake) = match Config::load(file.as_deref()) {
        Ok(config) => (config, None),
        Err(e) => (Config::places(file.as_deref()), Some(format!("{:#}", anyhow::Error::from(e)))),
    };
    let config = config.for_node(&machine.node, &machine.host);
    let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    let role = role(&machine, has_line, has_daemon(&config));
    if let Some(mistake) = mistake {
        check_mistaken(&mistake, (role == Role::Node).then_some(&config), out);
        return;
    }
    match role {
        Role::Node => check_node(&machine, named, &config, &file, out),
        Role::Client => check_client(&machine, named, &config, out),
        Role::Bare => check_bare(&machine, named, &config, &file, out),
    }
}

/// A configuration that is refused: all else follows from it, and is looked at when it is right; of a
/// node, whether ct-noded runs with an earlier one.
fn check_mistaken(mistake: &str, node: Option<&Config>, out: &mut Vec<Finding>) {
    let mend = "mend the file at that place, run this again, then `systemctl restart ct-noded`; \
                without systemd the next job's hooks start it; ct-noded(8) and carbontracker.conf(5) \
                have the keys";
    Area::new("config", out).fail(mistake, mend);
    let Some(config) = node else { return };
    let mut area = Area::new("ct-noded", out);
    if daemon::answers(config) {
        area.warn(
            "it runs with the configuration that it read when it started, and would not start again",
            "mend the configuration before it is restarted",
        );
    } else {
        area.fail(
            "it does not run, and does not start with this configuration: no job is measured here",
            "mend the configuration",
        );
    }
}

fn has_daemon(config: &Config) -> bool {
    config.node.run_dir.join(SOCKET_NAME).exists()
}

fn role(machine: &Machine, has_line: bool, has_daemon: bool) -> Role {
    let is_slurm_here = machine.version.is_some() || machine.has_config() || has_line;
    // Where slurmctld does not say whether it is one, what is installed does.
    let is_node = machine.is_listed.unwrap_or(machine.has_slurmd) || has_daemon;
    if machine.slurmd.is_some() || machine.is_named || (is_slurm_here && is_node) {
        Role::Node
    } else if is_slurm_here {
        Role::Client
    } else {
        Role::Bare
    }
}

fn check_node(
    machine: &Machine,
    named: &Named<'_>,
    config: &Config,
    file: &Path,
    out: &mut Vec<Finding>,
) {
    let plugin = plugin::check(machine, named.plugin, out);
    slurmd::check(Path::new(PROCFS), machine, plugin.as_ref(), out);
    let status = daemon::check(config, file, out);
    if let Some(status) = &status {
        meters::check(status, out);
    }
    meters::check_cgroup(config, machine, out);
    ledger::check(config, status.as_ref(), out);
    intensity::check(config, Utc::now(), out);
}

fn check_client(machine: &Machine, named: &Named<'_>, config: &Config, out: &mut Vec<Finding>) {
    pass("slurmd", client_text(machine), out);
    plugin::check(machine, named.plugin, out);
    pass("ct-noded", "it runs on nodes: run this there", out);
    pass("meters", "those of the nodes count, not this machine's", out);
    meters::check_settings(machine, None, out);
    ledger::check_readable(config, out);
    pass("intensity", "jobs are priced on their nodes: run this there", out);
}

/// Why a machine is looked at as one that submits jobs.
fn client_text(machine: &Machine) -> String {
    let why = match machine.is_listed {
        Some(_) => format!("slurmctld knows no node {}", machine.node),
        None => "it is not in the PATH, and slurmctld does not answer".to_owned(),
    };
    format!(
        "none runs here and {why}: looked at as a machine that submits jobs; --node NAME where it is a \
         node of another name"
    )
}

fn check_bare(
    machine: &Machine,
    named: &Named<'_>,
    config: &Config,
    file: &Path,
    out: &mut Vec<Finding>,
) {
    pass(
        "slurmd",
        "none runs here, and neither slurmd nor srun is in the PATH: looked at as a machine without \
         Slurm, where `ct-track run -- CMD` measures",
        out,
    );
    match named.plugin {
        Some(path) => _ = plugin::check_file(machine, Some(path), None, out),
        None => pass("plugin", "only Slurm loads it", out),
    }
    if has_daemon(config) {
        if let Some(status) = daemon::check(config, file, out) {
            meters::check(&status, out);
        }
    } else {
        pass("ct-noded", "`ct-track run` needs none", out);
        pass(
            "meters",
            "`ct-track run --verbose 2 -- true` says what it finds here, and what it models",
            out,
        );
    }
    pass("cgroup", "`ct-track run` counts the whole machine", out);
    pass("ledger", "`ct-track run` writes none; `ct-report` takes its log directories", out);
    let carbon = &config.carbon;
    if carbon.series_file.is_none()
        && carbon.intensity_g_per_kwh.is_none()
        && carbon.country.is_none()
    {
        let text =
            "`ct-track run` takes the annual average of the country that the time zone is of";
        pass("intensity", text, out);
    } else {
        intensity::check(config, Utc::now(), out);
    }
}

fn pass(area: &'static str, text: impl Into<String>, out: &mut Vec<Finding>) {
    Area::new(area, out).pass(text);
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::machine::tests::machine;
    use super::*;

    #[test]
    fn a_configuration_that_is_refused_is_the_finding_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        let text = format!("[node]\nrun_dir = \"{}\"\n[power]\npeu = 1\n", dir.path().display());
        std::fs::write(&file, text).unwrap();
        let mistake = format!("{:#}", anyhow::Error::from(Config::load(Some(&file)).unwrap_err()));
        let config = Config::places(Some(&file));
        let mut out = Vec::new();
        check_mistaken(&mistake, Some(&config), &mut out);
        let found: Vec<(&str, Level)> = out.iter().map(|f| (f.area, f.level)).collect();
        assert_eq!(found, [("config", Level::Error), ("ct-noded", Level::Error)]);
        assert!(out[0].text.contains("c.toml:4: unknown key \"power.peu\""), "{out:#?}");
        // One that runs since before the mistake is not to be restarted.
        let _daemon =
            std::os::unix::net::UnixListener::bind(dir.path().join("noded.sock")).unwrap();
        out.clear();
        check_mistaken(&mistake, Some(&config), &mut out);
        assert_eq!((out[1].area, out[1].level), ("ct-noded", Level::Warning), "{out:#?}");
        // Elsewhere none is to run.
        out.clear();
        check_mistaken(&mistake, None, &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_machine_is_what_slurm_on_it_says() {
        let bare = machine("", "");
        let client = machine("slurm 24.11.5", "PluginDir = /a\n");
        let listed = |is| Machine { is_listed: is, ..client.clone() };
        let installed = |machine: &Machine| Machine { has_slurmd: true, ..machine.clone() };
        for (machine, has_line, has_daemon, expected) in [
            (&bare, false, false, Role::Bare),
            // A ct-noded alone makes no node.
            (&bare, false, true, Role::Bare),
            (&bare, true, false, Role::Client),
            (&Machine { slurmd: Some(7), ..bare.clone() }, false, false, Role::Node),
            (&Machine { is_named: true, ..bare.clone() }, false, false, Role::Node),
            (&client, true, false, Role::Client),
            (&client, true, true, Role::Node),
            (&listed(Some(true)), true, false, Role::Node),
            (&installed(&listed(Some(false))), true, false, Role::Client),
            // slurmctld does not answer.
            (&installed(&listed(None)), true, false, Role::Node),
        ] {
            assert_eq!(role(machine, has_line, has_daemon), expected, "{machine:?}");
        }
    }

    #[test]
    fn what_slurmctld_did_not_say_is_not_said_of_it() {
        let client = machine("slurm 24.11.5", "PluginDir = /a\n");
        let listed = client_text(&Machine { is_listed: Some(false), ..client.clone() });
        assert!(listed.starts_with("none runs here and slurmctld knows no node n1: "), "{listed}");
        let silent = client_text(&client);
        assert!(silent.contains("slurmctld does not answer"), "{silent}");
    }

    #[test]
    fn without_slurm_nothing_is_wrong_and_what_does_not_apply_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.run_dir = dir.path().to_owned();
        let check = |config: &Config| {
            let mut out = Vec::new();
            check_bare(&machine("", ""), &Named::default(), config, Path::new("c"), &mut out);
            out
        };
        let out = check(&config);
        assert!(
            out.iter().all(|f| f.level == Level::NotApplicable && f.mend.is_none()),
            "{out:#?}"
        );
        let areas: Vec<&str> = out.iter().map(|finding| finding.area).collect();
        let all = ["slurmd", "plugin", "ct-noded", "meters", "cgroup", "ledger", "intensity"];
        assert_eq!(areas, all);
        config.carbon.country = Some("DK".to_owned());
        assert_eq!(check(&config).last().map(|finding| finding.level), Some(Level::Ok));
    }
}
