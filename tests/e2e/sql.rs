//! The SQL of docs/SQL.md, run by the engines that PyPI has, gives what `ct-report usage` gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

/// Where the documents have the dataset, and the month they ask for.
const DOCUMENTED: (&str, &str) = ("/var/spool/carbontracker/ledger/parquet", "2026-10");
/// The month that is asked for here.
const MONTH: &str = "2024-02";

const DUCKDB: &str = "
import json, sys
import duckdb
rows = duckdb.connect().execute(sys.argv[1]).fetchall()
print(json.dumps([[None if v is None else str(v) for v in row] for row in rows]))
";

const SPARK: &str = "
import json, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.master('local[2]').config('spark.ui.enabled', 'false')
builder = builder.config('spark.driver.bindAddress', '127.0.0.1').config('spark.driver.host', '127.0.0.1')
builder = builder.config('spark.sql.shuffle.partitions', '4')
key = 'spark.sql.sources.partitionColumnTypeInference.enabled'
spark = builder.config(key, 'false').getOrCreate()
rows = spark.sql(sys.argv[1]).collect()
print(json.dumps([[None if v is None else str(v) for v in row] for row in rows]))
";

/// Rows by their groups: jobs, energies in µJ, and grams, which are no integers.
type Sums = BTreeMap<Vec<Option<String>>, (Vec<u128>, Option<f64>)>;

struct Data {
    dir: tempfile::TempDir,
}

impl Data {
    /// A ledger of 3000 jobs in three months, and the dataset that was made of it.
    fn new() -> Result<Self> {
        let data = Self { dir: tempfile::tempdir()? };
        let generator = Command::new(env!("CARGO_BIN_EXE_ct-ledger-gen"))
            .arg(data.ledger())
            .args(["--jobs", "3000", "--nodes", "40", "--months", "3", "--users", "60"])
            .args(["--from", "2024-01", "--node-lines"])
            .output()?;
        succeeded("ct-ledger-gen", &generator)?;
        data.ct_report(&["compact", "--parquet", &data.parquet()])?;
        Ok(data)
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    fn parquet(&self) -> String {
        self.dir.path().join("parquet").to_string_lossy().into_owned()
    }

    fn ct_report(&self, args: &[&str]) -> Result<String> {
        let program = ct_tests::artifact::built("ct-report", "ct-report")?;
        let (command, args) = args.split_first().context("a command")?;
        let mut run = Command::new(program);
        let output = run.arg(command).arg("--ledger").arg(self.ledger()).args(args).output()?;
        succeeded("ct-report", &output)?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What `usage` says: groups, then jobs and joules, then, if it is named, grams.
    fn usage(&self, by: &str, columns: &str, args: &[&str]) -> Result<Sums> {
        let format = format!("{by},{columns}");
        let printed =
            self.ct_report(&[&["usage", "-Pn", "--by", by, "-o", &format], args].concat())?;
        let n_keys = by.split(',').count();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('|').collect();
            let (group, values) = cells.split_at(n_keys);
            let known = |cell: &&str| (!cell.is_empty()).then(|| (*cell).to_owned());
            let mut sums = (Vec::new(), None);
            for (name, cell) in columns.split(',').zip(values) {
                match name {
                    "co2e_g" => sums.1 = Some(cell.parse()?),
                    // Six places: without its point it is microjoules.
                    _ => sums.0.push(cell.replace('.', "").parse()?),
                }
            }
            Ok((group.iter().map(known).collect(), sums))
        };
        printed.lines().map(row).collect()
    }

    /// The document's statement of this name, with the dataset and the month of the test.
    fn sql(&self, name: &str) -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SQL.md");
        let text = std::fs::read_to_string(path)?;
        let start = format!("```sql\n-- {name}\n");
        let (_, rest) = text.split_once(&start).with_context(|| format!("no SQL of {name}"))?;
        let (sql, _) = rest.split_once("```").context("an end")?;
        ensure!(sql.contains(DOCUMENTED.0), "the SQL of {name} reads another dataset");
        Ok(sql.replace(DOCUMENTED.0, &self.parquet()).replace(DOCUMENTED.1, MONTH))
    }
}

fn succeeded(what: &str, output: &std::process::Output) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what} ended with {}: {stderr}", output.status);
    Ok(())
}

