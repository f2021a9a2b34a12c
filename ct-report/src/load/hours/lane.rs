//! The columns of a group of rows that are read, and the groups of the report their rows go to.

use std::collections::HashMap;

use anyhow::Result;
use chrono::DateTime;
use ct_core::record::EndReason;
use parquet::data_type::{DataType, DoubleType, Int64Type};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use super::hash::Quick;
use super::{Ask, begin};
use crate::aggregate::part::{ClusterHash, End, JobRef, Part};
use crate::aggregate::{Group, Key};
use crate::parquet::reader::{Numbers, TableFile, Texts};
use crate::query::Query;

/// Hours whose periods are kept: some more than a month has.
const PERIODS: usize = 1024;

/// A column of numbers, or nothing but zeros where nobody asks for it.
struct Lane<T: DataType> {
    column: Option<Numbers<T>>,
    values: Vec<T::T>,
}

impl<T: DataType> Lane<T> {
    fn new(column: Option<Numbers<T>>) -> Self {
        Self { column, values: Vec::new() }
    }

    fn read(&mut self, n: usize) -> Result<()> {
        match &mut self.column {
            Some(column) => column.take(n, &mut self.values),
            None => {
                self.values.resize(n, T::T::default());
                Ok(())
            }
        }
    }
}

/// A column of numbers that may be missing.
struct KnownLane {
    column: Option<Numbers<DoubleType>>,
    values: Vec<Option<f64>>,
}

impl KnownLane {
    fn read(&mut self, n: usize) -> Result<()> {
        self.values = match &mut self.column {
            Some(column) => column.next_known(n)?,
            None => vec![None; n],
        };
        Ok(())
    }
}

/// A column of texts, by numbers that are given as texts come up.
struct TextLane {
    name: &'static str,
    column: Texts,
    ids: Vec<u32>,
    texts: Vec<Option<String>>,
    numbers: HashMap<Box<[u8]>, u32, Quick>,
    /// The number of what is missing.
    missing: Option<u32>,
}

impl TextLane {
    fn read(&mut self, n: usize) -> Result<()> {
        let Self { column, ids, texts, numbers, missing, .. } = self;
        ids.clear();
        // Rows of one record come one after another, and equal texts of a batch, all of which are
        // in memory, mostly lie at one place.
        let mut last: Option<(Option<(usize, usize)>, u32)> = None;
        column.each(n, |_, text| {
            let place = text.map(|text| (text.as_ptr() as usize, text.len()));
            let same = last.filter(|(at, _)| *at == place).map(|(_, id)| id);
            let known = same.or_else(|| match text {
                Some(text) => numbers.get(text).copied(),
                None => *missing,
            });
            let id = known.unwrap_or_else(|| {
                let new = u32::try_from(texts.len()).unwrap_or(u32::MAX);
                texts.push(text.map(|text| String::from_utf8_lossy(text).into_owned()));
                match text {
                    Some(text) => {
                        numbers.insert(text.into(), new);
                    }
                    None => *missing = Some(new),
                }
                new
            });
            last = Some((place, id));
            ids.push(id);
        })
    }
}

/// The columns that are read.
pub(super) struct Lanes {
    texts: Vec<TextLane>,
    /// Where the lanes of users, accounts, partitions and ends are.
    user: Option<usize>,
    account: Option<usize>,
    partition: Option<usize>,
    end: Option<usize>,
    hour_s: Lane<Int64Type>,
    nth: Lane<Int64Type>,
    job_id: Lane<Int64Type>,
    restart: Lane<Int64Type>,
    start_ms: Lane<Int64Type>,
    n_nodes: Lane<Int64Type>,
    split_id: Lane<Int64Type>,
    energy: [Lane<Int64Type>; 4],
    idle: Lane<Int64Type>,
    gpu_unused: Lane<Int64Type>,
    measured: Lane<Int64Type>,
    /// Time, time with meters, CPU time, GPU time, grams.
    doubles: [Lane<DoubleType>; 5],
    embodied: KnownLane,
    water: KnownLane,
    n_rows: usize,
}

