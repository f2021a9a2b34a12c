//! carbontracker's log files: a pair of a standard and an output log per tracked run.
//!
//! [`parser`] reads those of Python carbontracker 1.0.3 to 2.4.7 and our own.

pub mod parser;
pub mod writer;
