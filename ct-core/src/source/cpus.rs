//! Sets of CPUs, and the packages they are on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::procfs::cpu_dirs;

/// A set of CPUs by number, as the kernel writes it: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSet(Vec<u32>);

/// More CPUs than any machine has: bounds what a range may ask for.
pub(super) const MOST_CPUS: u32 = 1 << 16;

impl CpuSet {
    /// Reads the kernel's form; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for range in text.trim().split(',').filter(|r| !r.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
            if first > last || last >= MOST_CPUS {
                return None;
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Some(Self(cpus))
    }

    /// How many CPUs there are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
}

/// Which CPU is on which package, of the CPUs that are online.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Index among `numbers`, by CPU.
    of_cpu: Vec<Option<usize>>,
    numbers: Vec<u32>,
}

impl FromIterator<(u32, u32)> for Packages {
    /// From pairs of CPU and package.
    fn from_iter<T: IntoIterator<Item = (u32, u32)>>(pairs: T) -> Self {
        let pairs: Vec<(u32, u32)> = pairs.into_iter().filter(|(c, _)| *c < MOST_CPUS).collect();
        let mut numbers: Vec<u32> = pairs.iter().map(|(_, package)| *package).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let most = pairs.iter().map(|(cpu, _)| *cpu as usize + 1).max().unwrap_or(0);
        let mut of_cpu = vec![None; most];
        for (cpu, package) in pairs {
            of_cpu[cpu as usize] = numbers.binary_search(&package).ok();
        }
        Self { of_cpu, numbers }
    }
}

impl Packages {
    /// Reads `topology/physical_package_id` of every CPU below `sysfs`; an offline CPU has none.
    pub fn read(sysfs: &Path) -> Self {
        let pair = |dir: std::path::PathBuf| {
            let cpu = dir.file_name()?.to_str()?.strip_prefix("cpu")?.parse().ok()?;
            let package = fs::read_to_string(dir.join("topology/physical_package_id")).ok()?;
            // -1 where the machine does not say.
            Some((cpu, package.trim().parse().ok()?))
        };
        cpu_dirs(sysfs).into_iter().filter_map(pair).collect()
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The place of a CPU's package among [`Packages::zeros`].
    pub fn index_of(&self, cpu: u32) -> Option<usize> {
        self.of_cpu.get(cpu as usize).copied().flatten()
    }

    /// Their numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbers.iter().copied()
    }

    /// No time on each package, ascending.
    pub fn zeros(&self) -> Vec<(u32, Duration)> {
        self.numbers().map(|number| (number, Duration::ZERO)).collect()
    }

    /// How many CPUs of each package the set has, in the order of [`Packages::zeros`]; of all CPUs
    /// without a set.
    pub fn count(&self, set: Option<&CpuSet>) -> Vec<usize> {
        let mut counts = vec![0; self.numbers.len()];
        let mut add = |cpu| {
            if let Some(index) = self.index_of(cpu) {
                counts[index] += 1;
            }
        };
        match set {
            Some(set) => set.iter().for_each(&mut add),
            None => (0..).take(self.of_cpu.len()).for_each(&mut add),
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_by_table() {
        for (text, expected) in [
            ("0-3,8\n", Some(vec![0, 1, 2, 3, 8])),
            ("5", Some(vec![5])),
            ("2,0-1,1", Some(vec![0, 1, 2])),
            ("\n", Some(vec![])),
            ("3-1", None),
            ("0-99999999", None),
            ("a", None),
        ] {
            assert_eq!(CpuSet::parse(text).map(|s| s.iter().collect()), expected, "{text}");
        }
    }

    #[test]
    fn packages_are_read_and_counted() {
        let sysfs = tempfile::tempdir().unwrap();
        // CPU 3 is offline: it has no topology.
        for (cpu, package) in [(0, 0), (1, 4), (2, 0)] {
            let dir = sysfs.path().join(format!("devices/system/cpu/cpu{cpu}/topology"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("physical_package_id"), format!("{package}\n")).unwrap();
        }
        fs::create_dir_all(sysfs.path().join("devices/system/cpu/cpu3")).unwrap();
        let packages = Packages::read(sysfs.path());
        assert_eq!(packages.zeros(), [(0, Duration::ZERO), (4, Duration::ZERO)]);
        assert_eq!((packages.index_of(1), packages.index_of(3)), (Some(1), None));
        assert_eq!(packages.count(None), [2, 1]);
        assert_eq!(packages.count(CpuSet::parse("0-1,3").as_ref()), [1, 1]);
        assert!(Packages::read(Path::new("/nonexistent")).is_empty());
    }
}
