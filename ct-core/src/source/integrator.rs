//! Energy of devices that only tell their power: read again and again on a thread, and integrated.
//!
//! Sources with a power alone share it (NVML).
//! What it counts begins when it starts; time with unknown power is left out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::worker::PATIENCE;
use super::{Device, ReadError, Source};
use crate::units::{Joules, Microjoules, Watts};

/// Asks a device for its power; may take its time.
pub type Sensor = Box<dyn FnMut() -> Result<Watts, ReadError> + Send>;

/// Energy of one device as integrated so far.
#[derive(Clone, Debug)]
struct Integral {
    at: Instant,
    /// Power at that instant, or why it is unknown.
    power: Result<Watts, String>,
    joules: f64,
    /// The most that was answered: a counter never falls.
    answered: f64,
    /// Time between two readings beyond which the power in it is unknown.
    longest: Duration,
}

impl Integral {
    fn new(at: Instant, power: Result<Watts, String>, longest: Duration) -> Self {
        Self { at, power, joules: 0.0, answered: 0.0, longest }
    }

    /// Takes a reading: the time since the last one had the mean of the two powers.
    fn advance(&mut self, at: Instant, power: Result<Watts, String>) {
        let elapsed = at.saturating_duration_since(self.at);
        match (&self.power, &power) {
            (Ok(before), Ok(now)) if elapsed <= self.longest => {
                let mean = Watts::new((before.as_watts() + now.as_watts()) / 2.0);
                self.joules += (mean * elapsed).as_joules();
            }
            // What was answered of that time at the last power stands.
            _ => self.joules = self.joules.max(self.answered),
        }
        (self.at, self.power) = (at, power);
    }

    /// Energy at an instant since the last reading, at its power.
    fn energy_at(&mut self, at: Instant) -> Result<Microjoules, String> {
        let since = (self.power.clone()? * at.saturating_duration_since(self.at)).as_joules();
        self.answered = self.answered.max(self.joules + since);
        Ok(Joules::new(self.answered).to_microjoules())
    }
}

type Integrals = Mutex<Vec<Integral>>;

fn lock(integrals: &Integrals) -> MutexGuard<'_, Vec<Integral>> {
    integrals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Devices whose power is integrated; reading it waits for nothing.
pub struct Integrator {
    devices: Vec<Device>,
    integrals: Arc<Integrals>,
    longest: Duration,
}

impl Integrator {
    /// Starts integrating, one reading each `step`; the thread ends when this is dropped.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub fn start(
        name: &str,
        step: Duration,
        meters: Vec<(Device, Sensor)>,
    ) -> std::io::Result<Self> {
        let integrated =
            |device| Device { unit_uj: 1, outlives_us: false, is_integrated: true, ..device };
        let (devices, mut sensors): (Vec<Device>, Vec<Sensor>) =
            meters.into_iter().map(|(device, sensor)| (integrated(device), sensor)).unzip();
        let longest = PATIENCE.max(step * 3);
        let first = sensors.iter_mut().map(read).map(|(at, p)| Integral::new(at, p, longest));
        let integrals = Arc::new(Mutex::new(first.collect()));
        let weak = Arc::downgrade(&integrals);
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 * 1024)
            .spawn(move || integrate(step, &mut sensors, &weak))?;
        Ok(Self { devices, integrals, longest })
    }
}

fn integrate(step: Duration, sensors: &mut [Sensor], integrals: &Weak<Integrals>) {
    let mut due = Instant::now() + step;
    loop {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // The device is asked before the lock is taken: it may hang, the readers must not.
        let readings: Vec<_> = sensors.iter_mut().map(read).collect();
        let Some(integrals) = integrals.upgrade() else { return };
        for (integral, (at, power)) in lock(&integrals).iter_mut().zip(readings) {
            integral.advance(at, power);
        }
        // A slow device is asked a step after it answered, never at once again.
        due = (due + step).max(Instant::now() + step / 2);
    }
}

