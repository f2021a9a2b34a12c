//! The ledger: append-only files by month and node, one line a record.

pub mod reader;
pub mod writer;
