//! The node's side: the daemon and the user's command, thin over ct-core.
#![forbid(unsafe_code)]
