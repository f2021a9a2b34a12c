//! Energy and carbon of Slurm jobs, as values.
//!
//! The modules follow the data: [`source`] reads meters into a [`sample`], [`attribution`] splits
//! the difference of two samples among jobs, [`energy`] and [`node_book`] add it up by component and hour,
//! [`carbon`] turns joules into grams, [`prediction`] looks ahead, and [`log`], [`record`] and
//! [`ledger`] write down what came out. [`job`] is the state of one tracked job between its start
//! and its end. Beside the flow stand what everybody needs: [`units`], [`slurm`], [`option`],
//! [`config`], [`protocol`], [`text`]; `gpu` tells whose GPU is which, [`account`] what accounts have used.
//!
//! This crate knows nothing of Slurm's headers, prints nothing and holds no unsafe code.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod account;
pub mod attribution;
pub mod carbon;
pub mod config;
pub mod counter;
pub mod energy;
#[cfg(feature = "meters")]
pub mod gpu;
#[cfg(feature = "meters")]
pub mod job;
pub mod ledger;
pub mod log;
pub mod node_book;
pub mod option;
pub mod prediction;
pub mod protocol;
pub mod record;
pub mod sample;
#[cfg(feature = "meters")]
pub mod sampler;
pub mod slurm;
#[cfg(feature = "meters")]
pub mod source;
pub mod suggest;
pub mod text;
pub mod units;
