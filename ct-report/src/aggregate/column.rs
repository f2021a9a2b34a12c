//! The columns of a report.

use clap::ValueEnum;
use ct_core::energy::Component;
use ct_core::units::Joules;

use super::accounted::Accounted;
use super::{Group, Key, Sums};
use crate::row::{Cell, Head, Quantity};

/// A value of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Value {
    Jobs,
    ElapsedH,
    EnergyKwh,
    AllocatedKwh,
    DynamicKwh,
    CpuKwh,
    DramKwh,
    GpuKwh,
    RestKwh,
    Co2eG,
    MeasuredShare,
    Coverage,
    GpuUnusedKwh,
    FailedKwh,
    CancelledKwh,
    EmbodiedG,
    WaterL,
    CoreHours,
    GpuHours,
    EnergyJ,
    AllocatedJ,
    DynamicJ,
    GpuUnusedJ,
    Co2eRepricedG,
    RepricedShare,
    SciGPerJob,
}

impl Value {
    /// What is shown unless columns are named.
    pub(crate) const DEFAULT: [Self; 12] = [
        Self::Jobs,
        Self::ElapsedH,
        Self::EnergyKwh,
        Self::AllocatedKwh,
        Self::DynamicKwh,
        Self::CpuKwh,
        Self::DramKwh,
        Self::GpuKwh,
        Self::RestKwh,
        Self::Co2eG,
        Self::MeasuredShare,
        Self::Coverage,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::ElapsedH => "elapsed_h",
            Self::EnergyKwh => "energy_kwh",
            Self::AllocatedKwh => "allocated_kwh",
            Self::DynamicKwh => "dynamic_kwh",
            Self::CpuKwh => "cpu_kwh",
            Self::DramKwh => "dram_kwh",
            Self::GpuKwh => "gpu_kwh",
            Self::RestKwh => "rest_kwh",
            Self::Co2eG => "co2e_g",
            Self::MeasuredShare => "measured_share",
            Self::Coverage => "coverage",
            Self::GpuUnusedKwh => "gpu_unused_kwh",
            Self::FailedKwh => "failed_kwh",
            Self::CancelledKwh => "cancelled_kwh",
            Self::EmbodiedG => "embodied_g",
            Self::WaterL => "water_l",
            Self::CoreHours => "core_hours",
            Self::GpuHours => "gpu_hours",
            Self::EnergyJ => "energy_j",
            Self::AllocatedJ => "allocated_j",
            Self::DynamicJ => "dynamic_j",
            Self::GpuUnusedJ => "gpu_unused_j",
            Self::Co2eRepricedG => "co2e_repriced_g",
            Self::RepricedShare => "repriced_share",
            Self::SciGPerJob => "sci_g_per_job",
        }
    }

    /// What a terminal may be shown with another prefix.
    fn quantity(self) -> Option<Quantity> {
        match self.as_str() {
            name if name.ends_with("_kwh") => Some(Quantity::Energy),
            "co2e_g" | "co2e_repriced_g" | "embodied_g" => Some(Quantity::Mass),
            _ => None,
        }
    }

    /// How early it is left out on a narrow terminal.
    fn rank(self) -> u8 {
        match self {
            Self::EnergyKwh => 0,
            Self::Co2eG | Self::Co2eRepricedG => 1,
            Self::Jobs => 2,
            Self::MeasuredShare | Self::RepricedShare => 3,
            Self::GpuKwh | Self::CpuKwh => 4,
            Self::ElapsedH => 5,
            Self::Coverage => 6,
            Self::DynamicKwh | Self::AllocatedKwh => 7,
            Self::DramKwh => 8,
            _ => 9,
        }
    }

    /// Its cell in the row of a group.
    fn cell(self, sums: &Sums) -> Cell {
        let number = |value: f64, decimals| Cell::Number(Some(value), decimals);
        match self {
            Self::Jobs => Cell::Count(sums.n_jobs()),
            Self::ElapsedH => number(sums.elapsed_h(), 4),
            Self::EnergyKwh => kwh(sums.energy_uj()),
            Self::AllocatedKwh => kwh(sums.allocated_uj),
            Self::DynamicKwh => kwh(sums.dynamic_uj()),
            Self::CpuKwh => kwh(sums.component_uj(Component::Cpu)),
            Self::DramKwh => kwh(sums.component_uj(Component::Dram)),
            Self::GpuKwh => kwh(sums.component_uj(Component::Gpu)),
            Self::RestKwh => kwh(sums.component_uj(Component::Rest)),
            Self::Co2eG => number(sums.co2e_g(), 3),
            Self::MeasuredShare => Cell::Number(sums.measured_share(), 3),
            Self::Coverage => Cell::Number(sums.coverage(), 3),
            Self::GpuUnusedKwh => kwh(sums.gpu_unused_uj),
            Self::FailedKwh => kwh(sums.failed_uj),
            Self::CancelledKwh => kwh(sums.cancelled_uj),
            Self::EmbodiedG => Cell::Number(sums.embodied_g(), 3),
            Self::WaterL => Cell::Number(sums.water_l(), 3),
            Self::CoreHours => number(sums.core_hours(), 4),
            Self::GpuHours => number(sums.gpu_hours(), 4),
            Self::EnergyJ => Cell::Microjoules(sums.energy_uj()),
            Self::AllocatedJ => Cell::Microjoules(sums.allocated_uj),
            Self::DynamicJ => Cell::Microjoules(sums.dynamic_uj()),
            Self::GpuUnusedJ => Cell::Microjoules(sums.gpu_unused_uj),
            Self::Co2eRepricedG => Cell::Number(sums.co2e_repriced_g(), 3),
            Self::RepricedShare => Cell::Number(sums.repriced_share(), 3),
            Self::SciGPerJob => Cell::Number(sums.sci_g_per_job(), 3),
        }
    }
}

