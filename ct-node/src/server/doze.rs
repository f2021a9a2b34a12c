//! A wait in which time passes and nobody says anything.
//!
//! poll(2) visits everything that it waits for, before and after, and a second later none of that is in
//! the caches any more; an epoll instance is told by what becomes ready.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io;

use super::slack::with_slack;
use super::{InVain, Wanted, timespec};

/// Waits for as long as `in_vain` says, again and again; ends where it says nothing, or something may be
/// ready. Returns whether there was such a wait; where there was none, `in_vain` was asked all the same.
pub(super) fn doze(wanted: &[Wanted<'_>], in_vain: InVain<'_>) -> bool {
    let Some(first) = in_vain() else { return false };
    // Without an instance, for want of descriptors, each wait is one of poll(2).
    let Ok(instance) = instance(wanted) else { return false };
    let mut next = Some(first);
    while let Some(timeout) = next {
        let mut event = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }];
        let wait = || epoll::wait(&instance, &mut event, Some(&timespec(timeout)));
        match with_slack(timeout, wait) {
            Ok(0) => next = in_vain(),
            _ => break,
        }
    }
    true
}

fn instance(wanted: &[Wanted<'_>]) -> io::Result<OwnedFd> {
    let instance = epoll::create(CreateFlags::CLOEXEC)?;
    for (fd, flags) in wanted {
        let flags = EventFlags::from_bits_retain(u32::from(flags.bits()));
        epoll::add(&instance, fd, EventData::new_u64(0), flags)?;
    }
    Ok(instance)
}
