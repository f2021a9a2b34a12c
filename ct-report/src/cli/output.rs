//! The form of what is printed.

use anyhow::Result;
use clap::{ArgGroup, Args};

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
            table::print(heads, rows, has_header)
        }
    }
}
