//! The form of what is printed.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};

use crate::diagnostic::note;
use crate::render::{csv, json, table};
use crate::row::{Cell, Head};

/// How rows are printed; a table unless said otherwise.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("output").multiple(false))]
pub(crate) struct OutputArgs {
    /// Leave out the header
    #[arg(short, long)]
    noheader: bool,
    /// Separate values by |, as sacct does
    #[arg(short = 'P', long, group = "output")]
    parsable2: bool,
    /// Print comma-separated values
    #[arg(long, group = "output")]
    csv: bool,
    /// Print JSON
    #[arg(long, group = "output")]
    json: bool,
}

impl OutputArgs {
    /// Whether rows are printed for the eye.
    pub(crate) fn is_table(&self) -> bool {
        !(self.parsable2 || self.csv || self.json)
    }

    /// Prints rows in the form asked for.
    ///
    /// # Errors
    ///
    /// Those of writing to stdout.
    pub(crate) fn print(&self, heads: &[Head], rows: &[Vec<Cell>]) -> Result<()> {
        let has_header = !self.noheader;
        if self.json {
            json::print_rows(heads, rows)
        } else if self.csv {
            csv::print(csv::Form::Csv, heads, rows, has_header)
        } else if self.parsable2 {
            csv::print(csv::Form::Parsable, heads, rows, has_header)
        } else {
            let left_out = table::print(heads, rows, has_header)?;
            if !left_out.is_empty() {
                note(&format!(
                    "left out, as the terminal is narrow: {}; --csv has all columns",
                    left_out.join(", ")
                ));
            }
            Ok(())
        }
    }
}

/// Writes a file as a whole, or to standard output where it is `-`: a reader sees the old one or the
/// new one.
///
/// # Errors
///
/// Those of writing, with the path.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        return Ok(out.flush()?);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    // A device or a pipe is written to, not replaced.
    let is_special = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
    let result = if is_special {
        fs::write(path, bytes)
    } else {
        fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path))
    };
    if result.is_err() {
        // Nothing to be done where it was never made.
        let _ = fs::remove_file(&temporary);
    }
    result.with_context(|| format!("cannot write {}", path.display()))
}
