//! Writes a ledger of any size in the shape of a real one: `ct-ledger-gen DIR --jobs 1000000`.
//!
//! Lengths of jobs spread over four orders of magnitude, a few users have most of them, a third is
//! of arrays, a tenth is over several nodes, a third of the nodes has GPUs, and where a node has a
//! baseline a part of the energy is idle. Equal arguments write equal bytes. With `--node-lines`
//! there is a line for every hour in which a node had jobs, and `reconcile` finds no difference.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, DurationRound, Months, TimeDelta, Utc};
use clap::Parser;
use ct_core::energy::{ByComponent, HourEnergy};
use ct_core::ledger::writer::file_path;
use ct_core::record::{EndReason, GpuShare, JobCharge, NodeRecord, Record, VERSION};
use ct_core::units::Microjoules;

/// Bytes of a file that are kept until they are written.
const AT_ONCE: usize = 256 * 1024;

/// Write a ledger of generated jobs
#[derive(Debug, Parser)]
struct Args {
    /// Write it to this directory, which must not exist
    dir: PathBuf,
    /// Jobs; those over several nodes have several records
    #[arg(long, default_value_t = 1_000_000)]
    jobs: u64,
    /// Nodes
    #[arg(long, default_value_t = 2000)]
    nodes: u64,
    /// Months
    #[arg(long, default_value_t = 12)]
    months: u32,
    /// The first of them
    #[arg(long, default_value = "2024-01")]
    from: String,
    /// Users
    #[arg(long, default_value_t = 3000)]
    users: u64,
    /// Write the lines of nodes, too
    #[arg(long)]
    node_lines: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    fs::create_dir(&args.dir).with_context(|| format!("{}", args.dir.display()))?;
    let first: DateTime<Utc> = format!("{}-01T00:00:00Z", args.from).parse()?;
    let last = first.checked_add_months(Months::new(args.months)).context("too many months")?;
    let seconds = (last - first).num_seconds();
    let template: Record = serde_json::from_str(TEMPLATE)?;
    let mut files = Files { dir: args.dir.clone(), waiting: HashMap::new() };
    let mut books = Books::default();
    for n in 0..args.jobs {
        let share = (n as f64 + 0.5) / args.jobs as f64;
        let end = first + TimeDelta::milliseconds((seconds as f64 * share * 1000.0) as i64);
        let mut random = Random(n);
        for record in job(&args, &template, n, end, &mut random) {
            files.append(&record.node, record.end, &record.to_line()?)?;
            if args.node_lines {
                books.add(&record);
            }
        }
        // Jobs come in the order of their ends, and none takes more than 28 h.
        books.close_before(end - TimeDelta::hours(30), &mut files)?;
    }
    books.close_before(DateTime::<Utc>::MAX_UTC, &mut files)?;
    files.flush()
}

/// Files of which the last bytes are still to be written.
struct Files {
    dir: PathBuf,
    waiting: HashMap<PathBuf, String>,
}

