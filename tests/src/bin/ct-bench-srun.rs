//! Times `srun /bin/true` without the plugin, with it, and with tracking, and compares medians.
#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use ct_tests::{Cluster, Site};

const RUNS: usize = 20;
/// What tracking may add to a job.
const TARGET: Duration = Duration::from_millis(50);

fn main() -> Result<ExitCode> {
    let bare = Cluster::builder().start()?;
    let site = Site::builder().start()?;
    let kinds: [(&str, &Cluster, &[&str]); 3] = [
        ("without the plugin", &bare, &["/bin/true"]),
        ("--carbontracker=off", &site.cluster, &["--carbontracker=off", "/bin/true"]),
        ("--carbontracker=on", &site.cluster, &["--carbontracker=on", "/bin/true"]),
    ];
    let mut times = [const { Vec::new() }; 3];
    // In turn, so that what else the machine does hits all alike.
    for _ in 0..RUNS {
        for ((_, cluster, args), times) in kinds.iter().zip(&mut times) {
            times.push(time(cluster, args)?);
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    for ((name, ..), median) in kinds.iter().zip(&medians) {
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        println!(
            "srun /bin/true, {name:<20} median of {RUNS}: {:>4} ms, ratio {ratio:.2}",
            median.as_millis()
        );
    }
    let added = medians[2].saturating_sub(medians[0]);
    println!("tracking adds {} ms; target: at most {} ms", added.as_millis(), TARGET.as_millis());
    Ok(if added <= TARGET { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn time(cluster: &Cluster, args: &[&str]) -> Result<Duration> {
    let start = Instant::now();
    cluster.srun(cluster.user(1), args)?.success();
    let elapsed = start.elapsed();
    // The node is free again once the epilog is done; the next run must not wait for it.
    std::thread::sleep(Duration::from_millis(150));
    Ok(elapsed)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
