//! Charts of bars.

use super::Page;
use crate::amount::Scale;
use crate::job::Run;
use crate::job::hours::hours;
use crate::render::bins::{Bar, binned, epoch_name};

/// Rows of a chart; where there are more values, several share a row, which shows their mean.
const ROWS: usize = 16;

/// Power hour by hour, unless the job took one hour only.
pub(super) fn power(page: &mut Page, run: &Run) {
    let hours = hours(run);
    if hours.len() < 2 {
        return;
    }
    let zone = page.zone;
    let label = |at: usize| zone.wall(hours[at].start).format("%m-%d %H:%M").to_string();
    let values: Vec<f64> = hours.iter().map(|hour| hour.total_w()).collect();
    let bars = binned(&values, ROWS, |from, _| label(from));
    let scale = Scale::power(max(&bars));
    page.heading(&format!("Mean power by hour [{}]{}", scale.unit, shared(values.len())));
    draw(page, &bars, scale);
}

/// Energy epoch by epoch.
pub(super) fn epochs(page: &mut Page, run: &Run) {
    let Some(epochs) = run.epochs() else { return };
    let declared = epochs.declared.map(|n| format!(" of {n} declared")).unwrap_or_default();
    let values: Vec<f64> = epochs.energy_j.iter().map(|e| e.as_u64() as f64).collect();
    let bars = binned(&values, ROWS, epoch_name);
    let scale = Scale::energy(max(&bars) as u128);
    let done = epochs.done;
    page.heading(&format!(
        "Epochs: {done} done{declared}; energy [{}]{}",
        scale.unit,
        shared(values.len())
    ));
    draw(page, &bars, scale);
}

fn shared(n: usize) -> &'static str {
    if n > ROWS { ", mean of each row" } else { "" }
}

fn max(bars: &[Bar]) -> f64 {
    bars.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

fn draw(page: &mut Page, bars: &[Bar], scale: Scale) {
    let names = bars.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let numbers: Vec<String> = bars.iter().map(|(_, value)| scale.show(*value)).collect();
    let digits = numbers.iter().map(String::len).max().unwrap_or(0);
    let used = 2 + names + 2 + digits + 2;
    let width = page.terminal.width.saturating_sub(used).min(50);
    let max = max(bars);
    for ((name, value), number) in bars.iter().zip(numbers) {
        let bar = page.terminal.bar(*value, max, width);
        page.line(format!("  {name:>names$}  {number:>digits$}  {bar}"));
    }
}
