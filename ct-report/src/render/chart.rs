//! Stacked bars, drawn by plotters on whatever can draw.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colour of text; pages put their own in its place where they are dark.
pub(crate) const FG: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
/// Colour of lines behind the bars.
pub(crate) const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
/// Colours of cpu, dram, gpu and rest, which the colour-blind tell apart (Okabe and Ito, 2008).
pub(crate) const COMPONENTS: [RGBColor; 4] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x8c, 0x95, 0x9f),
];
/// Colour of mass.
pub(crate) const MASS: RGBColor = RGBColor(0x00, 0x9e, 0x73);

/// A chart of stacked bars.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BarChart {
    /// What it shows, with its unit.
    pub(crate) title: String,
    /// What each bar is of.
    pub(crate) labels: Vec<String>,
    /// From the bottom up; each has a value for each label.
    pub(crate) series: Vec<Series>,
}

/// One colour of the bars.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) color: RGBColor,
    pub(crate) values: Vec<f64>,
}

impl BarChart {
    /// The highest bar.
    fn max(&self) -> f64 {
        let height = |at| self.series.iter().filter_map(|s: &Series| s.values.get(at)).sum();
        let max = (0..self.labels.len()).map(height).fold(0.0, f64::max);
        if max > 0.0 { max } else { 1.0 }
    }
}

/// Draws a chart over the whole of an area.
///
/// # Errors
///
/// Those of the backend.
pub(crate) fn draw<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    chart: &BarChart,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    draw_title(area, chart)?;
    let (width, n, max) = (area.dim_in_pixel().0, chart.labels.len(), chart.max());
    let mut context = ChartBuilder::on(area)
        .margin_top(if chart.series.len() > 1 { 50 } else { 32 })
        .margin_right(12)
        .x_label_area_size(28)
        .y_label_area_size(54)
        .build_cartesian_2d((0..n.saturating_sub(1)).into_segmented(), 0.0..max * 1.05)?;
    let text = text_style(12);
    context
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(text)
        .y_labels(5)
        .y_label_formatter(&|value| number(*value, max))
        .x_labels((width as usize / 85).clamp(2, 12))
        .x_label_formatter(&|at| match at {
            SegmentValue::CenterOf(at) => chart.labels.get(*at).cloned().unwrap_or_default(),
            _ => String::new(),
        })
        .draw()?;
    let gap = (width / (n.max(1) as u32 * 8)).min(6);
    let mut base = vec![0.0; n];
    for series in &chart.series {
        let style = series.color.filled();
        let bars = base.iter_mut().zip(&series.values).enumerate().map(|(at, (base, value))| {
            let from = *base;
            *base += value;
            let corners = [(SegmentValue::Exact(at), from), (SegmentValue::Exact(at + 1), *base)];
            let mut bar = Rectangle::new(corners, style);
            bar.set_margin(0, 0, gap, gap);
            bar
        });
        context.draw_series(bars)?;
    }
    area.present()
}

/// The title, and below it which colour is what where there are several.
fn draw_title<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    chart: &BarChart,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    area.draw(&Text::new(chart.title.clone(), (8, 8), text_style(15)))?;
    if chart.series.len() < 2 {
        return Ok(());
    }
    let mut x = 8;
    for series in &chart.series {
        area.draw(&Rectangle::new([(x, 31), (x + 10, 41)], series.color.filled()))?;
        area.draw(&Text::new(series.name, (x + 15, 30), text_style(12)))?;
        x += 34 + 7 * i32::try_from(series.name.len()).unwrap_or(0);
    }
    Ok(())
}

fn text_style(size: i32) -> TextStyle<'static> {
    let style: TextStyle<'_> = ("sans-serif", size).into();
    style.color(&FG).pos(Pos::new(HPos::Left, VPos::Top))
}

/// A number on an axis that goes up to `max`.
fn number(value: f64, max: f64) -> String {
    let decimals = match max {
        m if m >= 20.0 => 0,
        m if m >= 2.0 => 1,
        m if m >= 0.2 => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}
