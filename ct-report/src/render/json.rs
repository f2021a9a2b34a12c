//! JSON on stdout.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;
use serde::ser::{self, SerializeMap};
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::value::RawValue;

use crate::render::csv::joules;
use crate::row::{Cell, Head};
use ct_core::text::is_harmless;

/// Prints a value, indented.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print<T: Serialize>(value: &T) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    value.serialize(&mut Serializer::with_formatter(&mut out, Harmless::default()))?;
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
        let mut text = Vec::new();
        [value].serialize(&mut Serializer::with_formatter(&mut text, Harmless::default()))?;
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
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
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

/// Indented text in which what a terminal could obey, or what hides or reorders text, is written by
/// its number, as JSON allows of any character: readers of JSON see no difference.
#[derive(Debug, Default)]
struct Harmless<'a>(PrettyFormatter<'a>);

impl Formatter for Harmless<'_> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_harmless(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, is_first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, is_first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_could_obey_is_written_by_its_number_and_read_back_as_it_was() {
        let names = ["a\u{9b}2J", "b\u{202e}c\u{7f}", "Zoë \"1\"\n\u{1b}"];
        let text: Vec<u8> = names.iter().flat_map(|n| ArrayWriter::element(n).unwrap()).collect();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "\n  \"a\\u009b2J\"\n  \"b\\u202ec\\u007f\"\n  \"Zoë \\\"1\\\"\\n\\u001b\""
        );
        for (line, name) in text.trim().lines().zip(names) {
            assert_eq!(serde_json::from_str::<String>(line.trim()).unwrap(), name);
        }
    }
}
