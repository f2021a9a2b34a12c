//! Makes closed months of a ledger into files of the dataset, and holds these against the ledger.
//!
//! The lines of a month come in, from the ledger and from what was compacted before; tables go out,
//! sorted, so that the same lines give the same bytes in whatever order they came. Nothing of the
//! ledger is touched here but by `prune`.

mod index;
mod month;
mod prune;
mod tables;
mod verify;

pub(crate) use index::{is_closed, months_of};
pub(crate) use month::{Compacted, compact};
pub(crate) use prune::prune;
