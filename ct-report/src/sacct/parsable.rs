//! `sacct -P`: a head, then one line a job or step, fields between `|`.

use chrono::{DateTime, Utc};

use super::{Allocation, instant, named, state};
use crate::query::time::{Edge, Zone, parse_time};

/// Columns that must be there.
const NEEDED: [&str; 5] = ["JobIDRaw", "User", "State", "Start", "End"];

/// Where the columns are.
struct Head<'a>(Vec<&'a str>);

impl Head<'_> {
    fn get<'l>(&self, fields: &[&'l str], name: &str) -> &'l str {
        let at = self.0.iter().position(|column| column.eq_ignore_ascii_case(name));
        at.and_then(|at| fields.get(at)).copied().unwrap_or_default()
    }
}

/// Reads the text; times without a zone are those of `zone`.
///
/// # Errors
///
/// A needed column that is missing, or a line that is no job, with its number.
pub(crate) fn parse(text: &str, zone: Zone) -> Result<Vec<Allocation>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let head = Head(lines.next().map(|(_, line)| line.split('|').collect()).unwrap_or_default());
    for name in NEEDED {
        if !head.0.iter().any(|column| column.eq_ignore_ascii_case(name)) {
            return Err(format!("column {name} is missing; make it by {COMMAND}"));
        }
    }
    let mut all = Vec::new();
    for (number, line) in lines {
        let fields: Vec<&str> = line.split('|').collect();
        if head.get(&fields, "JobIDRaw").contains('.') {
            continue;
        }
        let one = allocation(&head, &fields, zone);
        all.push(one.map_err(|error| format!("line {}: {error}", number + 1))?);
    }
    Ok(all)
}

/// The columns `sacct` is asked for.
pub(crate) const FORMAT: &str =
    "JobIDRaw,JobID,Cluster,User,Account,Partition,QOS,State,Start,End,AllocTRES,JobName";

const COMMAND: &str = "sacct -a -X -D -P -o JobIDRaw,JobID,Cluster,User,Account,Partition,QOS,State,Start,End,AllocTRES,JobName";

fn allocation(head: &Head<'_>, fields: &[&str], zone: Zone) -> Result<Allocation, String> {
    let get = |name: &str| head.get(fields, name);
    let id = get("JobIDRaw");
    let job_id = id.parse().map_err(|_| format!("JobIDRaw is {id:?}, expected a number"))?;
    let array = get("JobID").split_once('_');
    let task = array.and_then(|(array, task)| Some((array.parse().ok()?, task.parse().ok()?)));
    let tres = get("AllocTRES");
    Ok(Allocation {
        cluster: named(get("Cluster")),
        job_id,
        array_job_id: task.map(|(array, _)| array),
        array_task_id: task.map(|(_, task)| task),
        user: get("User").to_owned(),
        account: named(get("Account")),
        partition: named(get("Partition")),
        qos: named(get("QOS")),
        job_name: named(get("JobName")),
        state: state(get("State")),
        start: time(get("Start"), zone)?,
        end: time(get("End"), zone)?,
        n_cpus: tres_count(tres, "cpu") as u32,
        n_gpus: tres_count(tres, "gres/gpu"),
    })
}

/// A time as sacct prints it, also with `SLURM_TIME_FORMAT=%s`.
fn time(text: &str, zone: Zone) -> Result<Option<DateTime<Utc>>, String> {
    match text {
        "" | "Unknown" | "None" => Ok(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(digits.parse().ok().and_then(instant))
        }
        text => parse_time(text, Edge::Start, zone, Utc::now()).map(Some),
    }
}

/// How many of a resource: of `cpu=2,gres/gpu=4` and `gres/gpu` it is 4.
fn tres_count(tres: &str, name: &str) -> f64 {
    let pairs = tres.split(',').filter_map(|pair| pair.split_once('='));
    let count = pairs.filter(|(key, _)| *key == name).find_map(|(_, count)| count.parse().ok());
    count.filter(|count: &f64| count.is_finite() && *count >= 0.0).unwrap_or(0.0)
}
