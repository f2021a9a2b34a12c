//! What a job may draw before it is warned or ended: `max_energy`, `max_co2`, `on_budget`.

use serde::{Deserialize, Serialize};

use super::OptionSet;

/// What happens when a job has passed its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBudget {
    /// It is said, in the log, the job's output and the record.
    #[default]
    Warn,
    /// It is said, and the job is ended when what it has drawn passes the budget.
    Stop,
}

impl OnBudget {
    /// Whether a job that passes it is ended.
    pub fn is_stop(self) -> bool {
        self == Self::Stop
    }
}

/// A budget, in the numbers of the blocks: with PUE, of the components the owner chose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Energy in kWh.
    pub max_energy_kwh: Option<f64>,
    /// Footprint in gCO2e.
    pub max_co2_g: Option<f64>,
    /// What happens.
    pub on_budget: OnBudget,
}

impl Budget {
    /// The budget of these keys; `None` where none is set.
    pub(super) fn resolve(set: &OptionSet) -> Option<Self> {
        // "none", which undoes the site's, is no number.
        let amount = |key| set.get(key).and_then(|v| v.parse::<f64>().ok());
        let (max_energy_kwh, max_co2_g) = (amount("max_energy"), amount("max_co2"));
        let on_budget = match set.get("on_budget") {
            Some("stop") => OnBudget::Stop,
            _ => OnBudget::Warn,
        };
        let is_set = max_energy_kwh.is_some() || max_co2_g.is_some();
        is_set.then_some(Self { max_energy_kwh, max_co2_g, on_budget })
    }

    /// Which limit an amount of energy and footprint passes, in words; the energy's first.
    pub fn passed_by(&self, kwh: f64, grams: f64) -> Option<String> {
        if let Some(max) = self.max_energy_kwh.filter(|max| kwh > *max) {
            return Some(format!("{kwh:.6} kWh of max_energy {max} kWh"));
        }
        let max = self.max_co2_g.filter(|max| grams > *max)?;
        Some(format!("{grams:.6} g of max_co2 {max} g"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Choice, Settings, parse};
    use super::*;

    fn settings(text: &str) -> Settings {
        let Ok(Choice::On(set)) = parse(text) else { panic!("{text}: {:?}", parse(text)) };
        Settings::resolve(&set).unwrap()
    }

    #[test]
    fn a_budget_is_off_unless_asked_for() {
        assert_eq!(settings("on").budget, None);
        assert_eq!(settings("on_budget:stop").budget, None);
        assert_eq!(settings("max_energy:3,max_energy:none").budget, None);
        let budget = settings("max_energy:2.5,max_co2:100,on_budget:stop").budget.unwrap();
        assert_eq!(budget.on_budget, OnBudget::Stop);
        assert_eq!(budget.passed_by(2.5, 100.0), None);
        assert!(budget.passed_by(2.6, 101.0).unwrap().contains("max_energy 2.5 kWh"));
        assert!(budget.passed_by(1.0, 101.0).unwrap().contains("max_co2 100 g"));
    }
}
