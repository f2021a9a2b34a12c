//! A table for the eye.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::amount::decimals_of_small;
use crate::render::fit::{Fitted, fit, whole};
use crate::render::terminal::table_width;
use crate::row::{Cell, Head};
use ct_core::text::printable;

/// Prints rows below a header, numbers rounded and aligned to the right.
///
/// On a terminal the table is made to fit it; the names of columns that are left out come back.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(
    heads: &[Head],
    rows: &[Vec<Cell>],
    has_header: bool,
) -> Result<Vec<&'static str>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let fitted = table_width().map_or_else(|| whole(heads, rows), |width| fit(heads, rows, width));
    write(heads, &fitted, has_header)?;
    let is_shown = |at: &usize| fitted.shown.contains(at);
    Ok((0..heads.len()).filter(|at| !is_shown(at)).map(|at| heads[at].name).collect())
}

fn write(heads: &[Head], fitted: &Fitted, has_header: bool) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
        table.set_header(&fitted.heads);
    }
    for row in &fitted.rows {
        table.add_row(row);
    }
    for (place, at) in fitted.shown.iter().enumerate() {
        if let (false, Some(column)) = (heads[*at].is_text, table.column_mut(place)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()?;
    Ok(())
}

/// The number with so many decimals; with more where it would be shown as nothing.
fn rounded(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let is_lost = number != 0.0 && text.bytes().all(|byte| b"-0.".contains(&byte));
    if is_lost { format!("{number:.0$}", decimals_of_small(number)) } else { text }
}

/// A cell as a text, rounded for the eye.
pub(super) fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.as_deref().map(|t| printable(t).into_owned()).unwrap_or_default(),
        Cell::Count(count) => count.to_string(),
        Cell::Integer(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Cell::Number(number, decimals) => number.map(|n| rounded(n, *decimals)).unwrap_or_default(),
        Cell::Microjoules(uj) => super::csv::joules(*uj),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_number_is_not_shown_as_none() {
        for (number, decimals, shown) in [
            (0.0, 6, "0.000000"),
            (0.000_357, 6, "0.000357"),
            // 0.3 J.
            (8.333e-8, 6, "0.0000000833"),
            (-0.000_04, 3, "-0.0000400"),
            (1.0, 0, "1"),
        ] {
            assert_eq!(rounded(number, decimals), shown);
        }
    }
}
