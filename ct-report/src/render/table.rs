//! A table for the eye.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::aggregate::column::{Cell, Column};
use crate::render::text::printable;

/// Prints rows below a header, numbers rounded and aligned to the right.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(columns: &[Column], rows: &[Vec<Cell>], has_header: bool) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
        table.set_header(columns.iter().map(|column| column.name()));
    }
    for row in rows {
        table.add_row(row.iter().map(text));
    }
    for (at, column) in columns.iter().enumerate() {
        if let (Column::Value(_), Some(column)) = (column, table.column_mut(at)) {
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

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.as_deref().map(|t| printable(t).into_owned()).unwrap_or_default(),
        Cell::Count(count) => count.to_string(),
        Cell::Number(number, decimals) => {
            number.map(|n| format!("{n:.decimals$}")).unwrap_or_default()
        }
        Cell::Microjoules(uj) => super::csv::joules(*uj),
    }
}