impl Lanes {
    /// Opens the columns that are needed.
    ///
    /// # Errors
    ///
    /// A column that is not there.
    pub(super) fn open(file: &TableFile, group: usize, ask: Ask<'_>) -> Result<Self> {
        let needs = ask.needs;
        let int = |name, is_needed: bool| -> Result<Lane<Int64Type>> {
            Ok(Lane::new(is_needed.then(|| file.ints(group, name)).transpose()?))
        };
        let double =
            |name, is_needed: bool| is_needed.then(|| file.doubles(group, name)).transpose();
        let lane = |name, is_needed| anyhow::Ok(Lane::new(double(name, is_needed)?));
        let known = |name, is_needed| {
            anyhow::Ok(KnownLane { column: double(name, is_needed)?, values: Vec::new() })
        };
        let is_timed = ask.query.start.is_some() || ask.query.end.is_some();
        let mut texts = Vec::new();
        for name in text_columns(ask) {
            let column = file.texts(group, name)?;
            let (ids, known, numbers) = (Vec::new(), Vec::new(), HashMap::default());
            texts.push(TextLane { name, column, ids, texts: known, numbers, missing: None });
        }
        let at = |name: &str| texts.iter().position(|lane: &TextLane| lane.name == name);
        Ok(Self {
            user: at("user"),
            account: at("account"),
            partition: at("partition"),
            end: at("end_reason"),
            texts,
            hour_s: int("hour_s", true)?,
            nth: int("nth", true)?,
            job_id: int("job_id", needs.jobs)?,
            restart: int("restart", needs.jobs)?,
            start_ms: int("start_ms", is_timed)?,
            n_nodes: int("n_nodes", needs.jobs)?,
            split_id: int("split_id", needs.jobs)?,
            energy: [
                int("cpu_uj", needs.energy)?,
                int("dram_uj", needs.energy)?,
                int("gpu_uj", needs.energy)?,
                int("rest_uj", needs.energy)?,
            ],
            idle: int("idle_uj", needs.idle)?,
            gpu_unused: int("gpu_unused_uj", needs.gpu_unused)?,
            measured: int("measured_uj", needs.measured)?,
            doubles: [
                lane("elapsed_s", needs.time)?,
                lane("covered_s", needs.coverage)?,
                lane("core_s", needs.core)?,
                lane("gpu_s", needs.gpu)?,
                lane("co2e_g", needs.co2e)?,
            ],
            embodied: known("embodied_g", needs.embodied)?,
            water: known("water_l", needs.water)?,
            n_rows: 0,
        })
    }

    /// Reads the next rows.
    ///
    /// # Errors
    ///
    /// What cannot be decoded.
    pub(super) fn read(&mut self, n: usize) -> Result<Rows<'_>> {
        self.n_rows = n;
        self.texts.iter_mut().try_for_each(|lane| lane.read(n))?;
        self.hour_s.read(n)?;
        let of_jobs = [&mut self.nth, &mut self.job_id, &mut self.restart, &mut self.start_ms];
        of_jobs.into_iter().try_for_each(|lane| lane.read(n))?;
        let more = [&mut self.n_nodes, &mut self.split_id, &mut self.idle, &mut self.gpu_unused];
        more.into_iter().try_for_each(|lane| lane.read(n))?;
        self.energy.iter_mut().try_for_each(|lane| lane.read(n))?;
        self.measured.read(n)?;
        self.doubles.iter_mut().try_for_each(|lane| lane.read(n))?;
        self.embodied.read(n)?;
        self.water.read(n)?;
        Ok(Rows { lanes: self })
    }

    /// Of each key where its lane is; keys of time and the cluster have none.
    pub(super) fn of_keys(&self, keys: &[Key]) -> Vec<Option<usize>> {
        let at = |name| self.texts.iter().position(|lane| lane.name == name);
        keys.iter().map(|key| text_column(*key).and_then(at)).collect()
    }
}

/// Columns of texts that keys, filters and values need.
fn text_columns(ask: Ask<'_>) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        ask.keys.iter().filter_map(|key| text_column(*key)).collect();
    let filters = [
        (!ask.query.users.is_empty(), "user"),
        (!ask.query.accounts.is_empty(), "account"),
        (!ask.query.partitions.is_empty(), "partition"),
        (ask.needs.end, "end_reason"),
    ];
    names.extend(filters.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, name)| name));
    names.sort_unstable();
    names.dedup();
    names
}

fn text_column(key: Key) -> Option<&'static str> {
    match key {
        Key::Month | Key::Week | Key::Day | Key::Hour | Key::Cluster => None,
        _ => Some(key.as_str()),
    }
}

/// Some rows.
pub(super) struct Rows<'a> {
    lanes: &'a Lanes,
}

