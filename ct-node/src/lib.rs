//! The node's side: ct-noded, the daemon that measures one node, and ct-track, the user's command.
//!
//! [`station`] is what both share: the meters, the jobs, and what is done at each event. [`server`]
//! and [`dispatch`] answer the protocol, [`log_files`] appends to users' logs, [`outputs`] reads jobs'
//! output for epochs, [`ending`] ends a job that is over its budget, [`pace`] bounds
//! what one user may have in a time; `exchange` is the asking side, `note` reads what the sides leave each other. [`noded`] adds what only a daemon
//! needs, [`track`] what only a command does; [`file_watch`] looks after small files of the site's:
//! [`series_watch`] its intensities, [`account_watch`] what accounts have used.
#![forbid(unsafe_code)]

pub mod account_watch;
pub mod dispatch;
pub mod ending;
mod exchange;
pub mod file_watch;
pub mod log_files;
pub mod logging;
pub mod noded;
mod note;
pub mod outputs;
pub mod pace;
pub mod series_watch;
pub mod server;
pub mod station;
pub mod track;
