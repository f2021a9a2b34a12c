//! Power over time, and its integral.

use serde::{Deserialize, Serialize};

/// How the power of a meter runs; time counts from the plant's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum Waveform {
    /// The same power all the time.
    Constant {
        /// The power.
        watts: f64,
    },
    /// High in the first half of each period, low in the second.
    Square {
        /// Power in the second half.
        low_w: f64,
        /// Power in the first half.
        high_w: f64,
        /// The length of both halves together.
        period_s: f64,
    },
    /// From one power to another in a straight line, and then that.
    Ramp {
        /// Power at the start.
        from_w: f64,
        /// Power at the end of the ramp and after it.
        to_w: f64,
        /// How long the ramp takes.
        duration_s: f64,
    },
    /// One power after the other; the last one stays. Without any step no power.
    Steps {
        /// The powers in their order.
        steps: Vec<Step>,
    },
    /// Power that follows the CPU time used on the meter's CPUs.
    CpuFollow {
        /// Power with all CPUs idle.
        idle_w: f64,
        /// What each busy core adds.
        watts_per_busy_core: f64,
    },
}

/// A constant power for some time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The power.
    pub watts: f64,
    /// How long; of the last step of all, at least so long.
    pub duration_s: f64,
}

impl Waveform {
    /// The energy in joules from the start until `elapsed_s`; `busy_s` is the CPU time used until
    /// then, in seconds summed over the meter's cores.
    pub fn energy_j(&self, elapsed_s: f64, busy_s: f64) -> f64 {
        match *self {
            Self::Ramp { from_w, to_w, duration_s } => {
                let ramp_s = elapsed_s.min(duration_s);
                let mean_w = (from_w + self.power_w(ramp_s, 0.0)) / 2.0;
                mean_w * ramp_s + to_w * (elapsed_s - ramp_s)
            }
            Self::Steps { ref steps } => {
                walk(steps, elapsed_s).map(|(watts, lasted_s)| watts * lasted_s).sum()
            }
            Self::Constant { watts } => watts * elapsed_s,
            Self::Square { low_w, high_w, period_s } => {
                let (n_periods, rest_s) = split(elapsed_s, period_s);
                let high_s = n_periods * period_s / 2.0 + rest_s.min(period_s / 2.0);
                low_w * elapsed_s + (high_w - low_w) * high_s
            }
            Self::CpuFollow { idle_w, watts_per_busy_core } => {
                idle_w * elapsed_s + watts_per_busy_core * busy_s
            }
        }
    }

    /// The power in watts at `elapsed_s`, with that many cores busy.
    pub fn power_w(&self, elapsed_s: f64, busy_cores: f64) -> f64 {
        match *self {
            Self::Ramp { from_w, to_w, duration_s } if elapsed_s < duration_s => {
                from_w + (to_w - from_w) * elapsed_s / duration_s
            }
            Self::Ramp { to_w, .. } => to_w,
            Self::Steps { ref steps } => {
                walk(steps, elapsed_s).last().map_or(0.0, |(watts, _)| watts)
            }
            Self::Constant { watts } => watts,
            Self::Square { low_w, high_w, period_s } => {
                let is_high = split(elapsed_s, period_s).1 < period_s / 2.0;
                if is_high { high_w } else { low_w }
            }
            Self::CpuFollow { idle_w, watts_per_busy_core } => {
                idle_w + watts_per_busy_core * busy_cores
            }
        }
    }

    /// The energy in joules between two times; none where it depends on the load.
    pub fn energy_between_j(&self, from_s: f64, to_s: f64) -> Option<f64> {
        let is_known = !matches!(self, Self::CpuFollow { .. });
        is_known.then(|| self.energy_j(to_s, 0.0) - self.energy_j(from_s, 0.0))
    }
}

/// Whole periods until `elapsed_s`, and the seconds since the last of them.
fn split(elapsed_s: f64, period_s: f64) -> (f64, f64) {
    let n_periods = (elapsed_s / period_s).floor();
    (n_periods, elapsed_s - n_periods * period_s)
}

