//! Users who wait for their jobs: srun without a script, and allocations without a step.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ct_tests::Site;

use crate::Counts;
use crate::dice::Dice;

/// How long one waits.
const MOST_WAIT: Duration = Duration::from_secs(90);

/// What they run: a name, a client, its arguments.
const COMMANDS: [(&str, &str, &[&str]); 4] = [
    ("of srun", "srun", &["-n1", "--carbontracker=on", "true"]),
    ("of srun, failing", "srun", &["-n1", "false"]),
    ("of srun on two nodes", "srun", &["-N2", "-n2", "sleep", "0.3"]),
    ("allocations without a step", "salloc", &["-n1", "true"]),
];

/// One on all nodes when all is over: a ct-noded that the last fault has ended is started by the next
/// job's hooks, and by nobody else here. How many jobs that were.
pub(crate) fn run_last(site: &Site) -> Result<Counts> {
    let n_nodes = site.cluster.n_nodes();
    let (nodes, tasks) = (format!("-N{n_nodes}"), format!("-n{n_nodes}"));
    let command = site.cluster.command(site.cluster.user(1), "srun");
    command.args(&[&nodes, &tasks, "true"]).timeout(MOST_WAIT).run()?.success();
    Ok(Counts::from([("last, on all nodes", 1)]))
}

/// Runs so many, one after the other.
pub(crate) fn run(site: &Site, n_jobs: usize, seed: u64, end: Instant) -> Result<Counts> {
    let mut dice = Dice::new(seed, 2);
    let mut counts = Counts::new();
    let mut first = dice.order(COMMANDS.len());
    for _ in 0..n_jobs {
        let chosen = first.pop().unwrap_or_else(|| dice.below(COMMANDS.len()));
        let (name, client, args) = COMMANDS[chosen];
        let user = site.cluster.user(1 + dice.below(4));
        let command = site.cluster.command(user, client).args(args);
        // What becomes of it is Slurm's affair: both books have to say the same.
        // One whose slurmd went while its step was launched waits for ever, and is killed.
        let _ = command.timeout(MOST_WAIT).run();
        *counts.entry(name).or_default() += 1;
        if Instant::now() > end {
            bail!("time is up with {counts:?} of {n_jobs} jobs of srun and salloc");
        }
        thread::sleep(dice.millis(200, 1500));
    }
    Ok(counts)
}
