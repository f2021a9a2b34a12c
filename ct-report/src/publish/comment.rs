//! The text of an AdminComment: words of the form `name=value`, behind a mark that says whose it is.
//!
//! It has neither quotes, which sacctmgr turns into backticks, nor what would end a field of
//! `sacct -P`.

use super::job::Used;

/// What our comments begin with, whatever their version.
const MARK: &str = "carbontracker:v";

/// The form written here.
const VERSION: u32 = 1;

/// Whether a comment was written by us, by any version.
pub(crate) fn is_ours(comment: &str) -> bool {
    comment.starts_with(MARK)
}

/// What a job used, as text.
pub(crate) fn text(used: &Used) -> String {
    let energy_j = format!("{}.{:06}", used.energy_uj / 1_000_000, used.energy_uj % 1_000_000);
    let measured = used.measured_share().map(|share| format!(" measured={share:.3}"));
    format!(
        "{MARK}{VERSION} energy_j={energy_j} co2e_g={:.6} coverage={:.3}{} nodes={}/{} runs={}",
        used.co2e_g,
        used.coverage(),
        measured.unwrap_or_default(),
        used.n_seen,
        used.n_nodes,
        used.n_runs,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_has_nothing_that_slurms_clients_change() {
        let used = Used {
            energy_uj: 3_600_000_000_001,
            measured_uj: 1_800_000_000_000,
            co2e_g: 480.0,
            covered_s: 3599.0,
            node_s: 3600.0,
            n_seen: 2,
            n_nodes: 2,
            n_runs: 1,
        };
        let text = text(&used);
        assert_eq!(
            text,
            "carbontracker:v1 energy_j=3600000.000001 co2e_g=480.000000 coverage=1.000 \
             measured=0.500 nodes=2/2 runs=1"
        );
        assert!(is_ours(&text) && !text.contains(['"', '\'', '|', ',', '\n', ';']));
        assert!(
            is_ours("carbontracker:v9 anything") && !is_ours("{\"owner\":\"carbontracker:v1\"}")
        );
        let nothing = Used { n_nodes: 1, n_seen: 1, n_runs: 1, ..Used::default() };
        assert_eq!(
            super::text(&nothing),
            "carbontracker:v1 energy_j=0.000000 co2e_g=0.000000 coverage=0.000 nodes=1/1 runs=1"
        );
    }
}
