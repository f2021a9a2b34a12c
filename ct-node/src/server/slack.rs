//! How late the kernel may end a wait, so that it wakes us together with others.
//!
//! A sample is of the instant it is taken, not of the one it was due at. A wake-up of our own costs
//! a timer's interrupt and a CPU that leaves its sleep; one that is shared costs neither.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

/// Part of a wait by which its end may be late.
const PART: u128 = 32;
/// Latest in nanoseconds: a fifteenth of a second.
const MOST_NS: u128 = 1_000_000_000 / 15;
/// What the kernel allows anyway, in nanoseconds; see PR_SET_TIMERSLACK in prctl(2).
const USUAL_NS: u64 = 50_000;

/// Waits; the end may be late by a part of `wait`. Afterwards the slack is as it was at the start, as
/// threads and processes that are begun then inherit it, and theirs are other waits.
pub(super) fn with_slack<T>(wait: Duration, poll: impl FnOnce() -> T) -> T {
    let Some(slack) = slack_ns(wait) else { return poll() };
    // Without it we are woken more often than need be.
    let _ = set_current_timer_slack(Some(slack));
    let done = poll();
    let _ = set_current_timer_slack(None);
    done
}

/// Nothing where it is no more than usual.
fn slack_ns(wait: Duration) -> Option<NonZeroU64> {
    let slack = (wait.as_nanos() / PART).min(MOST_NS);
    u64::try_from(slack).ok().filter(|ns| *ns > USUAL_NS).and_then(NonZeroU64::new)
}

#[cfg(test)]
mod tests {
    use rustix::thread::current_timer_slack;

    use super::*;

    #[test]
    fn a_wait_may_be_a_thirtysecond_late_and_never_much() {
        let ns = |wait| slack_ns(Duration::from_millis(wait)).map(NonZeroU64::get);
        // 31 us are less than the kernel allows anyway.
        assert_eq!((ns(0), ns(1)), (None, None));
        assert_eq!(ns(20), Some(625_000));
        assert_eq!(ns(1000), Some(31_250_000));
        assert_eq!(ns(60_000), Some(66_666_666));
    }

    #[test]
    fn only_the_wait_itself_may_be_late() {
        let before = current_timer_slack().unwrap();
        let within = with_slack(Duration::from_secs(1), || current_timer_slack().unwrap());
        assert_eq!(within, 31_250_000);
        let of_a_thread = || std::thread::spawn(|| current_timer_slack().unwrap()).join().unwrap();
        assert_eq!((current_timer_slack().unwrap(), of_a_thread()), (before, before));
    }
}
