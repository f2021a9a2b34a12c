//! What a hostile user of a node tries, against the real ct-noded: each attack of docs/SECURITY.md is
//! a test here, run with that user's own ids and nothing more.
//!
//! Most need no Slurm: ct-noded is started as root by the test, on a power plant, and attacked by
//! threads and processes that have given up root.
#![expect(clippy::unwrap_used, reason = "a test stops where it cannot go on")]

mod attacker;
mod cluster;
mod flood;
mod handles;
mod identity;
mod noded;
mod privileges;
mod run_dir;
mod side_channel;
mod unit;

/// The job's owner, and another user of the node.
const OWNER: u32 = 4201;
const STRANGER: u32 = 4202;

/// Says whether these tests can run: they start ct-noded as root and attack it as others.
///
/// With `CT_E2E=required` they fail where they cannot.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let is_required = std::env::var("CT_E2E").as_deref() == Ok("required");
        assert!(!is_required, "CT_E2E=required, but only root can start ct-noded as sites do");
        ct_tests::say_skipped("skipped: only root can start ct-noded as sites do");
    }
    is_root
}
