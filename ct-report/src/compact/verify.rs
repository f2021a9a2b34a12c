//! Holds what was written against what the ledger's lines come to.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ct_core::energy::Component;
use ct_core::record::{Brief, NodeRecord, Record};

use crate::aggregate::part::Part;
use crate::dataset::{Table, Written, parts_of};
use crate::parquet::reader::{BATCH, TableFile};
use crate::parquet::rows::total;

/// What lines come to: counts, integer sums, and their text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    tables: BTreeMap<Table, TableSums>,
}

/// What one table comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TableSums {
    rows: u64,
    /// By column.
    uj: BTreeMap<&'static str, i128>,
    /// Of the texts of all lines, in order.
    text: u64,
}

/// Columns of jobs and hours that add up.
const OF_JOBS: [&str; 8] = [
    "energy_uj",
    "cpu_uj",
    "dram_uj",
    "gpu_uj",
    "rest_uj",
    "idle_uj",
    "gpu_unused_uj",
    "measured_uj",
];
/// Columns of nodes that add up.
const OF_NODES: [&str; 5] = ["meter_uj", "jobs_uj", "system_uj", "unallocated_uj", "idle_uj"];

impl TableSums {
    fn add(&mut self, name: &'static str, uj: i128) {
        *self.uj.entry(name).or_default() += uj;
    }

    fn add_text(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        (self.text, text).hash(&mut hasher);
        self.text = hasher.finish();
    }
}

impl Sums {
    /// Adds a record as it stands in the ledger, by its own figures and not by the tables' rows.
    pub(super) fn add_job(&mut self, record: &Record, line: &str) {
        let whole = Part::whole(&Brief::from(record));
        let [cpu, dram, gpu, rest] =
            Component::ALL.map(|c| i128::from(record.energy_j.get(c).as_u64()));
        let wide = |uj: u128| i128::try_from(uj).unwrap_or(i128::MAX);
        let (idle, unused) = (wide(whole.idle_uj), wide(whole.gpu_unused_uj));
        let measured = wide(whole.measured_uj);
        let all = [cpu + dram + gpu + rest, cpu, dram, gpu, rest, idle, unused, measured];
        for table in [Table::Jobs, Table::Hours] {
            let sums = self.tables.entry(table).or_default();
            OF_JOBS.into_iter().zip(all).for_each(|(name, uj)| sums.add(name, uj));
        }
        let jobs = self.tables.entry(Table::Jobs).or_default();
        jobs.rows += 1;
        jobs.add_text(line);
        self.tables.entry(Table::Hours).or_default().rows += hours_of(record);
    }

    /// Adds a node's line.
    pub(super) fn add_node(&mut self, node: &NodeRecord, line: &str) {
        let all = [&node.meter_j, &node.jobs_j, &node.system_j, &node.unallocated_j, &node.idle_j];
        let sums = self.tables.entry(Table::Nodes).or_default();
        for (name, energy) in OF_NODES.into_iter().zip(all) {
            sums.add(name, i128::try_from(total(energy)).unwrap_or(i128::MAX));
        }
        sums.rows += 1;
        sums.add_text(line);
    }
}

/// Hours a record has rows for.
fn hours_of(record: &Record) -> u64 {
    Part::by_hour(&Brief::from(record)).map_or(0, |parts| parts.len() as u64)
}

/// Reads the files of a cluster back and compares counts, sums and texts with the ledger's.
///
/// # Errors
///
/// A file that cannot be read, or does not say what the ledger does.
pub(super) fn verify(
    dir: &Path,
    cluster: &str,
    files: &BTreeMap<String, Written>,
    expected: &Sums,
) -> Result<()> {
    let mut seen = Sums::default();
    for (file, written) in files {
        ensure!(parts_of(file).is_some_and(|(c, _)| c == cluster), "{file} is of no {cluster:?}");
        let (table, columns): (_, &[&'static str]) = match file.split('/').next() {
            Some("jobs") => (Table::Jobs, &OF_JOBS),
            Some("hours") => (Table::Hours, &OF_JOBS),
            Some("nodes") => (Table::Nodes, &OF_NODES),
            _ => bail!("{file} is of no table"),
        };
        let path = dir.join(file);
        let sums = seen.tables.entry(table).or_default();
        let rows = add_file(&path, table, columns, sums)
            .with_context(|| format!("cannot read {} back", path.display()))?;
        ensure!(rows == written.rows, "{} has {rows} rows, expected {}", file, written.rows);
    }
    for (table, expected) in &expected.tables {
        let seen = seen.tables.get(table).cloned().unwrap_or_default();
        ensure!(
            seen == *expected,
            "{} of {cluster}: read back {seen:?}, expected {expected:?}",
            table.as_str()
        );
    }
    Ok(())
}

fn add_file(
    path: &Path,
    table: Table,
    columns: &[&'static str],
    sums: &mut TableSums,
) -> Result<u64> {
    let file = TableFile::open(path)?;
    let mut rows = 0;
    for group in 0..file.n_groups() {
        let n_rows = file.n_rows(group);
        for name in columns {
            let mut column = file.ints(group, name)?;
            for from in (0..n_rows).step_by(BATCH) {
                let batch = column.next(BATCH.min(n_rows - from))?;
                sums.add(name, batch.iter().map(|uj| i128::from(*uj)).sum());
            }
        }
        if table != Table::Hours {
            file.each_record(group, 0..n_rows, |_, line| {
                sums.add_text(line);
                Ok(())
            })?;
        }
        rows += n_rows as u64;
    }
    sums.rows += rows;
    Ok(rows)
}
