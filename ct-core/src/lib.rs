//! Energy and carbon of Slurm jobs, as values.
//!
//! No Slurm headers, no printing, no unsafe code.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
