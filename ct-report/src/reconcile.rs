//! Holds what the meters of a node counted against what the records of its jobs say.
//!
//! Lines of nodes and records of jobs come in, rows and what they cannot explain go out. Knows
//! no file and no format. The energy of jobs is that of their own records, not that the node's lines
//! say of them: a record that was lost, doubled or altered has to show.

mod balance;
mod book;
mod finding;
pub(crate) mod row;
#[cfg(test)]
mod tests;

pub(crate) use balance::Balance;
pub(crate) use book::Book;
pub(crate) use finding::Finding;
pub(crate) use row::{Key, Rows};

/// A run of a job on a node: its id and restart count.
type JobRun = (u32, u32);
