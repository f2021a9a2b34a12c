//! What the plugin, `ct-track` and ct-noded say to each other: one line of JSON each way.
//!
//! A request is `{"v":1,"op":"…",…}`, a reply `{"v":1,"reply":"…",…}`. A connection carries any
//! number of requests, answered in order. File handles travel beside a `logs` request as
//! SCM_RIGHTS. Requests are parsed strictly: an unknown field or operation is an error reply. The
//! peer's credentials, not the message, say who is asking; this module knows only the form.

mod confirm;
mod inbox;
mod job;
mod node;
mod status;

pub use confirm::{Confirm, ConfirmState};
pub use inbox::{Inbox, MOST_HANDLES};
pub use job::{JobEnd, JobFacts, OpenLogs, StepFacts};
pub use node::{MeterStatus, NodeStatus};
pub use status::JobStatus;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::YesNo;
use crate::text::printable_json;

/// Version of the protocol, the field `v`.
pub const VERSION: u32 = 1;
/// Longest message in bytes, newline included.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Name of the socket in `run_dir`.
pub const SOCKET_NAME: &str = "noded.sock";
/// Name of the file in `run_dir` that says that ct-noded's absence was logged; it removes it.
pub const ABSENCE_NAME: &str = "noded.absent";
/// Name of the file in `run_dir` that says that a hook waited for ct-noded in vain; it removes it.
pub const SILENCE_NAME: &str = "noded.silent";
/// Name of the file in `run_dir` that says that a ct-noded was started in vain; it removes it.
pub const START_NAME: &str = "noded.starting";
/// Name of the directory in `run_dir` in which hooks keep ends of jobs that nobody answered for.
pub const ENDED_DIR: &str = "ended";
/// Environment variable of a job: path of the socket.
pub const SOCKET_ENV: &str = "CARBONTRACKER_SOCKET";
/// Environment variable of a job: its id.
pub const JOB_ID_ENV: &str = "CARBONTRACKER_JOB_ID";

/// A request to ct-noded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Is anybody there? Anybody may ask.
    Ping {},
    /// End, for a ct-noded that takes your place. Root only, and heeded only by one that the plugin
    /// started.
    Yield {},
    /// A job starts on this node. Root only.
    JobStart(Box<JobFacts>),
    /// A batch step or srun step starts on this node. Root only.
    StepStart {
        /// What the step knows of its job.
        job: Box<JobFacts>,
        /// What it knows of itself.
        step: StepFacts,
    },
    /// Log files, opened by the job's user; handles come along. The job's user only.
    Logs {
        /// Job the files are for.
        job_id: u32,
    },
    /// The last local task of a step ended, or the batch step. Root only.
    StepEnd {
        /// Its job.
        job_id: u32,
        /// Step name as in `42.batch`, `42.0`.
        step: String,
    },
    /// The job ended on this node. Root only.
    JobEnd(JobEnd),
    /// An epoch starts. The job's user.
    EpochStart {
        /// Its job.
        job_id: u32,
    },
    /// An epoch ends. The job's user.
    EpochEnd {
        /// Its job.
        job_id: u32,
    },
    /// Monitoring of epochs ends early. The job's user.
    Stop {
        /// Its job.
        job_id: u32,
    },
    /// The job's output file, opened for reading by its user; its handle comes along. The job's user
    /// only.
    Output {
        /// The job.
        job_id: u32,
    },
    /// Where are the job's log files? The job's user, who may move them: they are written through
    /// handles.
    LogFiles {
        /// The job.
        job_id: u32,
    },
    /// Keys that the program itself sets, where the job's option does not. The job's user.
    Declare {
        /// Its job.
        job_id: u32,
        /// The keys in the option's grammar, such as `epochs:100`.
        option: String,
    },
    /// The answer to a question of `epoch_end`. The job's user, and nobody else.
    Confirm {
        /// Its job.
        job_id: u32,
        /// Whether it goes on.
        answer: YesNo,
    },
    /// Has the question been answered? The job's user.
    Confirmation {
        /// Its job.
        job_id: u32,
    },
    /// Is the job's owner to end it? Asked by the process that watches a job for its owner.
    Watch {
        /// The job.
        job_id: u32,
    },
    /// How does the job stand? The job's user, or root.
    Status {
        /// The job.
        job_id: u32,
    },
    /// What is measured on this node? Root only.
    Node {},
}

