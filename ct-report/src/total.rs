//! Adds up runs: what each counts, as logged and of all devices. Knows no format.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ct_core::carbon::km_by_car;
use ct_core::energy::Component;
use ct_core::log::parser::{Counted, Counting, Run};
use ct_core::record::Record;
use ct_core::units::{GramsCo2e, Joules, KilowattHours};
use serde::Serialize;

use crate::diagnostic::SkippedPart;
use crate::load::path_text;

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
    /// Energy of records in kWh, and what of it was modelled.
    recorded_kwh: f64,
    modelled_kwh: f64,
}

/// What one tracker's logs, or one record, count.
#[derive(Debug)]
pub(crate) struct CountedRun {
    stem: Arc<str>,
    /// `actual`, `prediction` or `none`.
    counted: &'static str,
    why: Cow<'static, str>,
    amount: Amount,
    /// How many times the logged energy that of all devices is.
    devices_factor: Option<f64>,
    /// The job a record is of, its nodes and what its first node saw of all of them.
    job: Option<Job>,
}

#[derive(Debug)]
struct Job {
    key: (String, u32, u32),
    node: String,
    /// Part of its energy that was modelled or simulated, 0 to 1.
    modelled_share: f64,
    /// Nodes in the sum of the first node, and that sum.
    total: Option<(u32, Amount)>,
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

    /// Stems of runs whose energy of all devices cannot be told.
    pub(crate) fn unclear(&self) -> impl Iterator<Item = &str> {
        self.unclear.iter().map(String::as_str)
    }

    /// The sum and each run, as `aggregate --json` prints them.
    pub(crate) fn to_json(&self, skipped: &[SkippedPart]) -> TotalJson<'_> {
        let (logged, all) = (self.sum(false), self.sum(true));
        let run = |run: &'_ CountedRun| {
            let is_counted = run.counted != "none";
            (is_counted.then_some(run.amount.energy_kwh), is_counted.then_some(run.amount.co2eq_g))
        };
        let runs = self.runs.iter().map(|r| {
            let (energy_kwh, co2eq_g) = run(r);
            RunJson { stem: &r.stem, counted: r.counted, why: &r.why, energy_kwh, co2eq_g }
        });
        let skipped = skipped.iter().map(|part| SkippedJson {
            path: path_text(Some(&part.path)).unwrap_or_default(),
            line: part.line,
            reason: part.reason.clone(),
        });
        TotalJson {
            energy_kwh: logged.energy_kwh,
            co2eq_g: logged.co2eq_g,
            equivalents: logged
                .equivalents
                .iter()
                .map(|(unit, v)| (unit.to_string(), *v))
                .collect(),
            energy_all_devices_kwh: all.energy_kwh,
            co2eq_all_devices_g: all.co2eq_g,
            modelled_share: self.modelled_share(),
            runs: runs.collect(),
            skipped: skipped.collect(),
        }
    }
}

/// What the run of one stem counts; a record counts before its logs.
pub(crate) fn count(stem: &str, record: Option<&Record>, run: &Run<'_>) -> Vec<CountedRun> {
    if let Some(record) = record {
        return vec![count_record(stem, record)];
    }
    let counted = run.counted();
    if counted.is_empty() {
        return vec![CountedRun::none(stem, Cow::Borrowed("no consumption in the log"))];
    }
    let stem: Arc<str> = stem.into();
    counted.iter().map(|counted| count_blocks(&stem, counted)).collect()
}

impl CountedRun {
    fn none(stem: &str, why: Cow<'static, str>) -> Self {
        let (amount, devices_factor) = (Amount::default(), Some(1.0));
        Self { stem: stem.into(), counted: "none", why, amount, devices_factor, job: None }
    }
}

fn count_blocks(stem: &Arc<str>, counted: &Counted<'_, '_>) -> CountedRun {
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    let block = counted.block;
    let equivalents = block.equivalents.iter().flatten();
    let equivalents = equivalents.map(|(unit, value)| (unit_name(unit), finite(*value)));
    let kind = match counted.counting {
        Counting::Actual => "actual",
        Counting::Prediction => "prediction",
    };
    CountedRun {
        stem: stem.clone(),
        counted: kind,
        why: Cow::Borrowed(counted.why),
        amount: Amount {
            energy_kwh: finite(block.energy_kwh),
            co2eq_g: finite(block.co2eq_g),
            equivalents: equivalents.collect(),
        },
        devices_factor: counted.devices_factor,
        job: None,
    }
}

/// A unit's name; the one upstream knows costs no memory.
fn unit_name(unit: &str) -> Cow<'static, str> {
    if unit == CAR_UNIT { Cow::Borrowed(CAR_UNIT) } else { Cow::Owned(unit.to_owned()) }
}

fn count_record(stem: &str, record: &Record) -> CountedRun {
    let kwh = |joules: f64| Joules::new(joules).to_kilowatt_hours();
    let joules = |energy: &ct_core::energy::ByComponent<ct_core::units::Microjoules>| {
        let parts = [energy.cpu, energy.dram, energy.gpu, energy.rest];
        parts.iter().map(|part| part.to_joules().as_joules()).sum::<f64>()
    };
    let amount = Amount::of_record(kwh(joules(&record.energy_j)), record.pue, record.co2e_g);
    let total = record.job_total.as_ref().map(|total| {
        let energy = kwh(joules(&total.energy_j));
        (total.nodes_seen, Amount::of_record(energy, record.pue, total.co2e_g))
    });
    let key = (record.cluster.clone(), record.job_id, record.restart);
    CountedRun {
        stem: stem.into(),
        counted: "actual",
        why: Cow::Borrowed("record of the job"),
        amount,
        devices_factor: Some(1.0),
        job: Some(Job {
            key,
            node: record.node.clone(),
            modelled_share: modelled_share(record),
            total,
        }),
    }
}

/// Part of a record's energy that has no meter behind it.
fn modelled_share(record: &Record) -> f64 {
    let part = |component: Component| record.energy_j.get(component).to_joules().as_joules();
    let all: f64 = Component::ALL.into_iter().map(part).sum();
    let is_modelled = |c: &Component| {
        let method = record.method.get(c.as_str());
        method.is_some_and(|m| m.starts_with("modelled") || m.starts_with("simulated"))
    };
    let modelled: f64 = Component::ALL.into_iter().filter(is_modelled).map(part).sum();
    if all > 0.0 { modelled / all } else { 0.0 }
}

/// What `aggregate --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct TotalJson<'a> {
    energy_kwh: f64,
    co2eq_g: f64,
    equivalents: BTreeMap<String, f64>,
    energy_all_devices_kwh: f64,
    co2eq_all_devices_g: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modelled_share: Option<f64>,
    runs: Vec<RunJson<'a>>,
    skipped: Vec<SkippedJson>,
}

#[derive(Debug, Serialize)]
struct RunJson<'a> {
    stem: &'a str,
    counted: &'static str,
    why: &'a str,
    energy_kwh: Option<f64>,
    co2eq_g: Option<f64>,
}

#[derive(Debug, Serialize)]
struct SkippedJson {
    path: String,
    line: Option<usize>,
    reason: String,
}
