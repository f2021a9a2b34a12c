//! The columns of a group of rows that are read.

use anyhow::Result;
use parquet::data_type::{DataType, DoubleType, Int64Type};

use super::Ask;
use super::text::{Columns, TextLane};
use crate::parquet::reader::{Numbers, TableFile};

/// A column of numbers, without any where nobody asks for it.
pub(super) struct Lane<T: DataType> {
    column: Option<Numbers<T>>,
    values: Vec<T::T>,
}

impl<T: DataType> Lane<T> {
    fn read(&mut self, n: usize) -> Result<()> {
        self.column.as_mut().map_or(Ok(()), |column| column.take(n, &mut self.values))
    }

    /// What was read last.
    pub(super) fn values(&self) -> &[T::T] {
        &self.values
    }
}

/// A column of numbers that may be missing.
pub(super) struct KnownLane {
    column: Option<Numbers<DoubleType>>,
    values: Vec<Option<f64>>,
}

impl KnownLane {
    fn read(&mut self, n: usize) -> Result<()> {
        if let Some(column) = &mut self.column {
            self.values = column.next_known(n)?;
        }
        Ok(())
    }

    /// What was read last.
    pub(super) fn values(&self) -> &[Option<f64>] {
        &self.values
    }
}

/// The columns of a group of rows; empty ones are not needed.
pub(super) struct Lanes {
    n_rows: usize,
    /// In the order of [`Columns`].
    pub(super) texts: Vec<TextLane>,
    pub(super) hour_s: Lane<Int64Type>,
    /// Which of its record's rows a row is, from 0.
    pub(super) nth: Lane<Int64Type>,
    pub(super) start_ms: Lane<Int64Type>,
    pub(super) job_id: Lane<Int64Type>,
    pub(super) restart: Lane<Int64Type>,
    pub(super) n_nodes: Lane<Int64Type>,
    pub(super) split_id: Lane<Int64Type>,
    /// Energy of all components, of each, the idle part, that of GPUs not used, that measured.
    pub(super) energies: [Lane<Int64Type>; 8],
    /// Time, time with meters, CPU time, GPU time, grams.
    pub(super) amounts: [Lane<DoubleType>; 5],
    /// Embodied grams and water.
    pub(super) known: [KnownLane; 2],
}

impl Lanes {
    /// Opens the columns that are needed.
    ///
    /// # Errors
    ///
    /// A column that is not there.
    pub(super) fn open(
        file: &TableFile,
        group: usize,
        ask: Ask<'_>,
        columns: &Columns,
    ) -> Result<Self> {
        let needs = ask.needs;
        let int = |name, is_needed: bool| -> Result<_> {
            let column = is_needed.then(|| file.ints(group, name)).transpose()?;
            Ok(Lane { column, values: Vec::new() })
        };
        let double =
            |name, is_needed: bool| is_needed.then(|| file.doubles(group, name)).transpose();
        let amount = |name, is_needed| -> Result<_> {
            Ok(Lane { column: double(name, is_needed)?, values: Vec::new() })
        };
        let known = |name, is_needed| -> Result<_> {
            Ok(KnownLane { column: double(name, is_needed)?, values: Vec::new() })
        };
        let is_timed = ask.query.start.is_some() || ask.query.end.is_some();
        let text = |name: &&'static str| Ok(TextLane::new(file.texts(group, name)?));
        Ok(Self {
            n_rows: 0,
            texts: columns.names().iter().map(text).collect::<Result<_>>()?,
            hour_s: int("hour_s", true)?,
            nth: int("nth", true)?,
            start_ms: int("start_ms", is_timed)?,
            job_id: int("job_id", needs.jobs)?,
            restart: int("restart", needs.jobs)?,
            n_nodes: int("n_nodes", needs.jobs)?,
            split_id: int("split_id", needs.jobs)?,
            energies: [
                int("energy_uj", needs.energy)?,
                int("cpu_uj", needs.components)?,
                int("dram_uj", needs.components)?,
                int("gpu_uj", needs.components)?,
                int("rest_uj", needs.components)?,
                int("idle_uj", needs.idle)?,
                int("gpu_unused_uj", needs.gpu_unused)?,
                int("measured_uj", needs.measured)?,
            ],
            amounts: [
                amount("elapsed_s", needs.time)?,
                amount("covered_s", needs.coverage)?,
                amount("core_s", needs.core)?,
                amount("gpu_s", needs.gpu)?,
                amount("co2e_g", needs.co2e)?,
            ],
            known: [known("embodied_g", needs.embodied)?, known("water_l", needs.water)?],
        })
    }

    /// Reads the next rows.
    ///
    /// # Errors
    ///
    /// What cannot be decoded.
    pub(super) fn read(&mut self, n: usize, columns: &mut Columns) -> Result<()> {
        self.n_rows = n;
        let texts = self.texts.iter_mut().zip(columns.known_mut());
        texts.into_iter().try_for_each(|(lane, known)| lane.read(n, known))?;
        let of_all = [&mut self.hour_s, &mut self.nth, &mut self.start_ms];
        of_all.into_iter().try_for_each(|lane| lane.read(n))?;
        let of_jobs = [&mut self.job_id, &mut self.restart, &mut self.n_nodes, &mut self.split_id];
        of_jobs.into_iter().try_for_each(|lane| lane.read(n))?;
        self.energies.iter_mut().try_for_each(|lane| lane.read(n))?;
        self.amounts.iter_mut().try_for_each(|lane| lane.read(n))?;
        self.known.iter_mut().try_for_each(|lane| lane.read(n))
    }

    /// How many rows were read last.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }
}
