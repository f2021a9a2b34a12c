//! CPU time of the simulated CPUs.

use std::fs;
use std::path::Path;

use super::spec::{CpuTime, Spec};

/// Follows the CPU time of each simulated CPU since the plant's start.
#[derive(Debug)]
pub(super) struct CpuClock {
    source: CpuTime,
    /// Seconds used, by CPU.
    busy_s: Vec<f64>,
    /// What the group said last, in nanoseconds by real CPU.
    last_ns: Vec<u64>,
    /// Seconds used by CPU at earlier updates, and when that was.
    past: Vec<(f64, Vec<f64>)>,
}

impl CpuClock {
    /// Starts at zero; what a group used before does not count.
    pub(super) fn start(spec: &Spec) -> Self {
        let last_ns = match &spec.cpu_time {
            CpuTime::Cpuacct(group) => read_usage(group),
            CpuTime::CpuStat(group) => read_cpu_stat(group, spec.cpus),
            CpuTime::Utilisation(_) => Vec::new(),
        };
        let busy_s = vec![0.0; spec.cpus];
        let past = vec![(0.0, busy_s.clone())];
        Self { source: spec.cpu_time.clone(), busy_s, last_ns, past }
    }

    /// The seconds used by each CPU until `elapsed_s`.
    pub(super) fn update(&mut self, elapsed_s: f64) -> &[f64] {
        match &self.source {
            CpuTime::Utilisation(part) => self.busy_s.fill(elapsed_s * part),
            CpuTime::Cpuacct(group) => {
                let now_ns = read_usage(group);
                self.add(&now_ns);
                self.remember(elapsed_s);
            }
            CpuTime::CpuStat(group) => {
                let now_ns = read_cpu_stat(group, self.busy_s.len());
                self.add(&now_ns);
            }
        }
        &self.busy_s
    }

    /// The seconds used by each CPU until a time that has passed.
    pub(super) fn busy_at(&self, elapsed_s: f64) -> Vec<f64> {
        if let CpuTime::Utilisation(part) = self.source {
            return vec![elapsed_s * part; self.busy_s.len()];
        }
        let next = self.past.partition_point(|(at_s, _)| *at_s <= elapsed_s);
        let Some((from_s, before)) = next.checked_sub(1).map(|n| &self.past[n]) else {
            return vec![0.0; self.busy_s.len()];
        };
        let Some((to_s, after)) = self.past.get(next) else { return before.clone() };
        let part = (elapsed_s - from_s) / (to_s - from_s);
        before.iter().zip(after).map(|(a, b)| a + (b - a) * part).collect()
    }

    /// Keeps what was used until now. Of a time without load its start and its end are enough.
    fn remember(&mut self, elapsed_s: f64) {
        if let [.., (_, earlier), (at_s, latest)] = self.past.as_mut_slice()
            && earlier == latest
            && *latest == self.busy_s
        {
            *at_s = elapsed_s;
            return;
        }
        self.past.push((elapsed_s, self.busy_s.clone()));
    }

    /// Adds what was used since the last reading. A group that is gone leaves an empty reading;
    /// one that started over shows less than before, all of it new.
    fn add(&mut self, now_ns: &[u64]) {
        let has_restarted = now_ns.iter().sum::<u64>() < self.last_ns.iter().sum();
        for (cpu, &now) in now_ns.iter().enumerate() {
            let before = self.last_ns.get(cpu).copied().unwrap_or(0);
            let used_ns = if has_restarted { now } else { now.saturating_sub(before) };
            // A machine with more CPUs than the simulated one shares them out.
            let slot = cpu % self.busy_s.len();
            self.busy_s[slot] += used_ns as f64 * 1e-9;
        }
        now_ns.clone_into(&mut self.last_ns);
    }
}

/// Nanoseconds used by a group on each CPU; empty where there is no such group.
fn read_usage(group: &Path) -> Vec<u64> {
    let text = fs::read_to_string(group.join("cpuacct.usage_percpu")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The same of a group of v2, shared out evenly.
fn read_cpu_stat(group: &Path, n_cpus: usize) -> Vec<u64> {
    let text = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    let usec = text.lines().find_map(|l| l.strip_prefix("usage_usec ")?.parse::<u64>().ok());
    usec.map_or_else(Vec::new, |usec| vec![usec * 1000 / n_cpus as u64; n_cpus])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_on(group: &Path) -> CpuClock {
        let cpu_time = CpuTime::Cpuacct(group.to_owned());
        CpuClock::start(&Spec { cpu_time, ..Spec::default() })
    }

    #[test]
    fn group_that_comes_late_vanishes_and_starts_over_is_added_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cpuacct.usage_percpu");
        let mut clock = clock_on(dir.path());
        assert_eq!(clock.update(1.0), [0.0, 0.0]);
        fs::write(&file, "1000000000 500000000 \n").unwrap();
        assert_eq!(clock.update(2.0), [1.0, 0.5]);
        fs::write(&file, "3000000000 500000000 \n").unwrap();
        assert_eq!(clock.update(3.0), [3.0, 0.5]);
        fs::remove_file(&file).unwrap();
        assert_eq!(clock.update(4.0), [3.0, 0.5]);
        fs::write(&file, "250000000 0 \n").unwrap();
        assert_eq!(clock.update(5.0), [3.25, 0.5]);
    }

    #[test]
    fn load_of_the_past_is_even_between_two_updates() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cpuacct.usage_percpu");
        let mut clock = clock_on(dir.path());
        for elapsed_s in [1.0, 2.0, 3.0] {
            clock.update(elapsed_s);
        }
        assert_eq!(clock.past.len(), 2, "{:?}", clock.past);
        fs::write(&file, "2000000000 0\n").unwrap();
        clock.update(5.0);
        for (elapsed_s, busy_s) in [(0.5, 0.0), (3.0, 0.0), (4.0, 1.0), (5.0, 2.0), (6.0, 2.0)] {
            assert_eq!(clock.busy_at(elapsed_s), [busy_s, 0.0], "{elapsed_s} s");
        }
    }

    #[test]
    fn what_a_group_used_before_the_start_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cpuacct.usage_percpu");
        fs::write(&file, "8000000000 0 0 0\n").unwrap();
        let mut clock = clock_on(dir.path());
        fs::write(&file, "9000000000 0 2000000000 0\n").unwrap();
        // CPU 2 of the real machine falls to CPU 0 of two.
        assert_eq!(clock.update(1.0), [3.0, 0.0]);
    }

    #[test]
    fn group_of_v2_is_shared_among_the_cpus() {
        let dir = tempfile::tempdir().unwrap();
        let cpu_time = CpuTime::CpuStat(dir.path().to_owned());
        let mut clock = CpuClock::start(&Spec { cpu_time, ..Spec::default() });
        assert_eq!(clock.update(1.0), [0.0, 0.0]);
        fs::write(dir.path().join("cpu.stat"), "usage_usec 3000000\nuser_usec 1\n").unwrap();
        assert_eq!(clock.update(2.0), [1.5, 1.5]);
    }

    #[test]
    fn fixed_utilisation_is_a_part_of_the_time() {
        let spec = Spec { cpu_time: CpuTime::Utilisation(0.25), ..Spec::default() };
        assert_eq!(CpuClock::start(&spec).update(8.0), [2.0, 2.0]);
    }
}