/// A Python that can import a module of PyPI, in the tests' virtual environment.
fn python(module: &str) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv");
    let python = dir.join("bin/python");
    if !python.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&dir).output()?;
        succeeded("python3 -m venv", &made)?;
    }
    if !has(&python, module) {
        let install = ["-m", "pip", "install", "-q", module];
        succeeded("pip", &Command::new(&python).args(install).output()?)?;
        ensure!(has(&python, module), "{module} was installed and cannot be imported");
    }
    Ok(python)
}

fn has(python: &Path, module: &str) -> bool {
    let import = format!("import {module}");
    Command::new(python).args(["-c", &import]).output().is_ok_and(|o| o.status.success())
}

/// What an engine answers: groups, then integers, then, if it has one more column, grams.
fn ask(python: &Path, program: &str, sql: &str, n_keys: usize, n_integers: usize) -> Result<Sums> {
    let sql = sql.trim().trim_end_matches(';');
    let output = Command::new(python).args(["-c", program, sql]).output()?;
    succeeded("the engine", &output)?;
    let rows: Vec<Vec<Option<String>>> = serde_json::from_slice(&output.stdout)?;
    let row = |row: Vec<Option<String>>| {
        let (group, values) = row.split_at(n_keys);
        let (integers, grams) = values.split_at(n_integers);
        let integer = |value: &Option<String>| Ok(value.as_deref().context("a sum")?.parse()?);
        let integers = integers.iter().map(integer).collect::<Result<Vec<u128>>>()?;
        let grams = grams.first().cloned().flatten().map(|g| g.parse()).transpose()?;
        Ok((group.to_vec(), (integers, grams)))
    };
    rows.into_iter().map(row).collect()
}

#[track_caller]
fn assert_same(ours: &Sums, theirs: &Sums) {
    assert!(ours.len() > 50, "{} groups", ours.len());
    let groups = |sums: &Sums| sums.keys().cloned().collect::<Vec<_>>();
    assert_eq!(groups(ours), groups(theirs));
    for (group, (integers, grams)) in ours {
        let (their_integers, their_grams) = &theirs[group];
        assert_eq!(integers, their_integers, "{group:?}");
        // The document rounds to milligrams.
        let off = grams.unwrap_or_default() - their_grams.unwrap_or_default();
        assert!(off.abs() <= 0.000_501, "{group:?}: {grams:?} and {their_grams:?}");
    }
}

fn months_footprint(data: &Data, args: &[&str]) -> Result<Sums> {
    let columns = "jobs,energy_j,allocated_j,gpu_unused_j,co2e_g";
    let month = ["-S", "2024-02-01", "-E", "2024-03-01"];
    data.usage("user,account,partition", columns, &[args, &month].concat())
}

#[test]
fn duckdb_says_what_ct_report_says_of_lines_and_of_parquet() -> Result<()> {
    let (data, python) = (Data::new()?, python("duckdb")?);
    let theirs = ask(&python, DUCKDB, &data.sql("duckdb")?, 3, 4)?;
    assert_same(&months_footprint(&data, &[])?, &theirs);
    assert_same(&months_footprint(&data, &["--parquet", &data.parquet()])?, &theirs);
    Ok(())
}

#[test]
fn duckdb_splits_months_of_a_zone_as_ct_report_does() -> Result<()> {
    let (data, python) = (Data::new()?, python("duckdb")?);
    let theirs = ask(&python, DUCKDB, &data.sql("duckdb-zone")?, 1, 2)?;
    let args = ["--timezone", "Europe/Berlin", "--parquet", &data.parquet()];
    let ours = data.usage("month", "jobs,energy_j", &args)?;
    // January to March, and where jobs at either end reach over: an hour before and one after.
    assert_eq!((ours.len(), &ours), (5, &theirs));
    Ok(())
}

#[test]
fn spark_says_what_ct_report_says() -> Result<()> {
    let is_required = std::env::var("CT_SPARK").is_ok_and(|value| value == "required");
    let has_java = Command::new("java").arg("-version").output().is_ok_and(|o| o.status.success());
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let has_spark = has_java && has(&venv, "pyspark");
    if !is_required && !has_spark {
        skip("no Java or no PySpark; CT_SPARK=required installs PySpark and insists");
        return Ok(());
    }
    let (data, python) = (Data::new()?, python("pyspark")?);
    let theirs = ask(&python, SPARK, &data.sql("spark")?, 3, 4)?;
    assert_same(&months_footprint(&data, &["--parquet", &data.parquet()])?, &theirs);
    Ok(())
}

fn skip(reason: &str) {
    ct_tests::say_skipped(&format!("test skipped: {reason}"));
}
