//! What one user may have in a time: a few at once, then so many a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Users who are remembered; those who have all they may have are forgotten beyond.
const MOST_USERS: usize = 1024;

/// How much a user may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// At once, after a rest.
    pub burst: f64,
    /// On the long run.
    pub per_second: f64,
}

/// What each user has left, by uid.
#[derive(Debug)]
pub struct Paces {
    limit: Limit,
    users: HashMap<u32, (f64, Instant)>,
}

impl Paces {
    /// Nobody has had anything yet.
    pub fn new(limit: Limit) -> Self {
        Self { limit, users: HashMap::new() }
    }

    /// Takes one; whether there was one.
    pub fn take(&mut self, uid: u32, now: Instant) -> bool {
        let left = self.left(uid, now);
        if self.users.len() > MOST_USERS {
            let limit = self.limit;
            self.users.retain(|_, had| refilled(limit, *had, now) < limit.burst);
        }
        let is_there = left >= 1.0;
        self.users.insert(uid, (if is_there { left - 1.0 } else { left }, now));
        is_there
    }

    /// How long until there is one again; zero where there is.
    pub fn wait(&self, uid: u32, now: Instant) -> Duration {
        let lacking = (1.0 - self.left(uid, now)).max(0.0);
        Duration::from_secs_f64(lacking / self.limit.per_second)
    }

    fn left(&self, uid: u32, now: Instant) -> f64 {
        self.users.get(&uid).map_or(self.limit.burst, |had| refilled(self.limit, *had, now))
    }
}

fn refilled(limit: Limit, (left, since): (f64, Instant), now: Instant) -> f64 {
    let more = now.saturating_duration_since(since).as_secs_f64() * limit.per_second;
    (left + more).min(limit.burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_so_many_a_second_and_nobody_takes_anothers() {
        let mut paces = Paces::new(Limit { burst: 3.0, per_second: 2.0 });
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let taken =
            |paces: &mut Paces, uid, ms| (0..100).filter(|_| paces.take(uid, at(ms))).count();
        assert_eq!(taken(&mut paces, 1, 0), 3);
        assert_eq!(taken(&mut paces, 2, 0), 3);
        assert_eq!(paces.wait(1, at(0)), Duration::from_millis(500));
        // Asking without end does not put the next one off.
        assert_eq!((0..1000).filter(|ms| paces.take(1, at(*ms))).count(), 1);
        assert_eq!(taken(&mut paces, 1, 1600), 2);
        assert_eq!(taken(&mut paces, 1, 60_000), 3, "no more than at first after a rest");
    }

    #[test]
    fn users_who_rest_are_forgotten() {
        let mut paces = Paces::new(Limit { burst: 1.0, per_second: 1.0 });
        let start = Instant::now();
        for uid in 0..10_000 {
            paces.take(uid, start + Duration::from_millis(10 * u64::from(uid)));
        }
        assert!(paces.users.len() <= MOST_USERS + 2, "{}", paces.users.len());
    }
}
