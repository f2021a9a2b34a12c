//! Writes a table, row by row, in groups of rows of bounded size.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::columns::{Column, Kind, schema};

/// Rows of a group; engines read groups in parallel.
const ROWS: usize = 1 << 17;
/// Bytes of text of a group: records are a kilobyte and more.
const BYTES: usize = 64 << 20;
/// Distinct texts of a column that are kept to be used again.
const TEXTS: usize = 1 << 16;

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Double(f64),
    Missing,
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

impl From<Option<f64>> for Value<'_> {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Missing, Self::Double)
    }
}

impl From<Option<u32>> for Value<'_> {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::Missing, |number| Self::Int(number.into()))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

/// A file of a table that is being written.
pub(crate) struct TableWriter {
    writer: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<Buffer>,
    rows: u64,
    waiting: usize,
    waiting_bytes: usize,
}

/// The values of a column that are to be written.
struct Buffer {
    column: Column,
    values: Values,
    /// Of an optional column 1 where there is a value.
    levels: Vec<i16>,
    /// Texts that came before: most come again and again.
    texts: HashMap<String, ByteArray>,
}

enum Values {
    Text(Vec<ByteArray>),
    Int(Vec<i64>),
    Double(Vec<f64>),
}

impl TableWriter {
    /// Begins a file, which must not exist.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn create(path: &Path, columns: &[Column]) -> Result<Self> {
        let schema = Arc::new(parse_message_type(&schema(columns))?);
        let file = File::create_new(path).with_context(|| format!("{}", path.display()))?;
        let properties = Arc::new(properties(columns)?);
        let writer = SerializedFileWriter::new(BufWriter::new(file), schema, properties)?;
        let columns = columns.iter().map(|column| Buffer::new(*column)).collect();
        Ok(Self { writer, columns, rows: 0, waiting: 0, waiting_bytes: 0 })
    }

    /// Adds the rows of one record, whose values are in the order of the columns; they stay in one
    /// group.
    ///
    /// # Errors
    ///
    /// What the file system says, or a row that is not of this table.
    pub(crate) fn add(&mut self, rows: &[Vec<Value<'_>>]) -> Result<()> {
        if self.waiting + rows.len() > ROWS || self.waiting_bytes > BYTES {
            self.flush()?;
        }
        for row in rows {
            if row.len() != self.columns.len() {
                bail!("a row has {} values, expected {}", row.len(), self.columns.len());
            }
            for (buffer, value) in self.columns.iter_mut().zip(row) {
                self.waiting_bytes += buffer.push(*value)?;
            }
        }
        self.waiting += rows.len();
        self.rows += rows.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for buffer in &mut self.columns {
            buffer.write(&mut group)?;
        }
        group.close()?;
        (self.waiting, self.waiting_bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file and says how many rows it has; it is on disk then.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        let file = self.writer.into_inner()?.into_inner()?;
        file.sync_all()?;
        Ok(self.rows)
    }
}

fn properties(columns: &[Column]) -> Result<WriterProperties> {
    let mut builder = WriterProperties::builder()
        .set_created_by("ct-report".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Numbers that hardly repeat, and whole records: a dictionary of them is only in the way.
    for column in columns {
        let repeats =
            ["hour_s", "n_nodes", "nth", "split_id", "restart", "uid", "alloc_cpus", "tracked"];
        let is_text = column.kind == Kind::Text && column.name != "record";
        if !is_text && !repeats.contains(&column.name) {
            builder = builder.set_column_dictionary_enabled(ColumnPath::from(column.name), false);
        }
        if column.name == "record" {
            let path = ColumnPath::from(column.name);
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

impl Buffer {
    fn new(column: Column) -> Self {
        let values = match column.kind {
            Kind::Text => Values::Text(Vec::new()),
            Kind::Int => Values::Int(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
        };
        Self { column, values, levels: Vec::new(), texts: HashMap::new() }
    }

    /// Takes a value; says how many bytes of text it is.
    fn push(&mut self, value: Value<'_>) -> Result<usize> {
        if self.column.is_optional {
            self.levels.push(i16::from(value != Value::Missing));
        }
        match (&mut self.values, value) {
            (_, Value::Missing) if self.column.is_optional => {}
            (Values::Text(values), Value::Text(text)) => {
                if self.column.name == "record" {
                    values.push(ByteArray::from(text));
                    return Ok(text.len());
                }
                values.push(known(&mut self.texts, text));
            }
            (Values::Int(values), Value::Int(number)) => values.push(number),
            (Values::Double(values), Value::Double(number)) => values.push(number),
            _ => bail!("{value:?} is no value of the column {:?}", self.column.name),
        }
        Ok(0)
    }

    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, BufWriter<File>>) -> Result<()> {
        let mut writer =
            group.next_column()?.context("a group has as many columns as the table")?;
        let levels = self.column.is_optional.then_some(self.levels.as_slice());
        match &mut self.values {
            Values::Text(values) => {
                writer.typed::<ByteArrayType>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Int(values) => {
                writer.typed::<Int64Type>().write_batch(values, levels, None)?;
                values.clear();
            }
            Values::Double(values) => {
                writer.typed::<DoubleType>().write_batch(values, levels, None)?;
                values.clear();
            }
        }
        self.levels.clear();
        Ok(writer.close()?)
    }
}

/// A text in memory that is shared with the same text before it.
fn known(texts: &mut HashMap<String, ByteArray>, text: &str) -> ByteArray {
    if let Some(known) = texts.get(text) {
        return known.clone();
    }
    let new = ByteArray::from(text);
    if texts.len() >= TEXTS {
        texts.clear();
    }
    texts.insert(text.to_owned(), new.clone());
    new
}