/// ct-noded's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// Done.
    Ok {},
    /// Not done.
    Error {
        /// Why.
        message: String,
    },
    /// Answer to `ping`.
    Pong {
        /// Version of ct-noded.
        version: String,
        /// Its process id.
        pid: u32,
    },
    /// Answer to `job_start` and `step_start`.
    Started {
        /// Whether the job's owner asked for tracking.
        tracked: bool,
        /// The log files that are wanted from this step's user, if any are.
        open_logs: Option<OpenLogs>,
        /// Whether a handle of the step's output file is wanted.
        #[serde(default, skip_serializing_if = "is_false")]
        wants_output: bool,
        /// Whether a process of the step's user is to watch the job, and to end it at its budget.
        #[serde(default, skip_serializing_if = "is_false")]
        wants_watch: bool,
    },
    /// Text for the job's output; empty where there is nothing to say.
    Text {
        /// Lines, ending in a newline.
        text: String,
        /// Whether the log handles were lost (a restart) and should be passed again.
        #[serde(default)]
        need_logs: bool,
        /// The question that is to be answered before the program goes on, and how it stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm: Option<Confirm>,
        /// Whether the asker, as the job's owner, is to end the job.
        #[serde(default, skip_serializing_if = "is_false")]
        end: bool,
    },
    /// Answer to `log_files`.
    LogFiles {
        /// Their directory, an absolute path.
        dir: PathBuf,
        /// Their names in it.
        names: Vec<String>,
    },
    /// Answer to `status`.
    Status(Box<JobStatus>),
    /// Answer to `node`.
    Node(Box<NodeStatus>),
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Reply {
    /// Text and nothing else.
    pub fn text(text: String) -> Self {
        Self::Text { text, need_logs: false, confirm: None, end: false }
    }
}

/// Why a message was not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not JSON, or not an object.
    #[error("message is not a JSON object")]
    Json {
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// Another version of the protocol.
    #[error("message has protocol version {seen}, expected {VERSION}")]
    Version {
        /// The version seen, as JSON.
        seen: String,
    },
    /// A field or operation that does not exist, or lacks.
    #[error("message is not understood")]
    Form {
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// A message as one line, newline included. Nothing in it is obeyed by a terminal that shows it.
///
/// # Errors
///
/// None in practice: requests and replies hold only what JSON can.
pub fn to_line<T: Serialize>(message: &T) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(message)?;
    if let Value::Object(map) = &mut value {
        map.insert("v".to_owned(), VERSION.into());
    }
    Ok(format!("{}\n", printable_json(&value.to_string())))
}

/// Reads a request.
///
/// # Errors
///
/// [`MessageError`], whose text is fit for an error reply.
pub fn parse_request(line: &[u8]) -> Result<Request, MessageError> {
    parse(line)
}

/// Reads a reply.
///
/// # Errors
///
/// [`MessageError`].
pub fn parse_reply(line: &[u8]) -> Result<Reply, MessageError> {
    parse(line)
}

fn parse<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, MessageError> {
    let json = |source| MessageError::Json { source };
    let mut map: serde_json::Map<String, Value> = serde_json::from_slice(line).map_err(json)?;
    match map.remove("v") {
        Some(Value::Number(v)) if v.as_u64() == Some(u64::from(VERSION)) => {}
        other => {
            let seen = other.map_or_else(|| "none".to_owned(), |v| v.to_string());
            return Err(MessageError::Version { seen: seen.chars().take(40).collect() });
        }
    }
    serde_json::from_value(Value::Object(map)).map_err(|source| MessageError::Form { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        for request in [
            Request::Ping {},
            Request::Yield {},
            Request::JobStart(Box::new(JobFacts { job_id: 42, uid: 1000, ..Default::default() })),
            Request::StepStart {
                job: Box::default(),
                step: StepFacts { name: "batch".to_owned(), ..Default::default() },
            },
            Request::EpochEnd { job_id: 1 },
            Request::LogFiles { job_id: 1 },
            Request::Confirm { job_id: 1, answer: YesNo::N },
        ] {
            let line = to_line(&request).unwrap();
            assert!(line.ends_with("}\n") && line.contains("\"v\":1"), "{line}");
            assert_eq!(parse_request(line.as_bytes()).unwrap(), request);
        }
        for reply in [
            Reply::text("a\nb\n".to_owned()),
            Reply::LogFiles { dir: "/home/u/logs".into(), names: vec!["1.log".to_owned()] },
        ] {
            assert_eq!(parse_reply(to_line(&reply).unwrap().as_bytes()).unwrap(), reply);
        }
    }

    #[test]
    fn strangers_are_refused_with_the_reason() {
        for (line, reason) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"{"op":"ping"}"#, "protocol version none"),
            (r#"{"v":2,"op":"ping"}"#, "protocol version 2"),
            (r#"{"v":1,"op":"shutdown"}"#, "not understood"),
            (r#"{"v":1,"op":"status","job_id":-1}"#, "not understood"),
            (r#"{"v":1,"op":"status","job_id":1,"uid":0}"#, "not understood"),
            (r#"{"v":1,"op":"confirm","job_id":1,"answer":"maybe"}"#, "not understood"),
        ] {
            let message = parse_request(line.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(reason), "{line}: {message}");
        }
    }
}