fn kwh(uj: u128) -> Cell {
    let joules = Joules::new(uj as f64 / 1e6);
    Cell::Number(Some(joules.to_kilowatt_hours().as_kwh()), 6)
}

/// A column: one of the keys, by its place, a value, or a value of Slurm's accounting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Key(usize, Key),
    Value(Value),
    Accounted(Accounted),
}

/// What stands behind a row: the sums of its records, and of Slurm's accounting all its allocations
/// and those without a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind<'a> {
    pub(crate) sums: &'a Sums,
    pub(crate) allocations: Option<&'a Sums>,
    pub(crate) unseen: Option<&'a Sums>,
}

impl Column {
    /// Its name in headers.
    fn name(self) -> &'static str {
        match self {
            Self::Key(_, key) => key.as_str(),
            Self::Value(value) => value.as_str(),
            Self::Accounted(value) => value.as_str(),
        }
    }

    /// Its head.
    pub(crate) fn head(self) -> Head {
        let name = self.name();
        match self {
            Self::Key(..) => Head::text(name),
            Self::Value(value) => Head::number(name).of(value.quantity()).ranked(value.rank()),
            Self::Accounted(value) => Head::number(name).ranked(value.rank()),
        }
    }

    /// Its cell in the row of a group.
    pub(crate) fn cell(self, group: &Group, behind: Behind<'_>) -> Cell {
        match self {
            Self::Key(at, _) => Cell::Text(group.get(at).cloned().flatten()),
            Self::Value(value) => value.cell(behind.sums),
            Self::Accounted(value) => value.cell(behind.allocations, behind.unseen),
        }
    }
}

/// The columns asked for; keys come first where only values are named, the values at new prices
/// where there are such, and those of Slurm's accounting where it is asked.
///
/// # Errors
///
/// A name that is neither a value nor one of the keys.
pub(crate) fn columns(
    keys: &[Key],
    names: &[String],
    is_repriced: bool,
    has_sacct: bool,
) -> Result<Vec<Column>, String> {
    let key_columns = keys.iter().enumerate().map(|(at, key)| Column::Key(at, *key));
    if names.is_empty() {
        let new = [Value::Co2eRepricedG, Value::RepricedShare];
        let values = Value::DEFAULT.into_iter().flat_map(|value| {
            let added = (value == Value::Co2eG && is_repriced).then_some(new);
            std::iter::once(value).chain(added.into_iter().flatten())
        });
        let accounted = Accounted::DEFAULT.map(Column::Accounted).into_iter().filter(|_| has_sacct);
        return Ok(key_columns.chain(values.map(Column::Value)).chain(accounted).collect());
    }
    if names == ["all"] {
        let is_new = |value: &Value| matches!(value, Value::Co2eRepricedG | Value::RepricedShare);
        let values = Value::value_variants().iter().copied().filter(|v| is_repriced || !is_new(v));
        let accounted = Accounted::value_variants().iter().copied().filter(|_| has_sacct);
        let values = values.map(Column::Value).chain(accounted.map(Column::Accounted));
        return Ok(key_columns.chain(values).collect());
    }
    let column = |name: &String| {
        let key = key_columns.clone().find(|column| column.name() == name);
        let value = || Value::from_str(name, false).ok().map(Column::Value);
        let accounted = || {
            let value = Accounted::from_str(name, false).ok().filter(|_| has_sacct);
            value.map(Column::Accounted)
        };
        key.or_else(value).or_else(accounted).ok_or_else(|| unknown(name, keys, has_sacct))
    };
    let named: Vec<Column> = names.iter().map(column).collect::<Result<_, _>>()?;
    let has_key = named.iter().any(|column| matches!(column, Column::Key(..)));
    Ok(if has_key { named } else { key_columns.chain(named).collect() })
}

fn unknown(name: &str, keys: &[Key], has_sacct: bool) -> String {
    let values = Value::value_variants().iter().map(|value| value.as_str());
    let accounted = Accounted::value_variants().iter().filter(|_| has_sacct);
    let values = values.chain(accounted.map(|value| value.as_str()));
    let all: Vec<_> = keys.iter().map(|key| key.as_str()).chain(values).collect();
    format!("column is {name:?}, expected one of {}", all.join(", "))
}
