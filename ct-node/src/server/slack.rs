//! How late the kernel may wake the thread that waits, so that it wakes us together with others.
//!
//! A sample is of the instant it is taken, not of the one it was due at. A wake-up of our own costs
//! a timer's interrupt and a CPU that leaves its sleep; one that is shared costs neither.

use std::num::NonZeroU64;
use std::time::Duration;

/// Part of a wait by which its end may be late.
const PART: u128 = 32;
/// Latest in nanoseconds, of a wait of two seconds and more: 2²⁶, a fifteenth of a second.
const MOST_NS: u128 = 1 << 26;

/// The slack of the thread's timers, see PR_SET_TIMERSLACK in prctl(2).
#[derive(Debug, Default)]
pub(super) struct Slack {
    set: Option<NonZeroU64>,
}

impl Slack {
    /// Sets what goes with a wait; nothing where it is as before.
    pub(super) fn set_for(&mut self, wait: Duration) {
        let slack = slack_ns(wait);
        if slack != self.set {
            // Without it we are woken more often than need be.
            let _ = rustix::thread::set_current_timer_slack(slack);
            self.set = slack;
        }
    }
}

/// A power of two, so that waits of about the same length have the same; the kernel's own where there
/// is next to none.
fn slack_ns(wait: Duration) -> Option<NonZeroU64> {
    let most = (wait.as_nanos() / PART).min(MOST_NS);
    let power = most.checked_ilog2()?;
    NonZeroU64::new(1 << power).filter(|slack| slack.get() > 50_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_be_a_thirtysecond_late_and_never_much() {
        let ns = |wait| slack_ns(Duration::from_millis(wait)).map(NonZeroU64::get);
        assert_eq!(ns(0), None);
        // 31 us are less than the kernel allows anyway.
        assert_eq!(ns(1), None);
        // 31.25 ms and 30.9 ms: both are at least 2^24 ns, 16.8 ms.
        assert_eq!(ns(1000), Some(1 << 24));
        assert_eq!(ns(990), Some(1 << 24));
        assert_eq!(ns(60_000), Some(1 << 26));
        // Of 20 ms: 625 us are at least 2^19 ns, half a millisecond.
        assert_eq!(ns(20), Some(1 << 19));
    }

    #[test]
    fn the_kernel_takes_it() {
        let mut slack = Slack::default();
        slack.set_for(Duration::from_secs(1));
        assert_eq!(rustix::thread::current_timer_slack().unwrap(), 1 << 24);
        slack.set_for(Duration::ZERO);
        assert!(rustix::thread::current_timer_slack().unwrap() < 1 << 20);
    }
}
