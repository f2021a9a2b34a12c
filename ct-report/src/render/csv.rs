//! Comma-separated values, and sacct's `|`-separated form.

use std::io::{self, Write};

use anyhow::Result;

use crate::row::{Cell, Head};
use ct_core::text::printable;

/// How values are separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `,`, quoted where needed.
    Csv,
    /// `|`, never quoted, as `sacct --parsable2` has it.
    Parsable,
}

/// Prints rows below a header; numbers are neither scaled nor rounded.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(
    form: Form,
    heads: &[Head],
    rows: &[Vec<Cell>],
    has_header: bool,
) -> Result<()> {
    let header = has_header.then(|| heads.iter().map(|h| h.name.to_owned()).collect());
    let text = |cell: &Cell| if form == Form::Csv { for_spreadsheet(cell) } else { text(cell) };
    let lines = header.into_iter().chain(rows.iter().map(|row| row.iter().map(text).collect()));
    let mut out = io::BufWriter::new(io::stdout().lock());
    match form {
        Form::Csv => {
            let mut writer = ::csv::Writer::from_writer(&mut out);
            for line in lines {
                let line: Vec<String> = line;
                writer.write_record(line).map_err(io::Error::from)?;
            }
            writer.flush()?;
        }
        Form::Parsable => {
            for line in lines {
                let line: Vec<String> = line.iter().map(|v| v.replace('|', "\\u{7c}")).collect();
                writeln!(out, "{}", line.join("|"))?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// A cell of CSV. A spreadsheet takes a text that begins so for a formula, and users choose their jobs'
/// names: an apostrophe before it makes it text there, as OWASP advises ("CSV injection").
fn for_spreadsheet(cell: &Cell) -> String {
    let text = text(cell);
    let is_formula = matches!(cell, Cell::Text(_)) && text.starts_with(['=', '+', '-', '@']);
    if is_formula { format!("'{text}") } else { text }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.as_deref().map(|t| printable(t).into_owned()).unwrap_or_default(),
        Cell::Count(count) => count.to_string(),
        Cell::Integer(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Cell::Number(number, _) => number.map(|n| n.to_string()).unwrap_or_default(),
        Cell::Microjoules(uj) => joules(*uj),
    }
}

/// Microjoules as joules with six places.
pub(super) fn joules(uj: u128) -> String {
    format!("{}.{:06}", uj / 1_000_000, uj % 1_000_000)
}
