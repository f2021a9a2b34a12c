//! Slurm's types, from bindgen, and its functions, looked up when they are needed.
//!
//! rustc calls foreign functions through addresses that the loader fills in at once, even under
//! RTLD_LAZY, unless the whole workspace is built with `-C relro-level=partial`. A program of
//! Slurm's that lacks one of them would then refuse the plugin. dlsym needs no flag, and a missing
//! function costs what it does and nothing else.

#[allow(
    dead_code,
    non_camel_case_types,
    non_snake_case,
    unreachable_pub,
    clippy::use_self,
    reason = "generated"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/spank.rs"));
}
include!(concat!(env!("OUT_DIR"), "/version.rs"));

use std::ffi::{c_char, c_int, c_void};

pub(crate) use bindings::{
    S_CTX_ALLOCATOR, S_CTX_JOB_SCRIPT, S_CTX_LOCAL, S_CTX_REMOTE, S_CTX_SLURMD, S_JOB_ALLOC_CORES,
    S_JOB_ALLOC_MEM, S_JOB_ARRAY_ID, S_JOB_ARRAY_TASK_ID, S_JOB_GID, S_JOB_ID,
    S_JOB_LOCAL_TASK_COUNT, S_JOB_NCPUS, S_JOB_NNODES, S_JOB_NODEID, S_JOB_STEPID, S_JOB_UID,
    S_SLURM_RESTART_COUNT, S_TASK_ID, spank_item_t, spank_opt_cb_f, spank_option, spank_t,
};
use bindings::{spank_context_t, spank_err_t};

/// `ESPANK_SUCCESS`.
pub(crate) const SUCCESS: spank_err_t = 0;

// From slurm.h, which is not bound: step ids that are no numbers, and the number that is none.
pub(crate) const NO_VAL: u32 = 0xffff_fffe;
pub(crate) const EXTERN_STEP: u32 = 0xffff_fffc;
pub(crate) const BATCH_STEP: u32 = 0xffff_fffb;
pub(crate) const INTERACTIVE_STEP: u32 = 0xffff_fffa;

macro_rules! slurm_functions {
    ($($name:ident: $type:ty;)*) => {$(
        /// The function of that name, where this program of Slurm's has it.
        pub(crate) fn $name() -> Option<$type> {
            // The compiler compares the type with the header's here; nothing is linked.
            const _: $type = bindings::$name;
            let name = concat!(stringify!($name), "\0");
            // SAFETY: `name` ends in NUL by the line above.
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
            if symbol.is_null() {
                return None;
            }
            // SAFETY: Slurm exports the function spank.h declares by that name, and the constant
            // above holds this type against that declaration.
            Some(unsafe { std::mem::transmute::<*mut c_void, $type>(symbol) })
        }
    )*};
}

slurm_functions! {
    spank_context: unsafe extern "C" fn() -> spank_context_t;
    spank_option_register: unsafe extern "C" fn(spank_t, *mut spank_option) -> spank_err_t;
    spank_option_getopt:
        unsafe extern "C" fn(spank_t, *mut spank_option, *mut *mut c_char) -> spank_err_t;
    spank_get_item: unsafe extern "C" fn(spank_t, spank_item_t, ...) -> spank_err_t;
    spank_getenv: unsafe extern "C" fn(spank_t, *const c_char, *mut c_char, c_int) -> spank_err_t;
    spank_setenv:
        unsafe extern "C" fn(spank_t, *const c_char, *const c_char, c_int) -> spank_err_t;
    slurm_info: unsafe extern "C" fn(*const c_char, ...);
    slurm_verbose: unsafe extern "C" fn(*const c_char, ...);
    slurm_error: unsafe extern "C" fn(*const c_char, ...);
    slurm_spank_log: unsafe extern "C" fn(*const c_char, ...);
}
