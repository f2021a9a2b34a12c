//! Simulated components: `sim_cpu` and `sim_gpu`, with upstream's meaning.
//!
//! They are a wish of the job's owner for what its logs, blocks and prediction show. What the job is
//! charged stays what was metered.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{OptionError, OptionSet};
use crate::units::{Microjoules, Watts};

/// Utilisation of a simulated component where none is given: upstream's.
const DEFAULT_UTILISATION: f64 = 0.5;

/// A component that is shown in the place of the measured one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// Its name, as the logs show it.
    pub name: String,
    /// Power at full load, in watts.
    pub full_w: f64,
    /// Utilisation, 0 to 1.
    pub utilisation: f64,
}

/// The keys of one component: name, watts, utilisation.
type Keys = [&'static str; 3];
pub(super) const CPU: Keys = ["sim_cpu", "sim_cpu_tdp", "sim_cpu_util"];
pub(super) const GPU: Keys = ["sim_gpu", "sim_gpu_watts", "sim_gpu_util"];

impl Simulated {
    /// Its power, the same at every instant: watts at full load times utilisation.
    pub fn power(&self) -> Watts {
        Watts::new(self.full_w * self.utilisation)
    }

    /// Its energy over a time.
    pub fn energy(&self, duration: Duration) -> Microjoules {
        (self.power() * duration).to_microjoules()
    }

    /// Where its joules come from: `simulated:NAME`.
    pub fn method(&self) -> String {
        format!("simulated:{}", self.name)
    }

    /// The component of these keys; `None` where none is asked for, or `none`.
    pub(super) fn resolve(set: &OptionSet, keys: Keys) -> Result<Option<Self>, OptionError> {
        let [name_key, watts_key, utilisation_key] = keys;
        let number = |key| set.get(key).and_then(|v| v.parse::<f64>().ok());
        let missing = |key, missing| Err(OptionError::Incomplete { key, missing });
        let Some(name) = set.get(name_key) else {
            let lone = [watts_key, utilisation_key].into_iter().find(|k| set.get(k).is_some());
            return lone.map_or(Ok(None), |key| missing(key, name_key));
        };
        if name == "none" {
            return Ok(None);
        }
        let Some(full_w) = number(watts_key) else { return missing(name_key, watts_key) };
        let utilisation = number(utilisation_key).unwrap_or(DEFAULT_UTILISATION);
        Ok(Some(Self { name: name.to_owned(), full_w, utilisation }))
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
    fn power_is_watts_times_utilisation() {
        let text =
            "sim_cpu:Xeon X,sim_cpu_tdp:100,sim_cpu_util:0.25,sim_gpu:A100,sim_gpu_watts:400";
        let settings = settings(text);
        let (cpu, gpu) = (settings.sim_cpu.unwrap(), settings.sim_gpu.unwrap());
        assert_eq!((cpu.name.as_str(), cpu.power()), ("Xeon X", Watts::new(25.0)));
        // 100 W · 0.25 for 10 s are 250 J; 400 W at the default of half are 200 W.
        assert_eq!(cpu.energy(Duration::from_secs(10)).as_u64(), 250_000_000);
        assert_eq!((gpu.power(), gpu.method().as_str()), (Watts::new(200.0), "simulated:A100"));
    }

    #[test]
    fn none_takes_back_what_was_asked_for() {
        let settings = settings("sim_cpu:X,sim_cpu_tdp:100,sim_cpu:none");
        assert_eq!((settings.sim_cpu, settings.sim_gpu), (None, None));
    }

    #[test]
    fn half_a_component_is_refused() {
        for (text, key, missing) in [
            ("sim_cpu:X", "sim_cpu", "sim_cpu_tdp"),
            ("sim_gpu:X,sim_gpu_util:1", "sim_gpu", "sim_gpu_watts"),
            ("sim_cpu_tdp:100", "sim_cpu_tdp", "sim_cpu"),
            ("sim_gpu_util:1", "sim_gpu_util", "sim_gpu"),
        ] {
            assert_eq!(parse(text), Err(OptionError::Incomplete { key, missing }), "{text}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (text, part) in [
            ("sim_cpu:,sim_cpu_tdp:1", "sim_cpu is \"\", expected a name"),
            ("sim_cpu: ,sim_cpu_tdp:1", "sim_cpu is \" \", expected a name"),
            ("sim_gpu:X,sim_gpu_watts:-1", "sim_gpu_watts is \"-1\", expected a number of watts"),
            ("sim_gpu:X,sim_gpu_watts:inf", "sim_gpu_watts is \"inf\""),
            ("sim_cpu:X,sim_cpu_tdp:NaN", "sim_cpu_tdp is \"NaN\""),
            ("sim_cpu:X,sim_cpu_tdp:1,sim_cpu_util:1.5", "sim_cpu_util is \"1.5\", expected a"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
