//! The question of `stop_and_confirm`, as it goes over the socket.

use serde::{Deserialize, Serialize};

/// How a question stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmState {
    /// It waits for its answer.
    Waiting,
    /// The program goes on.
    Y,
    /// The job is to end.
    N,
}

/// A question to the job's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// How it stands.
    pub state: ConfirmState,
    /// How it can be answered, for who reads the job's output.
    pub how: String,
}
