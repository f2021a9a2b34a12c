//! The border to Slurm: nothing that happens behind it fails a job or ends a daemon.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use crate::logging;

/// What Slurm reads as success.
const SUCCESS: c_int = 0;
/// What Slurm reads as failure.
const FAILURE: c_int = -1;

static HOOK: Once = Once::new();
static MESSAGE: Mutex<String> = Mutex::new(String::new());

/// Runs one callback; whatever happens in it, Slurm sees success.
///
/// A non-zero return from a remote callback can drain the node (spank(8), "Errors"), and no
/// measurement is worth that.
pub(crate) fn guard(callback: &str, body: impl FnOnce()) -> c_int {
    guard_choice(callback, || {
        body();
        true
    })
}

/// Runs the option's callback, the only one that may refuse: `false` ends the user's command
/// before anything is queued. A panic is no refusal.
pub(crate) fn guard_choice(callback: &str, body: impl FnOnce() -> bool) -> c_int {
    HOOK.call_once(keep_panics_quiet);
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(true) => SUCCESS,
        Ok(false) => FAILURE,
        Err(_) => {
            logging::panicked(callback, &MESSAGE.lock().unwrap_or_else(PoisonError::into_inner));
            SUCCESS
        }
    }
}

/// Replaces the hook that would print to stderr, which may be a job's. The hook is this library's
/// own: its copy of std is not shared with Slurm or other plugins.
fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        *MESSAGE.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
}
