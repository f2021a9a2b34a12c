//! What `usage` says beside its table.

use crate::diagnostic::note;
use crate::sacct::join::{Accounted, Seen};

/// Jobs that are named one by one; the rest is counted.
const NAMED: usize = 20;

/// Says which jobs the one side has and the other has not.
pub(super) fn tell(accounted: &Accounted, seen: &Seen) {
    if accounted.n_running > 0 {
        note(&format!("{} job(s) of sacct run still and have no record yet", accounted.n_running));
    }
    if seen.n_strangers > 0 {
        note(&format!("{} record(s) are of no job sacct names", seen.n_strangers));
    }
    let n = accounted.unseen.len();
    if n > 0 {
        let named = accounted.unseen.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" ");
        let more = n.checked_sub(NAMED).filter(|n| *n > 0).map(|n| format!(" and {n} more"));
        note(&format!("{n} job(s) of sacct have no record: {named}{}", more.unwrap_or_default()));
    }
}

/// Says how many runs showed simulated components, which are in no sum.
pub(super) fn tell_simulated(n: usize) {
    if n > 0 {
        note(&format!(
            "{n} run(s) showed simulated components in their blocks: counted is what was metered or \
             modelled"
        ));
    }
}
