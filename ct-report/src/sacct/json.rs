//! `sacct --json`, of Slurm 21.08 and later: numbers may be plain or have a `set` beside them, states
//! may be one or a list.

use serde::Deserialize;
use serde_json::Value;

use super::{Allocation, instant, named, state};

#[derive(Deserialize)]
struct Document {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    #[serde(default)]
    cluster: Option<String>,
    job_id: u32,
    #[serde(default)]
    array: Option<Array>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    partition: Option<String>,
    #[serde(default)]
    qos: Option<String>,
    #[serde(default)]
    name: Option<String>,
    state: State,
    time: Time,
    #[serde(default)]
    tres: Option<Tres>,
}

#[derive(Deserialize)]
struct Array {
    #[serde(default)]
    job_id: Value,
    #[serde(default)]
    task_id: Value,
}

#[derive(Deserialize)]
struct State {
    current: Value,
}

#[derive(Deserialize)]
struct Time {
    start: Value,
    end: Value,
}

#[derive(Deserialize)]
struct Tres {
    #[serde(default)]
    allocated: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    count: Value,
}

/// Reads the text.
///
/// # Errors
///
/// What is no such JSON.
pub(crate) fn parse(text: &str) -> Result<Vec<Allocation>, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(document.jobs.into_iter().map(allocation).collect())
}

fn allocation(job: Job) -> Allocation {
    let current = match &job.state.current {
        Value::Array(states) => states.first().and_then(Value::as_str).unwrap_or_default(),
        other => other.as_str().unwrap_or_default(),
    };
    let time = |value: &Value| number(value).and_then(|n| instant(n as i64));
    let array = job.array.and_then(|array| {
        let id = number(&array.job_id).filter(|id| *id > 0.0)?;
        Some((id as u32, number(&array.task_id)? as u32))
    });
    let count = |kind: &str, name: &str| {
        let all = job.tres.iter().flat_map(|tres| &tres.allocated);
        let is_it =
            |r: &&Resource| r.kind == kind && (name.is_empty() || r.name.as_deref() == Some(name));
        all.filter(is_it).find_map(|r| number(&r.count)).filter(|n| *n >= 0.0).unwrap_or(0.0)
    };
    Allocation {
        job_id: job.job_id,
        array_job_id: array.map(|(id, _)| id),
        array_task_id: array.map(|(_, task)| task),
        state: state(current),
        start: time(&job.time.start),
        end: time(&job.time.end),
        n_cpus: count("cpu", "") as u32,
        n_gpus: count("gres", "gpu"),
        cluster: job.cluster.as_deref().and_then(named),
        user: job.user.unwrap_or_default(),
        account: job.account.as_deref().and_then(named),
        partition: job.partition.as_deref().and_then(named),
        qos: job.qos.as_deref().and_then(named),
        job_name: job.name.as_deref().and_then(named),
    }
}

/// A number, plain or as `{"set": true, "number": 7}`.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Object(fields) if fields.get("set") == Some(&Value::Bool(false)) => None,
        Value::Object(fields) => fields.get("number").and_then(Value::as_f64),
        other => other.as_f64(),
    }
}
