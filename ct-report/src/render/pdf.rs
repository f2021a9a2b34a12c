//! The report of one job as PDF, on A4, with the fonts every reader has.
//!
//! These fonts know the characters of Windows-1252; what they do not know is shown as `?`.

mod backend;
mod sheet;

use anyhow::{Result, anyhow};
use plotters::prelude::IntoDrawingArea;

use self::backend::Backend;
use self::sheet::{Sheets, WIDTH};
use crate::job::Run;
use crate::job::notes::notes;
use crate::job::summary::warnings;
use crate::query::time::Zone;
use crate::render::chart::{BarChart, draw};
use crate::render::html::headline;
use crate::render::job::facts;
use crate::render::job_charts::charts;
use ct_core::text::printable;

/// Height of a chart in points.
const CHART: f32 = 170.0;

/// The report of a run.
///
/// # Errors
///
/// None in practice: it is drawn into memory.
pub(crate) fn job(run: &Run, zone: Zone) -> Result<Vec<u8>> {
    let title = facts::title(run);
    let mut sheets = Sheets::new();
    sheets.text(&printable(&title), 16.0, true, 0.0);
    figures(&mut sheets, &headline(run));
    pairs(&mut sheets, &facts::facts(run, zone));
    heading(&mut sheets, "Energy by component");
    table(&mut sheets, &facts::components(run));
    for one in charts(run, zone) {
        chart(&mut sheets, &one)?;
    }
    let prediction = facts::prediction(run);
    if !prediction.is_empty() {
        heading(&mut sheets, "Prediction");
        pairs(&mut sheets, &prediction);
    }
    for (name, items) in [("Notes", notes(run)), ("Warnings", warnings(run))] {
        if !items.is_empty() {
            heading(&mut sheets, name);
            items
                .iter()
                .for_each(|item| sheets.text(&format!("- {}", printable(item)), 9.5, false, 0.0));
        }
    }
    Ok(sheets.finish(&printable(&title)))
}

fn heading(sheets: &mut Sheets, text: &str) {
    // A heading is not left alone at the foot of a page.
    sheets.keep(48.0);
    sheets.skip(8.0);
    sheets.text(text, 12.0, true, 0.0);
}

fn figures(sheets: &mut Sheets, figures: &[(String, &str)]) {
    sheets.skip(4.0);
    let width = WIDTH / figures.len().max(1) as f32;
    for (at, (value, what)) in (0..).zip(figures) {
        let x = at as f32 * width;
        sheets.put(value, 12.0, true, x, 0.0);
        sheets.put(what, 8.5, false, x, 13.0);
    }
    sheets.skip(36.0);
}

fn pairs(sheets: &mut Sheets, pairs: &[(&str, String)]) {
    for (name, text) in pairs {
        sheets.keep(14.0);
        sheets.put(name, 9.5, false, 0.0, 0.0);
        sheets.text(&printable(text), 9.5, false, 62.0);
    }
}

fn table(sheets: &mut Sheets, rows: &[Vec<String>]) {
    let width = WIDTH / rows.first().map_or(1, Vec::len).max(1) as f32;
    for (number, row) in rows.iter().enumerate() {
        sheets.keep(14.0);
        for (at, cell) in (0..).zip(row) {
            sheets.put(cell, 9.5, number == 0, at as f32 * width, 0.0);
        }
        sheets.skip(13.0);
    }
}

fn chart(sheets: &mut Sheets, chart: &BarChart) -> Result<()> {
    sheets.keep(CHART + 8.0);
    sheets.skip(8.0);
    let (content, x, top) = sheets.canvas();
    let backend = Backend::new(content, x, top, (WIDTH as u32, CHART as u32));
    draw(&backend.into_drawing_area(), chart)
        .map_err(|error| anyhow!("cannot draw a chart: {error}"))?;
    sheets.skip(CHART);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{gpu_run, hostile_run};

    #[test]
    fn a_report_has_its_text_its_bars_and_as_many_pages_as_it_needs() {
        let pdf = job(&gpu_run(), Zone::Utc).unwrap();
        let text = String::from_utf8_lossy(&pdf);
        assert!(text.starts_with("%PDF-1.") && text.trim_end().ends_with("%%EOF"));
        for shown in [
            "(Job 1 \"train\" on lab: completed)",
            "(Mean power by hour [kW])",
            "(Carbon by epoch, with PUE [g CO2e])",
        ] {
            assert!(text.contains(shown), "{shown}");
        }
        // Two bars with two components, twice 40 epochs, and the legend.
        assert!(text.matches(" re\n").count() >= 84, "{}", text.matches(" re\n").count());
        assert_eq!(text.matches("/Type /Page\n").count(), 2);
    }

    #[test]
    fn text_cannot_leave_its_string() {
        let mut run = hostile_run();
        let pdf = job(&run, Zone::Utc).unwrap();
        assert!(!pdf.contains(&0x1b));
        run = crate::job::runs(vec![ct_core::record::Record {
            job_name: Some(") Tj ET (\\".to_owned()),
            ..run.head().clone()
        }])
        .remove(0);
        let text = String::from_utf8_lossy(&job(&run, Zone::Utc).unwrap()).into_owned();
        assert!(text.contains("\\) Tj ET \\(\\\\") || text.contains("\\) Tj ET (\\\\"), "{text}");
    }
}
