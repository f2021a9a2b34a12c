//! Panics on purpose: in a build for tests only, which nobody installs.

use crate::spank;

/// Panics where an argument of the plugstack line asks for it: `panic=HOOK`, `panic=HOOK/CONTEXT` or
/// `panic=every`.
pub(crate) fn panic_if_asked(args: &[String], hook: &str) {
    let here = format!("{hook}/{:?}", spank::context()).to_lowercase();
    let is_asked = |arg: &String| {
        arg.strip_prefix("panic=").is_some_and(|name| [hook, &here, "every"].contains(&name))
    };
    assert!(!args.iter().any(is_asked), "asked to panic in {here}");
}
