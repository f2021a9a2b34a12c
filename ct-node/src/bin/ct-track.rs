//! ct-track: marks epochs of a job, shows how it stands, or measures a command without Slurm.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ct_node::track::main()
}
