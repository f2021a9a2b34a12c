//! What of a record columns are made of: the dataset's columns that have to be read.

use super::column::{Column, Value};

/// What of a record columns are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Which job it is.
    pub(crate) jobs: bool,
    /// Its time.
    pub(crate) time: bool,
    /// Energy of all components.
    pub(crate) energy: bool,
    /// That of each.
    pub(crate) components: bool,
    pub(crate) idle: bool,
    pub(crate) gpu_unused: bool,
    pub(crate) measured: bool,
    pub(crate) coverage: bool,
    pub(crate) core: bool,
    pub(crate) gpu: bool,
    pub(crate) co2e: bool,
    pub(crate) embodied: bool,
    pub(crate) water: bool,
    /// How the job ended.
    pub(crate) end: bool,
}

impl Needs {
    /// What some columns need.
    pub(crate) fn of(columns: &[Column]) -> Self {
        let mut needs = Self::default();
        for column in columns {
            if let Column::Value(value) = column {
                needs.add(*value);
            }
        }
        needs
    }

    fn add(&mut self, value: Value) {
        match value {
            Value::Jobs => self.jobs = true,
            Value::ElapsedH => (self.jobs, self.time) = (true, true),
            Value::EnergyKwh | Value::EnergyJ => self.energy = true,
            Value::CpuKwh | Value::DramKwh | Value::GpuKwh | Value::RestKwh => {
                self.components = true;
            }
            Value::AllocatedKwh | Value::AllocatedJ => self.idle = true,
            Value::DynamicKwh | Value::DynamicJ => (self.energy, self.idle) = (true, true),
            Value::GpuUnusedKwh | Value::GpuUnusedJ => self.gpu_unused = true,
            Value::MeasuredShare => (self.energy, self.measured) = (true, true),
            Value::Coverage => (self.time, self.coverage) = (true, true),
            Value::FailedKwh | Value::CancelledKwh => (self.energy, self.end) = (true, true),
            Value::Co2eG => self.co2e = true,
            Value::EmbodiedG => self.embodied = true,
            Value::WaterL => self.water = true,
            Value::CoreHours => self.core = true,
            Value::GpuHours => self.gpu = true,
            Value::SciGPerJob => (self.jobs, self.co2e, self.embodied) = (true, true, true),
            // New prices are asked of records.
            Value::Co2eRepricedG | Value::RepricedShare => {}
        }
    }
}
