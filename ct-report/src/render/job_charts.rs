//! The charts of a job: power over time, energy and carbon of each epoch.

use ct_core::energy::Component;

use crate::amount::Scale;
use crate::job::Run;
use crate::job::hours::hours;
use crate::query::time::Zone;
use crate::render::bins::{binned, epoch_name};
use crate::render::chart::{BarChart, COMPONENTS, MASS, Series};

/// Bars of a chart; where there are more values, several share one, which shows their mean.
const BARS: usize = 96;

/// The charts of a run: power by hour, and where there are epochs their energy and carbon.
pub(crate) fn charts(run: &Run, zone: Zone) -> Vec<BarChart> {
    [Some(power(run, zone)), epochs(run), carbon(run)].into_iter().flatten().collect()
}

fn power(run: &Run, zone: Zone) -> BarChart {
    let hours = hours(run);
    let max = hours.iter().map(|hour| hour.total_w()).fold(0.0, f64::max);
    let scale = Scale::power(max);
    let name = |from: usize, _| zone.wall(hours[from].start).format("%m-%d %H:%M").to_string();
    let bars = |component: usize| {
        let values: Vec<f64> = hours.iter().map(|hour| scale.of(hour.power_w(component))).collect();
        binned(&values, BARS, name)
    };
    let series = (0..4).map(|at| Series {
        name: Component::ALL[at].as_str(),
        color: COMPONENTS[at],
        values: bars(at).into_iter().map(|(_, value)| value).collect(),
    });
    let is_drawn = |series: &Series| series.values.iter().any(|value| *value > 0.0);
    BarChart {
        title: format!("Mean power by hour [{}]", scale.unit),
        labels: bars(0).into_iter().map(|(name, _)| name).collect(),
        series: series.filter(is_drawn).collect(),
    }
}

fn epochs(run: &Run) -> Option<BarChart> {
    let values = epoch_uj(run)?;
    let scale = Scale::energy(max(&values) as u128);
    let scaled: Vec<f64> = values.iter().map(|uj| scale.of(*uj)).collect();
    let title = format!("Energy by epoch, without PUE [{}]", scale.unit);
    Some(one_series(title, "energy", &scaled, COMPONENTS[0]))
}

fn carbon(run: &Run) -> Option<BarChart> {
    let head = run.head();
    // 1 kWh is 3.6e12 µJ.
    let g_per_uj = head.pue * head.intensity.g_per_kwh / 3.6e12;
    let grams: Vec<f64> = epoch_uj(run)?.iter().map(|uj| uj * g_per_uj).collect();
    let scale = Scale::mass(max(&grams));
    let scaled: Vec<f64> = grams.iter().map(|g| scale.of(*g)).collect();
    Some(one_series(
        format!("Carbon by epoch, with PUE [{} CO2e]", scale.unit),
        "CO2e",
        &scaled,
        MASS,
    ))
}

fn epoch_uj(run: &Run) -> Option<Vec<f64>> {
    let epochs = run.epochs().filter(|epochs| !epochs.energy_j.is_empty())?;
    Some(epochs.energy_j.iter().map(|e| e.as_u64() as f64).collect())
}

fn one_series(
    title: String,
    name: &'static str,
    values: &[f64],
    color: plotters::style::RGBColor,
) -> BarChart {
    let (labels, values) = binned(values, BARS, epoch_name).into_iter().unzip();
    BarChart { title, labels, series: vec![Series { name, color, values }] }
}

fn max(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
