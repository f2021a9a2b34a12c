//! Reads columns of a table back, a group of rows at a time.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

/// Values that are decoded at once.
pub(crate) const BATCH: usize = 8192;
/// Records that are decoded at once: each is a kilobyte and more.
const RECORDS: usize = 256;

/// An open file of a table. It stays as it is also where the file is replaced.
#[derive(Clone, Debug)]
pub(crate) struct TableFile {
    path: PathBuf,
    input: Arc<Input>,
    meta: Arc<ParquetMetaData>,
}

/// A file that several threads read at places of their own.
#[derive(Debug)]
struct Input {
    file: Arc<File>,
    bytes: u64,
}

/// Reads on from a place.
pub(crate) struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Input {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(From { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A length that a broken file names is no reason to take that much memory.
        let length = usize::try_from(self.bytes).map_or(length, |all| length.min(all));
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

impl TableFile {
    /// Opens a file and reads what it says of itself.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is not of Parquet.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let named = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(named)?;
        let bytes = file.metadata().with_context(named)?.len();
        let input = Input { file: Arc::new(file), bytes };
        let meta = ParquetMetaDataReader::new().parse_and_finish(&input).with_context(named)?;
        Ok(Self { path: path.to_owned(), input: Arc::new(input), meta: Arc::new(meta) })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many groups of rows it has.
    pub(crate) fn n_groups(&self) -> usize {
        self.meta.num_row_groups()
    }

    /// How many rows a group has.
    pub(crate) fn n_rows(&self, group: usize) -> usize {
        usize::try_from(self.meta.row_group(group).num_rows()).unwrap_or_default()
    }

    fn column<T: DataType>(&self, group: usize, name: &str) -> Result<ColumnReaderImpl<T>> {
        let group = self.meta.row_group(group);
        let is_it = |at: &usize| group.column(*at).column_path().string() == name;
        let at = (0..group.num_columns()).find(is_it);
        let at = at.ok_or_else(|| anyhow!("{} has no column {name:?}", self.path.display()))?;
        let column = group.column(at);
        if column.column_type() != T::get_physical_type() {
            let (seen, expected) = (column.column_type(), T::get_physical_type());
            bail!("{}: column {name:?} is of {seen}, expected {expected}", self.path.display());
        }
        let rows = usize::try_from(group.num_rows())?;
        let input = Arc::clone(&self.input);
        let pages = decode(|| SerializedPageReader::new(input, column, rows, None))?;
        Ok(ColumnReaderImpl::new(column.column_descr_ptr(), Box::new(pages)))
    }

    /// A column of whole numbers.
    ///
    /// # Errors
    ///
    /// A column that is not there, or is another.
    pub(crate) fn ints(&self, group: usize, name: &str) -> Result<Numbers<Int64Type>> {
        Ok(Numbers::new(self.column(group, name)?))
    }

    /// A column of numbers.
    ///
    /// # Errors
    ///
    /// A column that is not there, or is another.
    pub(crate) fn doubles(&self, group: usize, name: &str) -> Result<Numbers<DoubleType>> {
        Ok(Numbers::new(self.column(group, name)?))
    }

    /// A column of texts.
    ///
    /// # Errors
    ///
    /// A column that is not there, or is another.
    pub(crate) fn texts(&self, group: usize, name: &str) -> Result<Texts> {
        Ok(Texts { values: Numbers::new(self.column(group, name)?) })
    }

    /// Gives the records of some rows of a group to `take`, with their row in the group.
    ///
    /// # Errors
    ///
    /// What cannot be read; those of `take`.
    pub(crate) fn each_record(
        &self,
        group: usize,
        rows: Range<usize>,
        mut take: impl FnMut(usize, &str) -> Result<()>,
    ) -> Result<()> {
        let named = || format!("cannot read {}", self.path.display());
        let mut column = self.column::<ByteArrayType>(group, "record")?;
        decode(|| column.skip_records(rows.start)).with_context(named)?;
        let (mut row, mut records) = (rows.start, Vec::new());
        while row < rows.end {
            records.clear();
            let n = RECORDS.min(rows.end - row);
            let read = decode(|| column.read_records(n, None, None, &mut records));
            let (n, _, _) = read.with_context(named)?;
            if n == 0 {
                bail!("{} has fewer records than rows", self.path.display());
            }
            for record in &records {
                take(row, record.as_utf8().with_context(named)?)?;
                row += 1;
            }
        }
        Ok(())
    }
}

/// What the decoder gives. It panics on some broken files: for us that is an error of the file.
fn decode<T>(work: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    Ok(done.map_err(|_| anyhow!("a column's pages are broken"))??)
}

/// A column that is read in batches.
pub(crate) struct Numbers<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
}

impl<T: DataType> Numbers<T> {
    fn new(reader: ColumnReaderImpl<T>) -> Self {
        Self { reader, values: Vec::new(), levels: Vec::new() }
    }

    /// The next values, and 1 for each that is there; without levels all are.
    fn read(&mut self, n: usize) -> Result<(&[T::T], &[i16])> {
        self.values.clear();
        self.levels.clear();
        let levels = Some(&mut self.levels);
        let (reader, values) = (&mut self.reader, &mut self.values);
        let (seen, _, _) = decode(|| reader.read_records(n, levels, None, values))?;
        if seen != n {
            bail!("a column has {seen} values where {n} are expected");
        }
        Ok((&self.values, &self.levels))
    }

    /// The next `n` values of a column that has them all.
    ///
    /// # Errors
    ///
    /// What cannot be decoded, or has values missing.
    pub(crate) fn next(&mut self, n: usize) -> Result<&[T::T]> {
        let (values, _) = self.read(n)?;
        if values.len() != n {
            bail!("a column lacks {} of {n} values", n - values.len());
        }
        Ok(values)
    }

    /// Puts the next `n` values of a column that has them all into `values`.
    ///
    /// # Errors
    ///
    /// What cannot be decoded, or has values missing.
    pub(crate) fn take(&mut self, n: usize, values: &mut Vec<T::T>) -> Result<()> {
        self.next(n)?;
        std::mem::swap(&mut self.values, values);
        Ok(())
    }

    /// The next `n` values, some of which may be missing.
    ///
    /// # Errors
    ///
    /// What cannot be decoded.
    pub(crate) fn next_known(&mut self, n: usize) -> Result<Vec<Option<T::T>>> {
        let (values, levels) = self.read(n)?;
        if levels.is_empty() {
            return Ok(values.iter().cloned().map(Some).collect());
        }
        let mut values = values.iter().cloned();
        Ok(levels.iter().map(|level| if *level > 0 { values.next() } else { None }).collect())
    }
}

/// A column of texts that is read in batches.
pub(crate) struct Texts {
    values: Numbers<ByteArrayType>,
}

impl Texts {
    /// Gives each of the next `n` texts to `take`; nothing where one is missing.
    ///
    /// # Errors
    ///
    /// What cannot be decoded.
    pub(crate) fn each(
        &mut self,
        n: usize,
        mut take: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let (values, levels) = self.values.read(n)?;
        if levels.is_empty() {
            values.iter().enumerate().for_each(|(at, text)| take(at, Some(text.data())));
            return Ok(());
        }
        let mut values = values.iter().map(ByteArray::data);
        for (at, level) in levels.iter().enumerate() {
            take(at, if *level > 0 { values.next() } else { None });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::columns::{Column, Kind};
    use super::super::writer::{TableWriter, Value};
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { name: "node", kind: Kind::Text, is_optional: true },
        Column { name: "nth", kind: Kind::Int, is_optional: false },
    ];

    fn read(path: &Path) -> Result<()> {
        let file = TableFile::open(path)?;
        for group in 0..file.n_groups() {
            let n = file.n_rows(group).min(BATCH);
            file.texts(group, "node")?.each(n, |_, _| {})?;
            file.ints(group, "nth")?.next(n)?;
        }
        Ok(())
    }

    #[test]
    fn a_file_with_any_byte_changed_is_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let mut writer = TableWriter::create(&path, COLUMNS).unwrap();
        let rows = [Value::Text("n1"), Value::Missing].map(|node| vec![node, Value::Int(1)]);
        writer.add(&rows).unwrap();
        writer.finish().unwrap();
        read(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut n_refused = 0;
        for at in 0..bytes.len() {
            for flip in [1, 2, 0x80] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                fs::write(&path, broken).unwrap();
                n_refused += usize::from(read(&path).is_err());
            }
        }
        assert!(n_refused > bytes.len(), "{n_refused} of {}", 3 * bytes.len());
    }
}
