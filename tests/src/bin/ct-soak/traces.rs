//! What the logs say of a job about which the books differ.

use std::fs;

use ct_tests::Site;

/// Lines that are shown of one log.
const MOST: usize = 30;

/// Lines of slurmctld, of slurmds and of ct-nodeds that name the job a problem begins with.
pub(crate) fn of(site: &Site, problem: &str) -> Vec<String> {
    let job = problem.strip_prefix("job ").and_then(|rest| rest.split([' ', ':']).next());
    let Some(job) = job.filter(|job| job.parse::<u32>().is_ok()) else { return Vec::new() };
    let dir = site.cluster.dir();
    let nodes = 1..=site.cluster.n_nodes();
    let logs =
        nodes.flat_map(|n| [site.cluster.slurmd_log(n), site.state_dir(n).join("noded.log")]);
    let logs = std::iter::once(dir.join("log/slurmctld.log")).chain(logs);
    let mut lines = Vec::new();
    for log in logs {
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        let name = log.strip_prefix(dir).unwrap_or(&log).display().to_string();
        let of_job = text.lines().filter(|line| names(line, job));
        lines.extend(of_job.take(MOST).map(|line| format!("{name}: {line}")));
    }
    lines
}

/// Whether a line has the job's number behind the word that Slurm or ct-noded put before it.
fn names(line: &str, job: &str) -> bool {
    ["JobId=", "job ", "Job ", "job_id=", "StepId=", "["].iter().any(|word| {
        line.match_indices(word).any(|(at, word)| {
            let rest = line[at + word.len()..].strip_prefix(job);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}