/// The power, and the instant in the middle of asking for it.
fn read(sensor: &mut Sensor) -> (Instant, Result<Watts, String>) {
    let asked = Instant::now();
    let power = sensor().map_err(|e| e.to_string());
    (asked + asked.elapsed() / 2, power)
}

impl Source for Integrator {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Result<u64, ReadError>> {
        let now = Instant::now();
        let mut integrals = lock(&self.integrals);
        let read = |(device, integral): (&Device, &mut Integral)| {
            let waited = now.saturating_duration_since(integral.at);
            if waited > self.longest {
                return Err(ReadError::Silent { meter: device.id.clone(), waited });
            }
            integral
                .energy_at(now)
                .map(Microjoules::as_u64)
                .map_err(|message| ReadError::Driver { device: device.id.clone(), message })
        };
        self.devices.iter().zip(integrals.iter_mut()).map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Component;

    const LONGEST: Duration = Duration::from_secs(2);

    fn joules(integral: &mut Integral, at: Instant) -> f64 {
        integral.energy_at(at).unwrap().to_joules().as_joules()
    }

    #[test]
    fn power_is_integrated_between_readings_and_up_to_the_question() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let watts = |w: f64| Ok(Watts::new(w));
        let mut integral = Integral::new(start, watts(100.0), LONGEST);
        integral.advance(at(100), watts(200.0));
        integral.advance(at(200), watts(200.0));
        // 150 W and 200 W for 0.1 s each, then 200 W for 0.05 s.
        let joules = joules(&mut integral, at(250));
        assert!((joules - 45.0).abs() < 1e-5, "{joules}");
    }

    #[test]
    fn an_answer_that_was_too_high_is_made_up_for_and_never_taken_back() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut integral = Integral::new(start, Ok(Watts::new(200.0)), LONGEST);
        assert!((joules(&mut integral, at(90)) - 18.0).abs() < 1e-5);
        // Power fell to nothing: 100 W in the mean for 0.1 s, less than was answered.
        integral.advance(at(100), Ok(Watts::new(0.0)));
        assert!((joules(&mut integral, at(100)) - 18.0).abs() < 1e-5);
        integral.advance(at(200), Ok(Watts::new(400.0)));
        // 10 J and 20 J.
        assert!((joules(&mut integral, at(200)) - 30.0).abs() < 1e-5);
    }

    #[test]
    fn time_with_unknown_power_is_left_out() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut integral = Integral::new(start, Ok(Watts::new(100.0)), LONGEST);
        integral.advance(at(100), Err("lost".to_owned()));
        assert!(integral.energy_at(at(150)).is_err());
        integral.advance(at(200), Ok(Watts::new(100.0)));
        integral.advance(at(300), Ok(Watts::new(100.0)));
        let joules_then = joules(&mut integral, at(300));
        assert!((joules_then - 10.0).abs() < 1e-5, "{joules_then}");
        // Nor is the power known while the device did not answer for long.
        integral.advance(at(5000), Ok(Watts::new(100.0)));
        assert!((joules(&mut integral, at(5000)) - 10.0).abs() < 1e-5);
    }

    #[test]
    fn a_device_that_fails_is_an_error_and_the_others_go_on() {
        let device = |id: &str| Device::new(Component::Gpu, id, id, "hwmon");
        let good: Sensor = Box::new(|| Ok(Watts::new(50.0)));
        let bad: Sensor = Box::new(|| Err(ReadError::Gone { path: "power1_input".into() }));
        let meters = vec![(device("good"), good), (device("bad"), bad)];
        let mut source = Integrator::start("test", Duration::from_millis(5), meters).unwrap();
        assert!(!source.devices()[0].outlives_us);
        let (start, first) = (Instant::now(), source.read());
        thread::sleep(Duration::from_millis(50));
        let second = source.read();
        let drawn = second[0].as_ref().unwrap() - first[0].as_ref().unwrap();
        let joules = 50.0 * start.elapsed().as_secs_f64();
        assert!(drawn as f64 * 1e-6 <= joules && drawn > 2_000_000, "{drawn} µJ of {joules} J");
        assert!(second[1].as_ref().unwrap_err().to_string().contains("vanished"));
    }
}
