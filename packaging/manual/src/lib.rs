//! What is made from the command lines and from the table of configuration keys.
//!
//! [`pages`] are the man pages, [`completions`] those of shells, [`configuration`] the files of
//! `slurm-conf/` and the table in INSTALL. Nothing here is written by hand twice: the programs'
//! `--help`, the parser and these texts have one source.
#![forbid(unsafe_code)]

pub mod completions;
pub mod configuration;
pub mod pages;
mod reference;