impl Files {
    fn append(&mut self, node: &str, end: DateTime<Utc>, line: &str) -> Result<()> {
        let path = file_path(&self.dir, node, end);
        let text = self.waiting.entry(path.clone()).or_default();
        text.push_str(line);
        if text.len() >= AT_ONCE {
            let text = self.waiting.remove(&path).unwrap_or_default();
            write(&path, &text)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.waiting.drain().try_for_each(|(path, text)| write(&path, &text))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// What a job used in an hour.
type Charge = (JobCharge, ByComponent<Microjoules>);

/// What jobs used by hour and node, until no job that is still to come can have used more.
#[derive(Default)]
struct Books {
    hours: BTreeMap<(DateTime<Utc>, String), Vec<Charge>>,
}

impl Books {
    fn add(&mut self, record: &Record) {
        for hour in &record.energy_by_hour {
            let energy = hour.energy();
            let charge = JobCharge(record.job_id, record.restart, energy.total());
            let key = (hour.0, record.node.clone());
            self.hours.entry(key).or_default().push((charge, energy));
        }
    }

    fn close_before(&mut self, end: DateTime<Utc>, files: &mut Files) -> Result<()> {
        while let Some(first) = self.hours.first_entry() {
            if first.key().0 >= end {
                break;
            }
            let ((hour, node), charges) = first.remove_entry();
            let line = node_line(hour, node, &charges);
            files.append(&line.node, line.start, &line.to_line()?)?;
        }
        Ok(())
    }
}

/// The line of a node that had these jobs: the system took 20 J, and 180 J were nobody's.
fn node_line(hour: DateTime<Utc>, node: String, charges: &[Charge]) -> NodeRecord {
    let cpu = |uj| ByComponent { cpu: Microjoules::new(uj), ..ByComponent::default() };
    let jobs_j = charges.iter().fold(ByComponent::default(), |sum, (_, energy)| sum + *energy);
    let (system_j, unallocated_j) = (cpu(20_000_000), cpu(180_000_000));
    let end = hour + TimeDelta::hours(1);
    NodeRecord {
        v: VERSION,
        kind: "node".to_owned(),
        cluster: "lab".to_owned(),
        node,
        start: hour,
        end,
        elapsed_s: (end - hour).as_seconds_f64(),
        meter_j: jobs_j + system_j + unallocated_j,
        jobs_j,
        system_j,
        unallocated_j,
        idle_j: cpu(100_000_000),
        jobs: charges.iter().map(|(charge, _)| *charge).collect(),
        baseline: [].into(),
        gap_s: 0.0,
        method: [("cpu".to_owned(), "rapl".to_owned())].into(),
        attribution: "hybrid".to_owned(),
        warnings: Vec::new(),
        version: None,
    }
}

/// Numbers that look random, by splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 up to `n`, small ones more often.
    fn skewed(&mut self, n: u64) -> u64 {
        (n as f64 * self.share().powi(3)) as u64
    }
}

/// The records of a job, one a node.
fn job(
    args: &Args,
    template: &Record,
    n: u64,
    end: DateTime<Utc>,
    random: &mut Random,
) -> Vec<Record> {
    let is_array = n % 90 < 30;
    // From 10 s to 28 h.
    let elapsed = TimeDelta::milliseconds((10_000.0 * 10_f64.powf(4.0 * random.share())) as i64);
    let n_nodes = if random.share() < 0.1 { 2 + random.skewed(15) } else { 1 }.min(args.nodes);
    let (first_node, user) = (random.next() % args.nodes, random.skewed(args.users));
    let cpus = 1 + random.skewed(64);
    let end_reason = match random.next() % 100 {
        0..80 => EndReason::Completed,
        80..90 => EndReason::Failed,
        90..95 => EndReason::Timeout,
        _ => EndReason::Cancelled,
    };
    let job_id = u32::try_from(n + 1).unwrap_or(u32::MAX);
    let array_job_id = is_array.then(|| u32::try_from(n / 90 * 90 + 1).unwrap_or(u32::MAX));
    let of_node = |at: u64| {
        let node = (first_node + at) % args.nodes;
        let n_gpus = if node.is_multiple_of(3) { 1 + random.next() % 4 } else { 0 };
        let hours = hours(end - elapsed, end, cpus, n_gpus, random);
        let energy = hours.iter().fold(ByComponent::default(), |sum, hour| sum + hour.energy());
        Record {
            job_id,
            array_job_id,
            array_task_id: is_array.then_some(u32::try_from(n % 90).unwrap_or_default()),
            node: format!("node{node:05}"),
            n_nodes: u32::try_from(n_nodes).unwrap_or(1),
            user: format!("user{user:04}"),
            uid: 10_000 + u32::try_from(user).unwrap_or_default(),
            account: (user % 50 != 7).then(|| format!("account{:03}", user % 200)),
            partition: Some(["main", "long", "gpu"][(n % 3) as usize].to_owned()),
            job_name: Some(format!("train-{}", user % 17)),
            start: end - elapsed,
            end,
            elapsed_s: elapsed.as_seconds_f64(),
            end_reason,
            alloc_cpus: u32::try_from(cpus).unwrap_or(1),
            gpus: (0..n_gpus).map(|gpu| self::gpu(node, gpu)).collect(),
            energy_j: energy,
            idle_j: idle_of(&energy, node),
            gpu_unused_j: Microjoules::new(energy.gpu.as_u64() / (3 + user % 7)),
            co2e_g: energy.total().to_joules().to_kilowatt_hours().as_kwh() * 1.2 * 380.0,
            energy_by_hour: hours,
            ..template.clone()
        }
    };
    (0..n_nodes).map(of_node).collect()
}

/// Every second node has a baseline.
fn idle_of(energy: &ByComponent<Microjoules>, node: u64) -> ByComponent<Microjoules> {
    let part = |of: Microjoules| Microjoules::new(of.as_u64() / 100 * (node % 2 * 37));
    ByComponent {
        cpu: part(energy.cpu),
        dram: part(energy.dram),
        gpu: part(energy.gpu),
        rest: part(energy.rest),
    }
}

fn gpu(node: u64, gpu: u64) -> GpuShare {
    let uuid = format!("GPU-{node:08x}-0000-4000-8000-{gpu:012x}");
    GpuShare { uuid, name: "NVIDIA H100 80GB HBM3".to_owned(), share: 1.0 }
}

/// Energy by hour: a few watts a CPU, a few hundred a GPU.
fn hours(
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    cpus: u64,
    gpus: u64,
    random: &mut Random,
) -> Vec<HourEnergy> {
    let hour_of = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at);
    let mut hours = Vec::new();
    let mut at = start;
    while at < end {
        let next = (hour_of(at) + TimeDelta::hours(1)).min(end);
        let seconds = (next - at).as_seconds_f64();
        let mut drawn = |watts: f64| {
            let joules = watts * seconds * (0.5 + random.share());
            Microjoules::new((joules * 1e6) as u64)
        };
        let (cpu, dram) = (drawn(4.0 * cpus as f64), drawn(0.7 * cpus as f64));
        let gpu = if gpus > 0 { drawn(400.0 * gpus as f64) } else { Microjoules::ZERO };
        hours.push(HourEnergy(hour_of(at), cpu, dram, gpu, Microjoules::ZERO));
        at = next;
    }
    hours
}

/// What all records have in common.
const TEMPLATE: &str = r#"{"v":1,"kind":"job","cluster":"lab","job_id":1,"array_job_id":null,
"array_task_id":null,"het_job_id":null,"restart":0,"node":"node00000","n_nodes":1,"user":"user0000",
"uid":10000,"account":null,"partition":"main","qos":"normal","job_name":null,
"start":"2026-01-01T00:00:00.000Z","end":"2026-01-01T00:00:00.000Z","elapsed_s":0.0,
"end_reason":"completed","alloc_cpus":1,"alloc_mem_mb":16000,"gpus":[],
"energy_j":{"cpu":0,"dram":0,"gpu":0,"rest":0},"idle_j":{"cpu":0,"dram":0,"gpu":0,"rest":0},
"gpu_unused_j":0,"energy_by_hour":[],"pue":1.2,
"intensity":{"g_per_kwh":380.0,"zone":"DE","source":"fixed value of the site"},"co2e_g":0.0,
"embodied_g":null,"water_l":null,"epochs":null,"prediction":null,
"method":{"activity":"cgroup","cpu":"rapl","dram":"rapl","gpu":"nvml-energy"},"coverage":1.0,
"attribution":"hybrid","warnings":["no idle baseline of gpu: its idle energy is split by activity"],
"tracked":false}"#;
