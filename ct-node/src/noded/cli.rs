//! Command line of ct-noded.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, Parser};
use ct_core::config::Config;

use super::{daemon, startup};
use crate::logging;

/// Measures the energy of one node and splits it among its Slurm jobs
#[derive(Debug, Parser)]
#[command(name = "ct-noded", version)]
pub(super) struct Cli {
    /// Read this configuration instead of /etc/carbontracker/carbontracker.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Name of this node in Slurm; else SLURMD_NODENAME, else the host's name
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// Log to standard error (the default)
    #[arg(long, conflicts_with = "daemon")]
    pub(super) foreground: bool,
    /// Log to noded.log in the state directory, as when started by the plugin
    #[arg(long)]
    pub(super) daemon: bool,
}

/// The whole command line, for the manual and for shells.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs ct-noded; 0 when it was asked to end, or when another one runs already; else 2.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if !cli.daemon {
        logging::to_stderr();
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log::error!("{e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let node = cli.node.clone().unwrap_or_else(node_name);
    let config = Config::load(cli.config.as_deref())
        .map_err(anyhow::Error::from)
        .map_err(|e| {
            anyhow!("{e:#}; ct-noded starts once it is mended: `ct-report check` looks at it")
        })?
        .for_node(&node, &host_name());
    let Some(started) = startup::start(config, node, cli.daemon)? else {
        log::info!("another ct-noded runs on this node");
        return Ok(());
    };
    daemon::run(started, cli.config.clone())
}

fn node_name() -> String {
    std::env::var("SLURMD_NODENAME").ok().filter(|n| !n.is_empty()).unwrap_or_else(|| {
        let host = host_name();
        // Slurm's default NodeHostname is the short name.
        host.split('.').next().unwrap_or(&host).to_owned()
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
