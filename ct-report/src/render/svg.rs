//! Charts as SVG.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use ct_core::text::printable;
use plotters::prelude::*;

use crate::render::chart::{BarChart, FG, GRID, draw};

/// Size of a chart on a wide page and on a narrow one, in pixels.
pub(crate) const WIDE: (u32, u32) = (860, 280);
pub(crate) const NARROW: (u32, u32) = (380, 260);

/// A chart, to stand in a page; text in it is escaped.
///
/// # Errors
///
/// None in practice: it is drawn into memory.
pub(crate) fn chart(chart: &BarChart, size: (u32, u32)) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area, chart).map_err(|error| anyhow!("cannot draw a chart: {error}"))?;
    }
    Ok(svg)
}

/// Charts one above the other, as a file of its own that is legible on light and dark.
///
/// # Errors
///
/// As [`chart()`].
pub(crate) fn file(title: &str, charts: &[BarChart]) -> Result<String> {
    let (width, height) = WIDE;
    let n = charts.len() as u32;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {}\" width=\"{width}\" \
         height=\"{}\" font-family=\"system-ui, sans-serif\">\n<title>{}</title>\n<style>{}</style>\n",
        n * height + 8,
        n * height + 8,
        maud::html! { (printable(title)) }.into_string(),
        colors("svg{background:#fff}", "svg{background:#0d1117}")
    );
    for (at, one) in (0..).zip(charts) {
        let y = at * height;
        let _ = writeln!(svg, "<g transform=\"translate(0 {y})\">{}</g>", chart(one, WIDE)?);
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Style that puts the page's colours in the place of those a chart is drawn with.
pub(crate) fn colors(light: &str, dark: &str) -> String {
    let hex = |c: RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let (fg, grid) = (hex(FG), hex(GRID));
    format!(
        "{light}@media (prefers-color-scheme:dark){{@media screen{{{dark}\
         svg [fill=\"{fg}\"]{{fill:#e6edf3}}svg [stroke=\"{grid}\"]{{stroke:#3d444d}}}}}}"
    )
}