impl Rows<'_> {
    pub(super) fn len(&self) -> usize {
        self.lanes.n_rows
    }

    pub(super) fn hour_s(&self, row: usize) -> i64 {
        self.lanes.hour_s.values[row]
    }

    /// Whether a row is the first one of its record.
    pub(super) fn is_first(&self, row: usize) -> bool {
        self.lanes.nth.values[row] == 0
    }

    fn text(&self, lane: Option<usize>, row: usize) -> Option<&str> {
        let lane = &self.lanes.texts[lane?];
        lane.texts[lane.ids[row] as usize].as_deref()
    }

    /// Whether a row is asked for.
    pub(super) fn is_selected(&self, row: usize, query: &Query) -> bool {
        let is_in = |list: &[String], lane: Option<usize>| {
            list.is_empty() || list.iter().any(|wanted| Some(&**wanted) == self.text(lane, row))
        };
        let is_timed = query.start.is_some() || query.end.is_some();
        let covers = || {
            begin(self.lanes.start_ms.values[row], self.hour_s(row))
                .is_some_and(|at| query.covers(at))
        };
        is_in(&query.users, self.lanes.user)
            && is_in(&query.accounts, self.lanes.account)
            && is_in(&query.partitions, self.lanes.partition)
            && (!is_timed || covers())
    }

    /// Whose row it is.
    pub(super) fn job(&self, row: usize, cluster: ClusterHash) -> JobRef {
        let lanes = self.lanes;
        let small = |lane: &Lane<Int64Type>| u32::try_from(lane.values[row]).unwrap_or_default();
        let end = self.text(lanes.end, row).and_then(|reason| {
            let reason: StrDeserializer<'_, Error> = reason.into_deserializer();
            EndReason::deserialize(reason).ok()
        });
        JobRef {
            cluster,
            job_id: small(&lanes.job_id),
            restart: small(&lanes.restart),
            // Commands outside of Slurm are on one node, and not looked for on others.
            start_ms: 0,
            n_nodes: small(&lanes.n_nodes),
            end: end.map_or(End::Other, End::from),
            split_id: lanes.split_id.values[row],
        }
    }

    /// What a row adds.
    pub(super) fn part(&self, row: usize) -> Part {
        let lanes = self.lanes;
        let wide = |lane: &Lane<Int64Type>| u128::try_from(lane.values[row]).unwrap_or_default();
        let [elapsed, covered, core, gpu, co2e] = &lanes.doubles;
        Part {
            hour: DateTime::from_timestamp(self.hour_s(row), 0).unwrap_or_default(),
            elapsed_s: elapsed.values[row],
            covered_s: covered.values[row],
            core_s: core.values[row],
            gpu_s: gpu.values[row],
            energy_uj: lanes.energy.each_ref().map(wide),
            idle_uj: wide(&lanes.idle),
            gpu_unused_uj: wide(&lanes.gpu_unused),
            measured_uj: wide(&lanes.measured),
            co2e_g: co2e.values[row],
            embodied_g: lanes.embodied.values[row],
            water_l: lanes.water.values[row],
        }
    }
}

/// Numbers of the report's groups, as they come up.
pub(super) struct Groups<'a> {
    ask: Ask<'a>,
    cluster: &'a str,
    /// Of each key its text lane, where it has one.
    lanes: Vec<Option<usize>>,
    numbers: HashMap<Box<[i64]>, usize, Quick>,
    ids: Vec<Box<[i64]>>,
    /// An hour of each group, for the names of its periods.
    hours: Vec<i64>,
    last: Option<usize>,
    key: Vec<i64>,
    /// Hours that came up lately, each at its place, and of each key the number of its period,
    /// where it is of time.
    periods: Vec<(Option<i64>, Vec<Option<i64>>)>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(ask: Ask<'a>, cluster: &'a str, lanes: &Lanes) -> Self {
        let lanes = lanes.of_keys(ask.keys);
        let (numbers, ids, hours) = (HashMap::default(), Vec::new(), Vec::new());
        let periods = vec![(None, Vec::new()); PERIODS];
        Self { ask, cluster, lanes, numbers, ids, hours, last: None, key: Vec::new(), periods }
    }

    /// The group a row goes to: often that of the row before.
    pub(super) fn of(&mut self, rows: &Rows<'_>, row: usize) -> usize {
        let hour_s = rows.hour_s(row);
        let place = hour_s.div_euclid(3600).rem_euclid(PERIODS as i64);
        let (known, periods) = &mut self.periods[usize::try_from(place).unwrap_or_default()];
        if *known != Some(hour_s) {
            let at = DateTime::from_timestamp(hour_s, 0).unwrap_or_default();
            let number = |key: &Key| Some(self.ask.query.zone.number(key.period()?, at));
            *periods = self.ask.keys.iter().map(number).collect();
            *known = Some(hour_s);
        }
        self.key.clear();
        for (period, lane) in periods.iter().zip(&self.lanes) {
            let id = || lane.map_or(0, |lane| i64::from(rows.lanes.texts[lane].ids[row]));
            self.key.push(period.unwrap_or_else(id));
        }
        if let Some(last) = self.last.filter(|last| self.ids[*last].iter().eq(&self.key)) {
            return last;
        }
        let found = self.numbers.get(self.key.as_slice()).copied().unwrap_or_else(|| {
            let key: Box<[i64]> = self.key.as_slice().into();
            self.numbers.insert(key.clone(), self.ids.len());
            self.ids.push(key);
            self.hours.push(hour_s);
            self.ids.len() - 1
        });
        self.last = Some(found);
        found
    }

    /// The groups' names, in the order of their numbers.
    pub(super) fn names(&self, lanes: &Lanes, ask: Ask<'_>) -> Vec<Group> {
        let name = |(ids, hour_s): (&[i64], &i64)| {
            let hour = DateTime::from_timestamp(*hour_s, 0).unwrap_or_default();
            let value =
                |((key, lane), id): ((&Key, &Option<usize>), &i64)| match (key.period(), lane) {
                    (Some(period), _) => Some(ask.query.zone.label(period, hour)),
                    (None, Some(lane)) => {
                        lanes.texts[*lane].texts.get(usize::try_from(*id).ok()?)?.clone()
                    }
                    (None, None) => Some(self.cluster.to_owned()),
                };
            ask.keys.iter().zip(&self.lanes).zip(ids.iter()).map(value).collect()
        };
        self.ids.iter().map(|ids| &**ids).zip(&self.hours).map(name).collect()
    }
}
