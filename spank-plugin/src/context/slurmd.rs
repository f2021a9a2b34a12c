//! slurmd: ct-noded is started with it, if none answers yet.

use ct_core::protocol::Request;

use crate::absence;
use crate::client::{Client, ClientError, patience};
use crate::logging::Log;
use crate::site::{Site, node_name};
use crate::spank::Spank;
use crate::spawn::{self, Birthplace};

/// Makes sure that a ct-noded runs.
pub(crate) fn init(spank: &Spank) {
    let log = Log::of_slurmd();
    let site = Site::from_args(spank.args());
    site.report(&log);
    let node = node_name();
    let service = site.service(&node, &log);
    let answer =
        Client::connect(&service, patience(&service)).and_then(|c| c.ask(&Request::Ping {}));
    match answer {
        Ok(_) => {}
        Err(ClientError::Absent { .. } | ClientError::Stranger { .. }) => {
            spawn::start(&site, &service, &node, Birthplace::Slurmd, &log);
        }
        Err(error) => absence::report(&log, &service, &error),
    }
}
