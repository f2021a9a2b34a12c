//! ct-noded: measures one node for all its Slurm jobs.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ct_node::noded::main()
}
