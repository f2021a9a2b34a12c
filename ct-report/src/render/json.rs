//! JSON on stdout.

use std::io::{self, Write};

use anyhow::Result;
use serde::ser::{self, SerializeMap};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::render::csv::joules;
use crate::row::{Cell, Head};

/// Prints a value, indented.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print<T: Serialize>(value: &T) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(())
}

/// Prints an array as [`print()`] would, one element at a time.
pub(crate) struct ArrayWriter {
    out: io::BufWriter<io::StdoutLock<'static>>,
    is_empty: bool,
}

impl ArrayWriter {
    /// Writes to stdout.
    pub(crate) fn new() -> Self {
        Self { out: io::BufWriter::new(io::stdout().lock()), is_empty: true }
    }

    /// An element as the text [`Self::push_text`] takes.
    ///
    /// # Errors
    ///
    /// Those of the value's own serialisation.
    pub(crate) fn element<T: Serialize>(value: &T) -> Result<Vec<u8>> {
        // In an array of its own it is indented as in the whole.
        let mut text = serde_json::to_vec_pretty(&[value])?;
        text.truncate(text.len().saturating_sub("\n]".len()));
        text.drain(..text.len().min(1));
        Ok(text)
    }

    /// Adds an element.
    ///
    /// # Errors
    ///
    /// Those of writing to stdout.
    pub(crate) fn push<T: Serialize>(&mut self, value: &T) -> Result<()> {
        self.push_text(&Self::element(value)?)
    }

    /// Adds an element's text.
    ///
    /// # Errors
    ///
    /// Those of writing to stdout.
    pub(crate) fn push_text(&mut self, element: &[u8]) -> Result<()> {
        self.out.write_all(if self.is_empty { b"[" } else { b"," })?;
        self.is_empty = false;
        self.out.write_all(element)?;
        Ok(())
    }

    /// Ends the array.
    ///
    /// # Errors
    ///
    /// Those of writing to stdout.
    pub(crate) fn end(mut self) -> Result<()> {
        self.out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        self.out.flush()?;
        Ok(())
    }
}

/// Prints rows as objects, keyed by column.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print_rows(heads: &[Head], rows: &[Vec<Cell>]) -> Result<()> {
    let objects: Vec<_> = rows.iter().map(|row| Row { heads, row }).collect();
    print(&objects)
}

struct Row<'a> {
    heads: &'a [Head],
    row: &'a [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.row.len()))?;
        for (head, cell) in self.heads.iter().zip(self.row) {
            let name = head.name;
            match cell {
                Cell::Text(text) => map.serialize_entry(name, text)?,
                Cell::Count(count) => map.serialize_entry(name, count)?,
                Cell::Integer(number) => map.serialize_entry(name, number)?,
                Cell::Number(number, _) => map.serialize_entry(name, number)?,
                Cell::Microjoules(uj) => {
                    let exact = RawValue::from_string(joules(*uj)).map_err(ser::Error::custom)?;
                    map.serialize_entry(name, &exact)?;
                }
            }
        }
        map.end()
    }
}
