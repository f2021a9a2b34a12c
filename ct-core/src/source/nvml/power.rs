//! GPUs without an energy counter (before Volta): power, integrated every 100 ms on a thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;

use super::driver_error;
use crate::source::{Device, ReadError, Source};
use crate::units::{Joules, Watts};

/// Time between two readings of the power.
const STEP: Duration = Duration::from_millis(100);

/// Energy of one GPU as integrated so far.
#[derive(Clone, Debug)]
struct Integral {
    at: Instant,
    /// Power at that instant, or why it is unknown.
    power: Result<Watts, String>,
    joules: f64,
}

impl Integral {
    fn new(at: Instant, power: Result<Watts, String>) -> Self {
        Self { at, power, joules: 0.0 }
    }

    /// Takes a reading: the time since the last one had the mean of the two powers.
    fn advance(&mut self, at: Instant, power: Result<Watts, String>) {
        if let (Ok(before), Ok(now)) = (&self.power, &power) {
            let mean = Watts::new((before.as_watts() + now.as_watts()) / 2.0);
            self.joules += (mean * at.saturating_duration_since(self.at)).as_joules();
        }
        (self.at, self.power) = (at, power);
    }

    /// Energy at an instant since the last reading, at its power.
    fn energy_at(&self, at: Instant) -> Result<Joules, String> {
        let since = (self.power.clone()? * at.saturating_duration_since(self.at)).as_joules();
        Ok(Joules::new(self.joules + since))
    }
}

type Integrals = Mutex<Vec<Integral>>;

fn lock(integrals: &Integrals) -> MutexGuard<'_, Vec<Integral>> {
    integrals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The GPUs of this node whose power is integrated.
pub struct NvmlPower {
    devices: Vec<Device>,
    integrals: Arc<Integrals>,
}

impl NvmlPower {
    /// Starts integrating; the thread ends when this is dropped.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub(super) fn start(nvml: Arc<Nvml>, devices: Vec<Device>) -> std::io::Result<Self> {
        let ids: Vec<String> = devices.iter().map(|d| d.id.clone()).collect();
        let now = Instant::now();
        let first = ids.iter().map(|id| Integral::new(now, power(&nvml, id))).collect();
        let integrals = Arc::new(Mutex::new(first));
        let weak = Arc::downgrade(&integrals);
        thread::Builder::new()
            .name("nvml-power".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || integrate(&nvml, &ids, &weak))?;
        Ok(Self { devices, integrals })
    }
}

fn integrate(nvml: &Nvml, ids: &[String], integrals: &Weak<Integrals>) {
    loop {
        thread::sleep(STEP);
        // The driver is asked before the lock is taken: it may hang, the readers must not.
        let readings: Vec<_> = ids.iter().map(|id| (Instant::now(), power(nvml, id))).collect();
        let Some(integrals) = integrals.upgrade() else { return };
        for (integral, (at, power)) in lock(&integrals).iter_mut().zip(readings) {
            integral.advance(at, power);
        }
    }
}

fn power(nvml: &Nvml, id: &str) -> Result<Watts, String> {
    let milliwatts = nvml.device_by_uuid(id).and_then(|gpu| gpu.power_usage());
    milliwatts
        .map(|mw| Watts::new(f64::from(mw) * 1e-3))
        .map_err(|e| driver_error(id, &e).to_string())
}

impl Source for NvmlPower {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let now = Instant::now();
        let integrals = lock(&self.integrals).clone();
        let read = |(device, integral): (&Device, &Integral)| {
            let silent = now.saturating_duration_since(integral.at);
            if silent > crate::source::worker::PATIENCE {
                return Err(ReadError::Silent { meter: device.id.clone(), waited: silent });
            }
            let energy = integral
                .energy_at(now)
                .map_err(|message| ReadError::Driver { device: device.id.clone(), message })?;
            Ok(energy.to_microjoules().as_u64())
        };
        self.devices.iter().zip(&integrals).map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_integrated_between_readings_and_up_to_the_question() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let watts = |w: f64| Ok(Watts::new(w));
        let mut integral = Integral::new(start, watts(100.0));
        integral.advance(at(100), watts(200.0));
        integral.advance(at(200), watts(200.0));
        // 150 W and 200 W for 0.1 s each, then 200 W for 0.05 s.
        let joules = integral.energy_at(at(250)).unwrap().as_joules();
        assert!((joules - 45.0).abs() < 1e-9, "{joules}");
    }

    #[test]
    fn time_with_unknown_power_is_left_out() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut integral = Integral::new(start, Ok(Watts::new(100.0)));
        integral.advance(at(100), Err("lost".to_owned()));
        assert!(integral.energy_at(at(150)).is_err());
        integral.advance(at(200), Ok(Watts::new(100.0)));
        integral.advance(at(300), Ok(Watts::new(100.0)));
        let joules = integral.energy_at(at(300)).unwrap().as_joules();
        assert!((joules - 10.0).abs() < 1e-9, "{joules}");
    }
}
