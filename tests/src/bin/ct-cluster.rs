//! A throwaway Slurm cluster for scripts, and the process that takes it down.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use ct_tests::{Cluster, Proctrack, cluster};

/// A Slurm cluster in a directory of its own.
#[derive(Parser)]
#[command(name = "ct-cluster", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot a cluster that stays, and print its settings as shell assignments
    Up {
        /// Number of nodes
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// Fake GPUs per node
        #[arg(long, default_value_t = 0)]
        gpus: usize,
        /// Track processes without control groups
        #[arg(long)]
        linuxproc: bool,
    },
    /// Take a cluster down
    Down {
        /// Its directory
        dir: PathBuf,
    },
    /// Wait for the end of standard input, then take a cluster down
    Reap {
        /// Its directory
        dir: PathBuf,
    },
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Up { nodes, gpus, linuxproc } => up(nodes, gpus, linuxproc),
        Command::Down { dir } => cluster::teardown(&dir),
        Command::Reap { dir } => cluster::reap(&dir),
    }
}

#[expect(clippy::print_stdout, reason = "the assignments are for the calling shell")]
fn up(nodes: usize, gpus: usize, linuxproc: bool) -> Result<()> {
    let proctrack = if linuxproc { Proctrack::Linuxproc } else { Proctrack::Cgroup };
    let cluster = Cluster::builder().nodes(nodes).gpus(gpus).track(proctrack).start()?;
    println!("export SLURM_CONF={}", cluster.slurm_conf().display());
    println!("export {}={}", cluster::CLUSTER_DIR_VARIABLE, cluster.dir().display());
    cluster.detach();
    Ok(())
}
