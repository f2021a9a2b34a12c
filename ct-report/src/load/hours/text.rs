//! Columns of texts, by numbers that are given as texts come up.

use std::collections::HashMap;

use anyhow::Result;

use super::hash::Quick;
use crate::parquet::reader::Texts;

/// The texts of a column, in all groups of rows that a thread reads.
#[derive(Debug, Default)]
pub(super) struct Known {
    texts: Vec<Option<String>>,
    numbers: HashMap<Box<[u8]>, u32, Quick>,
    /// The number of what is missing.
    missing: Option<u32>,
}

impl Known {
    /// How many there are, numbered from 0.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    /// The text with this number; `None` also where the column has none.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize)?.as_deref()
    }

    fn number(&mut self, text: Option<&[u8]>) -> u32 {
        let known = match text {
            Some(text) => self.numbers.get(text).copied(),
            None => self.missing,
        };
        known.unwrap_or_else(|| self.add(text))
    }

    fn add(&mut self, text: Option<&[u8]>) -> u32 {
        let new = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.map(|text| String::from_utf8_lossy(text).into_owned()));
        match text {
            Some(text) => {
                self.numbers.insert(text.into(), new);
            }
            None => self.missing = Some(new),
        }
        new
    }
}

/// A column of texts of one group of rows.
pub(super) struct TextLane {
    column: Texts,
    ids: Vec<u32>,
}

impl TextLane {
    pub(super) fn new(column: Texts) -> Self {
        Self { column, ids: Vec::new() }
    }

    /// The numbers of the texts that were read last.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Reads the next rows.
    ///
    /// # Errors
    ///
    /// What cannot be decoded.
    pub(super) fn read(&mut self, n: usize, known: &mut Known) -> Result<()> {
        let Self { column, ids } = self;
        ids.clear();
        // Rows of one record come one after another, and equal texts of a batch, all of which are
        // in memory, mostly lie at one place.
        let mut last: Option<(Option<(usize, usize)>, u32)> = None;
        column.each(n, |_, text| {
            let place = text.map(|text| (text.as_ptr() as usize, text.len()));
            let same = last.filter(|(at, _)| *at == place).map(|(_, id)| id);
            let id = same.unwrap_or_else(|| known.number(text));
            last = Some((place, id));
            ids.push(id);
        })
    }
}

/// The columns of texts that are read, and what is known of each.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<&'static str>,
    known: Vec<Known>,
}

impl Columns {
    /// Those with these names, each once.
    pub(super) fn new(mut names: Vec<&'static str>) -> Self {
        names.sort_unstable();
        names.dedup();
        let known = names.iter().map(|_| Known::default()).collect();
        Self { names, known }
    }

    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Which of the columns has this name.
    pub(super) fn at(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    pub(super) fn known(&self) -> &[Known] {
        &self.known
    }

    pub(super) fn known_mut(&mut self) -> &mut [Known] {
        &mut self.known
    }
}