/// The steps that have begun by `elapsed_s`: the power of each, and how long it has lasted.
fn walk(steps: &[Step], elapsed_s: f64) -> impl Iterator<Item = (f64, f64)> {
    let last = steps.len().saturating_sub(1);
    let mut left_s = elapsed_s;
    let mut is_over = false;
    steps.iter().enumerate().map_while(move |(n, step)| {
        if is_over {
            return None;
        }
        let lasted_s = if n == last { left_s } else { left_s.min(step.duration_s) };
        left_s -= lasted_s;
        // At the very end of a step the next one has begun.
        is_over = n < last && lasted_s < step.duration_s;
        Some((step.watts, lasted_s))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn constant_power_times_time_is_energy() {
        // 80 W for 2.5 s = 200 J.
        assert_close(Waveform::Constant { watts: 80.0 }.energy_j(2.5, 9.0), 200.0);
    }

    #[test]
    fn square_wave_adds_its_high_halves() {
        let square = Waveform::Square { low_w: 50.0, high_w: 150.0, period_s: 2.0 };
        // High for 1 s of each 2 s: 150 J, then 50 J; a whole period is 200 J.
        for (elapsed_s, energy_j) in [(0.5, 75.0), (1.0, 150.0), (2.0, 200.0), (4.5, 475.0)] {
            assert_close(square.energy_j(elapsed_s, 0.0), energy_j);
        }
        // From 0.5 s to 1.5 s: half a second high, half a second low.
        assert_close(square.energy_between_j(0.5, 1.5).unwrap(), 100.0);
        assert_close(square.power_w(4.9, 0.0), 150.0);
        assert_close(square.power_w(5.1, 0.0), 50.0);
    }

    fn stairs() -> Waveform {
        let step = |watts, duration_s| Step { watts, duration_s };
        Waveform::Steps { steps: vec![step(100.0, 1.0), step(0.0, 0.5), step(40.0, 1.0)] }
    }

    #[test]
    fn ramp_adds_its_mean_and_then_stays() {
        let ramp = Waveform::Ramp { from_w: 50.0, to_w: 250.0, duration_s: 4.0 };
        // After 2 s it is at 150 W, with 100 W on the mean; all 4 s have 150 W on the mean.
        for (elapsed_s, energy_j) in [(0.0, 0.0), (2.0, 200.0), (4.0, 600.0), (5.0, 850.0)] {
            assert_close(ramp.energy_j(elapsed_s, 0.0), energy_j);
        }
        assert_close(ramp.power_w(1.0, 0.0), 100.0);
        assert_close(ramp.power_w(9.0, 0.0), 250.0);
    }

    #[test]
    fn steps_follow_each_other_and_the_last_one_stays() {
        for (elapsed_s, energy_j) in [(0.5, 50.0), (1.0, 100.0), (1.4, 100.0), (4.0, 200.0)] {
            assert_close(stairs().energy_j(elapsed_s, 0.0), energy_j);
        }
        for (elapsed_s, power_w) in
            [(0.0, 100.0), (0.9, 100.0), (1.0, 0.0), (1.5, 40.0), (9.0, 40.0)]
        {
            assert_close(stairs().power_w(elapsed_s, 0.0), power_w);
        }
        let nothing = Waveform::Steps { steps: Vec::new() };
        assert_close(nothing.energy_j(9.0, 0.0) + nothing.power_w(9.0, 0.0), 0.0);
    }

    #[test]
    fn integral_of_the_power_is_the_energy() {
        let square = Waveform::Square { low_w: 10.0, high_w: 90.0, period_s: 0.8 };
        let ramp = Waveform::Ramp { from_w: 300.0, to_w: 20.0, duration_s: 1.7 };
        for wave in [square, ramp, stairs()] {
            let step_s = 0.001;
            let power = |n: i32| wave.power_w((f64::from(n) + 0.5) * step_s, 0.0);
            let sum: f64 = (0..3000).map(|n| power(n) * step_s).sum();
            assert!((sum - wave.energy_j(3.0, 0.0)).abs() < 1e-6, "{wave:?}");
        }
    }

    #[test]
    fn following_the_cpu_counts_busy_seconds() {
        let follow = Waveform::CpuFollow { idle_w: 20.0, watts_per_busy_core: 30.0 };
        // 20 W for 10 s, and 30 W for each of 4 busy seconds.
        assert_close(follow.energy_j(10.0, 4.0), 320.0);
        assert_close(follow.power_w(0.0, 1.5), 65.0);
        assert_eq!(follow.energy_between_j(0.0, 1.0), None);
    }

    #[test]
    fn spec_text_names_the_shape() {
        let text = r#"{"shape":"square","low_w":1.0,"high_w":2.0,"period_s":3.0}"#;
        let wave = Waveform::Square { low_w: 1.0, high_w: 2.0, period_s: 3.0 };
        assert_eq!(serde_json::from_str::<Waveform>(text).unwrap(), wave);
        assert!(serde_json::from_str::<Waveform>(r#"{"shape":"saw","watts":1.0}"#).is_err());
    }
}
