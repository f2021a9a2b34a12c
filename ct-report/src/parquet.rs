//! Tables in Parquet files: their columns, how a row is written, how columns are read.
//!
//! Records come in, rows go out, and columns are read back. Plain strings, 64-bit integers and
//! doubles only, so that every engine reads them alike.

pub(crate) mod columns;
pub(crate) mod reader;
pub(crate) mod rows;
pub(crate) mod writer;
