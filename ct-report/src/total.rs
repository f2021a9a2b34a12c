//! Adds up runs: what each counts, as logged and of all devices. Knows no format.

mod counted;
mod json;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ct_core::carbon::km_by_car;
use ct_core::units::{GramsCo2e, KilowattHours};

pub(crate) use self::counted::{CountedRun, count};

/// What carbontracker calls its equivalent.
const CAR_UNIT: &str = "km travelled by car";

/// Runs and what they count.
#[derive(Debug, Default)]
pub(crate) struct Total {
    /// Runs that are listed, or may yet change: those of records.
    runs: Vec<CountedRun>,
    /// Whether every run is to be listed; else only sums are kept, however many runs there are.
    is_listed: bool,
    logged: Amount,
    all_devices: Amount,
    n_means: usize,
    unclear: Vec<String>,
    simulated: Simulated,
    /// Energy of records in kWh, and what of it was modelled.
    recorded_kwh: f64,
    modelled_kwh: f64,
}

/// Runs whose owner was shown simulated components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Simulated {
    /// Of their records what was metered counts.
    pub(crate) n_records: usize,
    /// Of those without a record what was shown counts.
    pub(crate) n_logs: usize,
}

/// Energy, footprint and equivalents; what is not a finite number is not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Amount {
    /// Energy in kWh, PUE included.
    pub(crate) energy_kwh: f64,
    /// Footprint in gCO2e.
    pub(crate) co2eq_g: f64,
    /// Equivalents by unit, in the order they came up.
    pub(crate) equivalents: Vec<(Cow<'static, str>, f64)>,
}

impl Amount {
    fn add(&mut self, other: &Self, factor: f64) {
        self.energy_kwh += other.energy_kwh * factor;
        self.co2eq_g += other.co2eq_g * factor;
        for (unit, value) in &other.equivalents {
            match self.equivalents.iter_mut().find(|(known, _)| known == unit) {
                Some((_, sum)) => *sum += value * factor,
                None => self.equivalents.push((unit.clone(), value * factor)),
            }
        }
    }

    fn of_record(energy: KilowattHours, pue: f64, co2e_g: f64) -> Self {
        let equivalents = vec![(Cow::Borrowed(CAR_UNIT), km_by_car(GramsCo2e::new(co2e_g)))];
        Self { energy_kwh: energy.as_kwh() * pue, co2eq_g: co2e_g, equivalents }
    }
}

impl Total {
    /// Nothing yet; `is_listed` where every run is to be told.
    pub(crate) fn new(is_listed: bool) -> Self {
        Self { is_listed, ..Self::default() }
    }

    /// Adds what one stem counts.
    pub(crate) fn add(&mut self, runs: Vec<CountedRun>) {
        for run in runs {
            if self.is_listed || run.job.is_some() {
                self.runs.push(run);
            } else {
                self.add_up(&run);
            }
        }
    }

    /// Adds a run to the sums.
    fn add_up(&mut self, run: &CountedRun) {
        self.logged.add(&run.amount, 1.0);
        self.all_devices.add(&run.amount, run.devices_factor.unwrap_or(1.0));
        if let Some(job) = &run.job {
            self.recorded_kwh += run.amount.energy_kwh;
            self.modelled_kwh += run.amount.energy_kwh * job.modelled_share;
        }
        if run.is_simulated {
            self.simulated.n_records += usize::from(run.job.is_some());
            self.simulated.n_logs += usize::from(run.job.is_none());
        }
        self.n_means += usize::from(run.devices_factor.is_some_and(|f| f != 1.0));
        if run.devices_factor.is_none() {
            self.unclear.push(run.stem.to_string());
        }
    }

    /// Counts each job once and adds up what is not in the sums yet.
    pub(crate) fn settle(&mut self) {
        self.settle_jobs();
        let runs = std::mem::take(&mut self.runs);
        runs.iter().for_each(|run| self.add_up(run));
        self.runs = runs;
    }

    /// Counts each job once: a job over several nodes by its nodes' records, or by the sum its
    /// first node saw where that has more of them; of copies of a record only the first.
    fn settle_jobs(&mut self) {
        let mut jobs: BTreeMap<(String, u32, u32), Vec<usize>> = BTreeMap::new();
        for (index, run) in self.runs.iter().enumerate() {
            if let Some(job) = run.job.as_ref().filter(|job| job.key.1 != 0) {
                jobs.entry(job.key.clone()).or_default().push(index);
            }
        }
        for indices in jobs.into_values() {
            self.settle_job(&indices);
        }
    }

    fn settle_job(&mut self, indices: &[usize]) {
        let mut nodes = BTreeSet::new();
        for &index in indices {
            let run = &mut self.runs[index];
            let node = run.job.as_ref().map(|job| job.node.clone()).unwrap_or_default();
            if !nodes.insert(node) {
                *run = CountedRun::none(&run.stem, Cow::Borrowed("a copy of another record"));
            }
        }
        let seen = |run: &CountedRun| {
            let (seen, amount) = run.job.as_ref()?.total.as_ref()?;
            (*seen as usize > nodes.len()).then(|| (*seen, amount.clone()))
        };
        let best = indices.iter().find_map(|&at| Some((at, seen(&self.runs[at])?)));
        let Some((first, (seen, amount))) = best else { return };
        for &index in indices {
            let run = &mut self.runs[index];
            if index == first {
                run.amount = amount.clone();
                run.why =
                    format!("record of the job, {seen} nodes as its first node saw them").into();
            } else {
                let why = Cow::Borrowed("in the sum of the job's first node");
                *run = CountedRun::none(&run.stem, why);
            }
        }
    }

    /// The sum, of all devices or as logged.
    pub(crate) fn sum(&self, is_all_devices: bool) -> &Amount {
        if is_all_devices { &self.all_devices } else { &self.logged }
    }

    /// Part of the records' energy that was modelled, not measured; `None` without a record, as logs
    /// alone do not say.
    pub(crate) fn modelled_share(&self) -> Option<f64> {
        (self.recorded_kwh > 0.0).then(|| self.modelled_kwh / self.recorded_kwh)
    }

    /// How many runs logged the mean over several devices.
    pub(crate) fn n_means(&self) -> usize {
        self.n_means
    }

    /// Runs that showed simulated components.
    pub(crate) fn simulated(&self) -> Simulated {
        self.simulated
    }

    /// Stems of runs whose energy of all devices cannot be told.
    pub(crate) fn unclear(&self) -> impl Iterator<Item = &str> {
        self.unclear.iter().map(String::as_str)
    }
}
