//! What each device draws while nobody holds it, learned from intervals in which nobody did.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use ct_core::record::Baseline;
use ct_core::source::Device;
use ct_core::units::Watts;
use serde::{Deserialize, Serialize};

/// Idle intervals of a device that are remembered: a slow window.
const WINDOW: usize = 1000;
/// Idle intervals before which nothing is said to be known.
pub(super) const LEAST_SAMPLES: usize = 10;
/// The quantile of their mean powers that is taken: what a job before left warm, and what the
/// system does now and then, lies above it.
const QUANTILE: f64 = 0.1;

/// Learned idle power by device id; kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baselines {
    devices: BTreeMap<String, Learned>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learned {
    /// Mean powers of idle intervals in W, oldest first.
    watts: VecDeque<f64>,
    /// Their low quantile.
    quantile_w: f64,
    /// What the device's model reckoned with, where one stands for a meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// End of the last of them.
    #[serde(with = "ct_core::record::timestamp")]
    at: DateTime<Utc>,
}

impl Baselines {
    /// Takes the mean power of an interval in which nobody held the device; whether it became known
    /// by that.
    pub(super) fn learn(&mut self, device: &Device, power: Watts, at: DateTime<Utc>) -> bool {
        let power_w = (power.as_watts() * 1000.0).round() / 1000.0;
        let learned = self.devices.entry(device.id.clone()).or_insert_with(|| Learned {
            watts: VecDeque::new(),
            quantile_w: 0.0,
            model: device.model.clone(),
            at,
        });
        if learned.watts.len() >= WINDOW {
            learned.watts.pop_front();
        }
        learned.watts.push_back(power_w);
        learned.quantile_w = quantile(&learned.watts);
        learned.at = at;
        learned.watts.len() == LEAST_SAMPLES
    }

    /// Forgets what was learned of a model that reckons otherwise now; returns those devices, with what
    /// the model reckoned with then.
    pub(super) fn forget_other_models(&mut self, devices: &[Device]) -> Vec<(String, String)> {
        let now: BTreeMap<&str, &Option<String>> =
            devices.iter().map(|device| (device.id.as_str(), &device.model)).collect();
        let mut gone = Vec::new();
        self.devices.retain(|id, learned| {
            let is_same = now.get(id.as_str()).is_none_or(|model| **model == learned.model);
            if !is_same {
                let then = learned.model.take().unwrap_or_else(|| "other watts".to_owned());
                gone.push((id.clone(), then));
            }
            is_same
        });
        gone
    }

    fn known(&self, id: &str) -> Option<&Learned> {
        self.devices.get(id).filter(|l| l.watts.len() >= LEAST_SAMPLES)
    }

    /// Of how many devices enough was seen.
    pub fn n_known(&self) -> usize {
        self.devices.keys().filter(|id| self.known(id).is_some()).count()
    }

    /// The idle power of a device, once enough was seen of it.
    pub(super) fn idle_power(&self, id: &str) -> Option<Watts> {
        self.known(id).map(|l| Watts::new(l.quantile_w))
    }

    /// The same as a node's line says it.
    pub(super) fn describe(&self, id: &str) -> Option<Baseline> {
        self.known(id).map(|l| Baseline {
            watts: l.quantile_w,
            source: "learned".to_owned(),
            at: Some(l.at),
            n_samples: l.watts.len() as u64,
        })
    }
}

/// The value that one tenth of all lie at or below; the lowest of a few.
fn quantile(watts: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = watts.iter().copied().collect();
    let rank = (sorted.len().saturating_sub(1) as f64 * QUANTILE) as usize;
    if sorted.is_empty() {
        return 0.0;
    }
    *sorted.select_nth_unstable_by(rank, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use ct_core::energy::Component;

    use super::*;

    fn device(id: &str) -> Device {
        Device::new(Component::Cpu, id, id, "rapl")
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_low_quantile_of_enough_samples_is_the_baseline() {
        let mut baselines = Baselines::default();
        for n in 0..9 {
            assert!(!baselines.learn(&device("cpu"), Watts::new(40.0 + f64::from(n)), at(0)));
        }
        assert_eq!(baselines.idle_power("cpu"), None, "nine samples are not enough");
        assert!(baselines.learn(&device("cpu"), Watts::new(90.0), at(9)));
        assert_eq!(baselines.idle_power("cpu"), Some(Watts::new(40.0)));
        // One odd sample in a hundred does not pull it down.
        for n in 10..100 {
            baselines.learn(&device("cpu"), Watts::new(44.0), at(n));
        }
        baselines.learn(&device("cpu"), Watts::new(1.0), at(100));
        let told = baselines.describe("cpu").unwrap();
        assert_eq!((told.watts, told.source.as_str(), told.n_samples), (44.0, "learned", 101));
        assert_eq!(told.at, Some(at(100)));
        let json = serde_json::to_string(&baselines).unwrap();
        assert_eq!(serde_json::from_str::<Baselines>(&json).unwrap(), baselines);
    }

    #[test]
    fn the_window_forgets_what_is_long_ago() {
        let mut baselines = Baselines::default();
        for n in 0..1000 {
            baselines.learn(&device("gpu"), Watts::new(20.0), at(n));
        }
        for n in 0..1000 {
            baselines.learn(&device("gpu"), Watts::new(30.0), at(1000 + n));
        }
        assert_eq!(baselines.idle_power("gpu"), Some(Watts::new(30.0)));
        assert_eq!(baselines.describe("gpu").unwrap().n_samples, 1000);
    }

    #[test]
    fn what_was_learned_of_a_model_is_void_when_it_reckons_otherwise() {
        let of = |watts: Option<&str>| Device {
            model: watts.map(str::to_owned),
            ..Device::new(Component::Cpu, "cpu:0", "model:cpu", "modelled:tdp-configured")
        };
        let learn = |modelled: &Device| {
            let mut baselines = Baselines::default();
            for n in 0..10 {
                baselines.learn(modelled, Watts::new(12.0), at(n));
                baselines.learn(&device("rapl:dram-0"), Watts::new(3.0), at(n));
            }
            baselines
        };
        let mut baselines = learn(&of(Some("12.0 to 100.0 W")));
        let devices = [of(Some("12.0 to 100.0 W")), device("rapl:dram-0")];
        assert_eq!(baselines.forget_other_models(&devices), []);
        assert_eq!(baselines.idle_power("model:cpu"), Some(Watts::new(12.0)));
        let devices = [of(Some("24.0 to 200.0 W")), device("rapl:dram-0")];
        let then = ("model:cpu".to_owned(), "12.0 to 100.0 W".to_owned());
        assert_eq!(baselines.forget_other_models(&devices), [then]);
        assert_eq!(baselines.idle_power("model:cpu"), None);
        assert_eq!(baselines.idle_power("rapl:dram-0"), Some(Watts::new(3.0)));
        // Files of before said nothing of the model.
        let mut old = learn(&of(None));
        assert_eq!(old.forget_other_models(&devices).len(), 1);
        // A meter that is not there now may come back.
        assert_eq!(learn(&of(None)).forget_other_models(&[]), []);
    }
}
