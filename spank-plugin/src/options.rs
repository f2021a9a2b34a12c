//! `--carbontracker`: registered in every context, checked on the user's terminal, kept for a step.

use std::ffi::{c_char, c_int};
use std::process;
use std::sync::{Mutex, PoisonError};

use ct_core::option::{self, Choice};

use crate::guard::guard_choice;
use crate::spank::{self, Spank};
use crate::sys::spank_option;
use crate::{logging, sys};

/// Slurm's `has_arg`: the argument may be left out.
const OPTIONAL_ARGUMENT: c_int = 2;

/// The text of the option in a step. Slurm refuses to tell it later (`spank_option_getopt` in
/// init_post_opt and exit), so the callback keeps it.
static TEXT: Mutex<Option<String>> = Mutex::new(None);

/// The option as Slurm's structure; the strings are constants, which Slurm only reads.
fn description() -> spank_option {
    let text = |s: &'static std::ffi::CStr| s.as_ptr().cast_mut();
    spank_option {
        name: text(c"carbontracker"),
        arginfo: text(c"on|off|help|KEY:VALUE,..."),
        usage: text(c"track energy and carbon of the job; =help lists the keys"),
        has_arg: OPTIONAL_ARGUMENT,
        val: 0,
        cb: Some(on_option),
    }
}

/// Registers the option.
pub(crate) fn register(spank: &Spank) -> bool {
    spank.register(&mut description())
}

/// The option's text in a prolog or epilog.
pub(crate) fn in_job_script(spank: &Spank) -> Option<String> {
    spank.option_text(&mut description()).map(normal)
}

/// The option's text in a step; told once, to init_post_opt, which follows the callback.
pub(crate) fn in_step() -> Option<String> {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A left-out argument is `(null)` on the terminal and in scripts, nothing in a step: both `on`.
fn normal(text: String) -> String {
    if text.is_empty() || text == "(null)" { "on".to_owned() } else { text }
}

/// Slurm's callback for the option, on the terminal and, with `remote` set, in a step.
extern "C" fn on_option(_val: c_int, text: *const c_char, remote: c_int) -> c_int {
    guard_choice("--carbontracker", || {
        // SAFETY: Slurm passes NULL or the NUL-terminated argument (spank.h).
        let text = normal(unsafe { spank::copy(text) }.unwrap_or_default());
        if remote == 0 {
            return check(&text);
        }
        *TEXT.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        true
    })
}

/// Whether the user's command may go on; `help` ends it here, before anything is queued.
fn check(text: &str) -> bool {
    let problem = if text.contains(char::REPLACEMENT_CHARACTER) {
        "text is not UTF-8, expected UTF-8".to_owned()
    } else {
        match option::parse(text) {
            Ok(Choice::Help) => {
                logging::say(&option::help_text());
                process::exit(0);
            }
            Ok(_) => return true,
            Err(error) => error.to_string(),
        }
    };
    logging::refuse(&format!("--carbontracker: {problem}"));
    false
}

// The callback's type is the header's, so that a change there is seen here.
const _: sys::spank_opt_cb_f = Some(on_option);
