//! The handle Slurm passes to a callback, made safe.
//!
//! What Slurm lends is copied at once and never kept beyond the callback. A missing function or
//! item is `None`: versions and contexts differ in what they know.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::marker::PhantomData;
use std::ptr;

use crate::sys::{self, spank_item_t, spank_option, spank_t};

/// Where the plugin was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// srun, sbatch, salloc.
    Local,
    /// slurmstepd.
    Remote,
    /// slurmd.
    Slurmd,
    /// Prolog or epilog.
    JobScript,
    /// Anything else.
    Other,
}

/// A borrowed SPANK handle with the plugin's arguments.
pub(crate) struct Spank<'a> {
    handle: spank_t,
    args: Vec<String>,
    lifetime: PhantomData<&'a ()>,
}

impl Spank<'_> {
    /// Borrows the handle for one callback.
    ///
    /// # Safety
    ///
    /// `handle` must be what Slurm passed to the running callback. `argv` must be NULL or point to
    /// `argc` pointers, each NULL or to a NUL-terminated string, valid until the callback returns.
    pub(crate) unsafe fn borrow(handle: spank_t, argc: c_int, argv: *mut *mut c_char) -> Self {
        let argc = if argv.is_null() { 0 } else { usize::try_from(argc).unwrap_or(0) };
        let mut args = Vec::new();
        for i in 0..argc {
            // SAFETY: the caller promises `argc` pointers at `argv`.
            let slot = unsafe { argv.add(i) };
            // SAFETY: as above, `slot` is one of them.
            let arg = unsafe { slot.read() };
            // SAFETY: the caller promises NULL or a NUL-terminated string.
            args.extend(unsafe { copy(arg) });
        }
        Self { handle, args, lifetime: PhantomData }
    }

    /// The arguments of the plugstack.conf line.
    pub(crate) fn args(&self) -> &[String] {
        &self.args
    }

    /// Registers an option. Slurm copies it.
    pub(crate) fn register(&self, option: &mut spank_option) -> bool {
        let Some(register) = sys::spank_option_register() else { return false };
        // SAFETY: Slurm lent the handle for this callback; `option` is valid and is copied.
        unsafe { register(self.handle, option) == sys::SUCCESS }
    }

    /// The text given with an option, if it was given; for prolog and epilog.
    pub(crate) fn option_text(&self, option: &mut spank_option) -> Option<String> {
        let getopt = sys::spank_option_getopt()?;
        let mut text: *mut c_char = ptr::null_mut();
        // SAFETY: Slurm lent the handle for this callback; `option` and `text` are valid.
        let rc = unsafe { getopt(self.handle, option, &raw mut text) };
        if rc != sys::SUCCESS {
            return None;
        }
        // SAFETY: on success spank_option_getopt leaves NULL or a string Slurm owns.
        Some(unsafe { copy(text) }.unwrap_or_default())
    }

    /// An item that Slurm writes as a 16 bit number.
    pub(crate) fn item_u16(&self, item: spank_item_t) -> Option<u16> {
        let mut value = 0_u16;
        self.item(item, &raw mut value).then_some(value)
    }

    /// An item that Slurm writes as a 32 bit number, uid_t and gid_t among them.
    pub(crate) fn item_u32(&self, item: spank_item_t) -> Option<u32> {
        let mut value = 0_u32;
        self.item(item, &raw mut value).then_some(value)
    }

    /// An item that Slurm writes as a 64 bit number.
    pub(crate) fn item_u64(&self, item: spank_item_t) -> Option<u64> {
        let mut value = 0_u64;
        self.item(item, &raw mut value).then_some(value)
    }

    /// An item that is a string of Slurm's.
    pub(crate) fn item_text(&self, item: spank_item_t) -> Option<String> {
        let mut value: *mut c_char = ptr::null_mut();
        if !self.item(item, &raw mut value) {
            return None;
        }
        // SAFETY: on success spank_get_item leaves NULL or a string Slurm owns.
        unsafe { copy(value) }
    }

    fn item<T>(&self, item: spank_item_t, value: *mut T) -> bool {
        let Some(get) = sys::spank_get_item() else { return false };
        // SAFETY: Slurm lent the handle for this callback; the callers above pass a pointer to
        // the type spank.h names for the item, zeroed, so that an item it does not know is 0.
        unsafe { get(self.handle, item, value) == sys::SUCCESS }
    }

    /// A variable of the job's environment; `None` where it is missing or longer than `max`.
    pub(crate) fn getenv(&self, name: &str, max: usize) -> Option<String> {
        let get = sys::spank_getenv()?;
        let name = CString::new(name).ok()?;
        let mut buffer = vec![0_u8; max + 1];
        let len = c_int::try_from(buffer.len()).ok()?;
        // SAFETY: Slurm lent the handle for this callback; `buffer` has `len` bytes.
        let rc = unsafe { get(self.handle, name.as_ptr(), buffer.as_mut_ptr().cast(), len) };
        if rc != sys::SUCCESS {
            return None;
        }
        let text = CStr::from_bytes_until_nul(&buffer).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// Sets a variable in the job's environment.
    pub(crate) fn setenv(&self, name: &str, value: &str) -> bool {
        let (Some(set), Ok(name), Ok(value)) =
            (sys::spank_setenv(), CString::new(name), CString::new(value))
        else {
            return false;
        };
        // SAFETY: Slurm lent the handle for this callback; both strings end in NUL and are copied.
        unsafe { set(self.handle, name.as_ptr(), value.as_ptr(), 1) == sys::SUCCESS }
    }
}

/// The context of the running callback.
pub(crate) fn context() -> Context {
    let Some(ask) = sys::spank_context() else { return Context::Other };
    // SAFETY: spank_context takes nothing and may be called from any callback (spank.h).
    let context: c_uint = unsafe { ask() };
    match context {
        sys::S_CTX_LOCAL | sys::S_CTX_ALLOCATOR => Context::Local,
        sys::S_CTX_REMOTE => Context::Remote,
        sys::S_CTX_SLURMD => Context::Slurmd,
        sys::S_CTX_JOB_SCRIPT => Context::JobScript,
        _ => Context::Other,
    }
}

/// Copies a C string; bytes that are not UTF-8 become U+FFFD, which neither an option nor an
/// argument allows.
///
/// # Safety
///
/// `text` must be NULL or point to a NUL-terminated string.
pub(crate) unsafe fn copy(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller promises a NUL-terminated string.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
