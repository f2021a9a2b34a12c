//! What happens in each context, in callback order.

pub(crate) mod job_script;
pub(crate) mod local;
pub(crate) mod remote;
pub(crate) mod slurmd;
