//! The man pages: one for each program and each of its commands, and carbontracker.conf(5).

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::reference;

/// What stands in the foot of every page; no date, so that the same source makes the same page.
const SOURCE: &str = concat!("carbontracker-slurm ", env!("CARGO_PKG_VERSION"));
/// What stands in the head.
const MANUAL: &str = "carbontracker for Slurm";

/// Every page with its file name, such as `ct-report-usage.1`.
///
/// # Errors
///
/// Where a text is not UTF-8, which clap does not write.
pub fn all() -> Result<Vec<(String, String)>> {
    let mut pages = Vec::new();
    add(ct_node::noded::command(), "8", &mut pages)?;
    add(ct_node::track::command(), "1", &mut pages)?;
    add(ct_report::command(), "1", &mut pages)?;
    pages.push(("carbontracker.conf.5".to_owned(), reference::page(SOURCE, MANUAL)));
    pages.push(("carbontracker.toml.5".to_owned(), ".so man5/carbontracker.conf.5\n".to_owned()));
    Ok(pages)
}

fn add(command: Command, section: &str, pages: &mut Vec<(String, String)>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    add_built(&command, section, pages)
}

fn add_built(command: &Command, section: &str, pages: &mut Vec<(String, String)>) -> Result<()> {
    let name = page_name(command);
    let shown = command.clone().name(name.clone());
    let man = Man::new(shown).section(section).source(SOURCE).manual(MANUAL).title(name.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    see_also(&name, section).to_writer(&mut text)?;
    text.flush()?;
    pages.push((format!("{name}.{section}"), String::from_utf8(text)?));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        add_built(inner, section, pages)?;
    }
    Ok(())
}

/// `ct-report usage` has the page ct-report-usage.
fn page_name(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    name.replace(' ', "-")
}

fn see_also(name: &str, section: &str) -> Roff {
    let mut roff = Roff::new();
    let own = format!("{name}({section})");
    let others =
        ["ct-noded(8)", "ct-track(1)", "ct-report(1)", "carbontracker.conf(5)", "spank(8)"];
    let others: Vec<_> = others.into_iter().filter(|other| *other != own).collect();
    if name == "ct-noded" {
        roff.control("SH", ["FILES"]);
        for (file, what) in FILES {
            roff.control("TP", []).text([bold(*file)]).text([roman(*what)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    roff
}

/// What ct-noded reads and writes, with the default paths.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/carbontracker/carbontracker.toml",
        "The configuration; read when the daemon starts, so restart it after a change: systemctl \
         restart ct-noded, or, where no unit runs it, kill $(cat /run/carbontracker/noded.pid), \
         and the hooks of the next job start it. Running jobs go on and stay measured.",
    ),
    ("/run/carbontracker/noded.pid", "The process id."),
    ("/run/carbontracker/noded.sock", "The socket; the kernel's word on who connects decides."),
    ("/var/lib/carbontracker", "What survives a restart: running jobs, the last counters."),
    (
        "/var/lib/carbontracker/noded.log",
        "The log of a daemon that the plugin started; one that systemd started logs to the journal.",
    ),
    ("/var/spool/carbontracker/ledger", "The ledger: one file a node and month."),
];
