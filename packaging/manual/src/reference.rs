//! carbontracker.conf(5): carbontracker.toml, the plugstack line, and the option's keys.

use ct_core::config::DEFAULT_PATH;
use ct_core::config::keys::{Key, KeyDefault, SECTIONS};
use ct_core::config::plugstack::ARGUMENTS;
use ct_core::option::KEYS;
use roff::{Roff, bold, italic, roman};

/// The page, with what stands in its foot and head.
pub(crate) fn page(source: &str, manual: &str) -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["carbontracker.conf", "5", "", source, manual]);
    roff.control("SH", ["NAME"])
        .text([roman("carbontracker.conf - configuration of carbontracker for Slurm")]);
    roff.control("SH", ["SYNOPSIS"]).text([bold(DEFAULT_PATH)]);
    roff.control("br", []).text([bold("/etc/slurm/plugstack.conf.d/carbontracker.conf")]);
    description(&mut roff);
    configuration(&mut roff);
    plugstack(&mut roff);
    option(&mut roff);
    roff.control("SH", ["SEE ALSO"])
        .text([roman("ct-noded(8), ct-track(1), ct-report(1), spank(8), slurm.conf(5)")]);
    roff.to_roff()
}

fn description(roff: &mut Roff) {
    roff.control("SH", ["DESCRIPTION"]).text([
        bold("carbontracker.toml"),
        roman(
            " configures the plugin, the daemon and the reports. Every key may be left out; an \
             unknown one is an error that names the nearest known one. In paths %n is the node's \
             name in Slurm and %h the host's. ct-noded reads the file when it starts, Slurm's hooks \
             each time.",
        ),
    ]);
    roff.control("PP", []).text([
        roman("The line in "),
        bold("plugstack.conf"),
        roman(", see spank(8), loads the plugin; keep it "),
        bold("optional"),
        roman(", so that a plugin that cannot be loaded costs the measurement and not the job."),
    ]);
}

fn configuration(roff: &mut Roff) {
    roff.control("SH", ["CARBONTRACKER.TOML"]);
    for section in SECTIONS {
        roff.control("SS", [format!("[{}]", section.name).as_str()]);
        if !section.about.is_empty() {
            roff.text([roman(section.about)]);
        }
        for key in section.keys {
            roff.control("TP", []).text(tag(key)).text([roman(key.help)]);
        }
    }
}

fn tag(key: &Key) -> Vec<roff::Inline> {
    let name = bold(key.name);
    match key.default {
        KeyDefault::Is(value) => vec![name, roman(" = "), italic(value)],
        KeyDefault::Unset(example) => {
            vec![name, roman(" (unset; for example "), italic(example), roman(")")]
        }
    }
}

fn plugstack(roff: &mut Roff) {
    roff.control("SH", ["ARGUMENTS IN PLUGSTACK.CONF"]).text([
        bold("optional carbontracker.so"),
        roman(
            " [ARGUMENT=VALUE …]. Besides these, every key of the option is an argument: it sets \
               the site's default.",
        ),
    ]);
    for argument in ARGUMENTS {
        roff.control("TP", [])
            .text([bold(argument.name), roman("="), italic(argument.default)])
            .text([roman(argument.help)]);
    }
}

fn option(roff: &mut Roff) {
    roff.control("SH", ["KEYS OF THE OPTION"]).text([
        bold("--carbontracker="),
        italic("KEY:VALUE[,KEY:VALUE…]"),
        roman(
            " of sbatch, salloc and srun, or on, off, help. A backslash takes the next comma or \
             colon literally. With their defaults:",
        ),
    ]);
    for key in KEYS {
        roff.control("TP", [])
            .text([bold(key.name), roman(" ("), italic(key.default), roman(")")])
            .text([roman(key.help)]);
    }
}
