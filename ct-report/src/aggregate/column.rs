//! The columns of a report.

use clap::ValueEnum;
use ct_core::energy::Component;
use ct_core::units::Joules;

use super::{Group, Key, Sums};

/// A value of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Value {
    Jobs,
    ElapsedH,
    EnergyKwh,
    CpuKwh,
    DramKwh,
    GpuKwh,
    RestKwh,
    Co2eG,
    MeasuredShare,
    Coverage,
    EnergyJ,
}

impl Value {
    /// What is shown unless columns are named.
    pub(crate) const DEFAULT: [Self; 10] = [
        Self::Jobs,
        Self::ElapsedH,
        Self::EnergyKwh,
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
            Self::CpuKwh => "cpu_kwh",
            Self::DramKwh => "dram_kwh",
            Self::GpuKwh => "gpu_kwh",
            Self::RestKwh => "rest_kwh",
            Self::Co2eG => "co2e_g",
            Self::MeasuredShare => "measured_share",
            Self::Coverage => "coverage",
            Self::EnergyJ => "energy_j",
        }
    }
}

/// A column: one of the keys, by its place, or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Key(usize, Key),
    Value(Value),
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(Option<String>),
    Count(usize),
    /// A number, and how many decimals are enough for the eye.
    Number(Option<f64>, usize),
    /// Joules, exactly.
    Microjoules(u128),
}

impl Column {
    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Key(_, key) => key.as_str(),
            Self::Value(value) => value.as_str(),
        }
    }

    /// Its cell in the row of a group.
    pub(crate) fn cell(self, group: &Group, sums: &Sums) -> Cell {
        let kwh = |uj: u128| {
            let joules = Joules::new(uj as f64 / 1e6);
            Cell::Number(Some(joules.to_kilowatt_hours().as_kwh()), 6)
        };
        let value = match self {
            Self::Key(at, _) => return Cell::Text(group.get(at).cloned().flatten()),
            Self::Value(value) => value,
        };
        match value {
            Value::Jobs => Cell::Count(sums.n_jobs()),
            Value::ElapsedH => Cell::Number(Some(sums.elapsed_h()), 4),
            Value::EnergyKwh => kwh(sums.energy_uj()),
            Value::CpuKwh => kwh(sums.component_uj(Component::Cpu)),
            Value::DramKwh => kwh(sums.component_uj(Component::Dram)),
            Value::GpuKwh => kwh(sums.component_uj(Component::Gpu)),
            Value::RestKwh => kwh(sums.component_uj(Component::Rest)),
            Value::Co2eG => Cell::Number(Some(sums.co2e_g), 3),
            Value::MeasuredShare => Cell::Number(sums.measured_share(), 3),
            Value::Coverage => Cell::Number(sums.coverage(), 3),
            Value::EnergyJ => Cell::Microjoules(sums.energy_uj()),
        }
    }
}

/// The columns asked for; keys come first where only values are named.
///
/// # Errors
///
/// A name that is neither a value nor one of the keys.
pub(crate) fn columns(keys: &[Key], names: &[String]) -> Result<Vec<Column>, String> {
    let key_columns = keys.iter().enumerate().map(|(at, key)| Column::Key(at, *key));
    if names.is_empty() {
        return Ok(key_columns.chain(Value::DEFAULT.map(Column::Value)).collect());
    }
    let column = |name: &String| {
        let key = key_columns.clone().find(|column| column.name() == name);
        let value = || Value::from_str(name, false).ok().map(Column::Value);
        key.or_else(value).ok_or_else(|| unknown(name, keys))
    };
    let named: Vec<Column> = names.iter().map(column).collect::<Result<_, _>>()?;
    let has_key = named.iter().any(|column| matches!(column, Column::Key(..)));
    Ok(if has_key { named } else { key_columns.chain(named).collect() })
}

fn unknown(name: &str, keys: &[Key]) -> String {
    let values = Value::value_variants().iter().map(|value| value.as_str());
    let all: Vec<_> = keys.iter().map(|key| key.as_str()).chain(values).collect();
    format!("column is {name:?}, expected one of {}", all.join(", "))
}
