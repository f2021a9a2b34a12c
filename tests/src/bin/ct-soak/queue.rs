//! What is in Slurm's queue.

use anyhow::{Context, Result};
use ct_tests::Site;

/// A job, or a task of an array.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) array: u32,
    pub(crate) id: u32,
    /// As scancel takes it: it does not always know a task by its own id.
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) restarts: u32,
    pub(crate) seconds: u64,
    pub(crate) reason: String,
}

/// All that wait, run or are being ended; `None` where slurmctld does not say.
pub(crate) fn look(site: &Site) -> Option<Vec<Queued>> {
    let fields = "ArrayJobID:|,ArrayTaskID:|,JobID:|,State:|,RestartCnt:|,TimeUsed:|,Reason:";
    let said = site.cluster.squeue(&["-h", "-r", "-O", fields]).ok()?;
    let lines = said.is_success().then(|| said.stdout().lines().map(parse).collect());
    lines.and_then(Result::ok)
}

fn parse(line: &str) -> Result<Queued> {
    let fields: Vec<&str> = line.splitn(7, '|').map(str::trim).collect();
    let [array, task, id, state, restarts, used, reason] = fields[..] else {
        anyhow::bail!("squeue says {line:?}");
    };
    let id: u32 = id.parse().with_context(|| line.to_owned())?;
    let is_task = task.parse::<u32>().is_ok();
    Ok(Queued {
        name: if is_task { format!("{array}_{task}") } else { id.to_string() },
        // Of a job that is no array it is no number.
        array: array.parse().unwrap_or(id),
        id,
        state: state.to_owned(),
        restarts: restarts.parse()?,
        seconds: seconds(used),
        reason: reason.to_owned(),
    })
}

/// Seconds of `MM:SS`; of anything longer a minute or more.
fn seconds(used: &str) -> u64 {
    let (minutes, seconds) = used.rsplit_once(':').unwrap_or(("0", used));
    let minutes: u64 = minutes.parse().unwrap_or(1);
    minutes * 60 + seconds.parse::<u64>().unwrap_or(0)
}
