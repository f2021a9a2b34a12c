//! The SPANK plugin: carries Slurm's hooks to ct-noded as messages.
//!
//! Thin on purpose: a crash here hangs a job or drains a node, even of an optional plugin. So no
//! sampling, no thread, no network; every hook is one guarded call, done within 500 ms, and says
//! success to Slurm whatever happens. This file is what Slurm sees; the module `context` is what is
//! done.
#![warn(missing_docs)]

mod absence;
mod client;
mod context;
mod facts;
#[cfg(feature = "fault-injection")]
mod fault;
mod guard;
mod logging;
mod options;
mod os;
mod silence;
mod site;
mod spank;
mod spawn;
mod sys;
mod untold;

use std::ffi::{c_char, c_int, c_uint};

use context::{job_script, local, remote, slurmd};
use guard::guard;
use spank::{Context, Spank};
use sys::spank_t;

/// Name of the plugin; part of the variable the option travels in.
#[unsafe(no_mangle)]
pub static plugin_name: [u8; 14] = *b"carbontracker\0";

/// Kind of the plugin.
#[unsafe(no_mangle)]
pub static plugin_type: [u8; 6] = *b"spank\0";

/// The Slurm it is built for; another release refuses it.
#[unsafe(no_mangle)]
pub static plugin_version: c_uint = sys::SLURM_VERSION_NUMBER;

/// Version of the plugin itself.
#[unsafe(no_mangle)]
pub static spank_plugin_version: c_uint = 1;

macro_rules! hooks {
    ($($(#[doc = $doc:literal])+ $name:ident => $body:expr;)*) => {$(
        $(#[doc = $doc])+
        ///
        /// # Safety
        ///
        /// Called by Slurm: `spank` must be the handle Slurm passed to this callback and `argv`
        /// must point to `argc` NUL-terminated strings, both valid until the callback returns.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            spank: spank_t,
            argc: c_int,
            argv: *mut *mut c_char,
        ) -> c_int {
            guard(stringify!($name), || {
                // SAFETY: Slurm keeps `spank` and `argv` valid until this callback returns.
                let spank = unsafe { Spank::borrow(spank, argc, argv) };
                #[cfg(feature = "fault-injection")]
                fault::panic_if_asked(spank.args(), stringify!($name));
                let body: fn(&Spank) = $body;
                body(&spank);
            })
        }
    )*};
}

hooks! {
    /// Registers the option; in slurmd, starts ct-noded.
    slurm_spank_init => |spank| match spank::context() {
        Context::Local => local::init(spank),
        Context::Remote => remote::init(spank),
        Context::Slurmd => slurmd::init(spank),
        Context::JobScript | Context::Other => {}
    };
    /// Tells ct-noded of a step.
    slurm_spank_init_post_opt => |spank| if spank::context() == Context::Remote {
        remote::init_post_opt(spank);
    };
    /// Opens the log files as the job's user.
    slurm_spank_user_init => remote::user_init;
    /// Passes on the output file of a job whose epochs are lines of it.
    slurm_spank_task_init => remote::task_init;
    /// Ends an srun step with its last task.
    slurm_spank_task_exit => remote::task_exit;
    /// Ends the batch step.
    slurm_spank_exit => |_| remote::exit();
    /// Tells ct-noded that a job starts on this node.
    slurm_spank_job_prolog => job_script::prolog;
    /// Tells ct-noded that a job ended on this node.
    slurm_spank_job_epilog => job_script::epilog;
}
