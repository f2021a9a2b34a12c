//! A table for the eye.

use std::io::{self, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::render::text::printable;
use crate::row::{Cell, Head};

/// Prints rows below a header, numbers rounded and aligned to the right.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(heads: &[Head], rows: &[Vec<Cell>], has_header: bool) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
        table.set_header(heads.iter().map(|head| head.name));
    }
    for row in rows {
        table.add_row(row.iter().map(text));
    }
    for (at, head) in heads.iter().enumerate() {
        if let (false, Some(column)) = (head.is_text, table.column_mut(at)) {
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
        Cell::Integer(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Cell::Number(number, decimals) => {
            number.map(|n| format!("{n:.decimals$}")).unwrap_or_default()
        }
        Cell::Microjoules(uj) => super::csv::joules(*uj),
    }
}
