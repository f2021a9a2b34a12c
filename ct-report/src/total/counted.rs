//! What the logs of one tracker, or one record, count.

use std::borrow::Cow;
use std::sync::Arc;

use ct_core::energy::Component;
use ct_core::log::parser::{Counted, Counting, Run};
use ct_core::record::Record;
use ct_core::units::Joules;

use super::{Amount, CAR_UNIT};

/// What one tracker's logs, or one record, count.
#[derive(Debug)]
pub(crate) struct CountedRun {
    pub(super) stem: Arc<str>,
    /// `actual`, `prediction` or `none`.
    pub(super) counted: &'static str,
    pub(super) why: Cow<'static, str>,
    pub(super) amount: Amount,
    /// How many times the logged energy that of all devices is.
    pub(super) devices_factor: Option<f64>,
    /// Whether its logs show simulated components.
    pub(super) is_simulated: bool,
    /// The job a record is of, its nodes and what its first node saw of all of them.
    pub(super) job: Option<Job>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: (String, u32, u32),
    pub(super) node: String,
    /// Part of its energy that was modelled or simulated, 0 to 1.
    pub(super) modelled_share: f64,
    /// Nodes in the sum of the first node, and that sum.
    pub(super) total: Option<(u32, Amount)>,
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
    let is_simulated = run.standard.sessions.iter().any(|session| session.is_simulated);
    let count = |counted| CountedRun { is_simulated, ..count_blocks(&stem, counted) };
    counted.iter().map(count).collect()
}

impl CountedRun {
    pub(super) fn none(stem: &str, why: Cow<'static, str>) -> Self {
        let (amount, devices_factor) = (Amount::default(), Some(1.0));
        let (stem, is_simulated) = (stem.into(), false);
        Self { stem, counted: "none", why, amount, devices_factor, is_simulated, job: None }
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
        is_simulated: false,
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
        is_simulated: record.simulated.is_some(),
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
    // As the column `measured_share` has it: what names no meter was not measured.
    let is_modelled = |c: &Component| {
        let method = record.method.get(c.as_str());
        method.is_none_or(|m| m.starts_with("modelled") || m.starts_with("simulated"))
    };
    let modelled: f64 = Component::ALL.into_iter().filter(is_modelled).map(part).sum();
    if all > 0.0 { modelled / all } else { 0.0 }
}
