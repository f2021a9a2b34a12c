//! Slurm's view beside the ledger's, run by run and node by node.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{NaiveDateTime, TimeDelta};
use ct_tests::{Site, User};
use serde_json::Value;

use crate::faults::Shown;
use crate::kinds::{Kind, Treatment};
use crate::slurms::{self, Refused, Run, Runs};

/// How long records may take after the last job: one whose end was not told is looked for after half
/// a minute, and a ledger that could not be written is tried again after up to a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a record that is off says of itself, and by how many seconds it may be off then. Towards the end
/// of the load no hook may come for minutes that would start a killed ct-noded again.
const FLAGS: [(&str, &str, f64); 5] = [
    ("stood still", "ct-noded stood still", 15.0),
    ("restarted", "the gap is booked from the counters", 15.0),
    ("gap not charged", "the time that ct-noded did not run", 60.0),
    ("end not told", "its end was not told", 300.0),
    ("start not told", "no hook told of it before its end", 15.0),
];
/// The same for one that says nothing: Slurm counts whole seconds, from before the prolog until after
/// the epilog began, which on a loaded machine takes its time.
const SLACK_S: f64 = 8.0;

/// How far apart the starts of a run may be, here and by sacct, to be taken for one.
const MOST_APART_S: i64 = 3;

/// A run's records on its nodes, by restart count.
type Records = BTreeMap<u64, OfJob>;
type OfJob = BTreeMap<u64, Vec<Value>>;

/// What was done, beside which the books are held.
pub(crate) struct Deeds {
    pub(crate) n_jobs: usize,
    /// Of what kind each array was.
    pub(crate) arrays: BTreeMap<u32, &'static Kind>,
    /// When a fault of Slurm's own could be seen by a job.
    pub(crate) of_slurm: Vec<Shown>,
}

/// All that is wrong, and the records that there are.
pub(crate) fn judge(site: &Site, deeds: &Deeds) -> Result<(Vec<String>, Seen)> {
    let (runs, unknown) = slurms::runs(site, deeds.n_jobs)?;
    let n_runs = runs.values().flatten().count();
    let n_wanted: usize = runs.values().flatten().map(|run| run.nodes.len()).sum();
    let refused = slurms::refused(site);
    let n_refused: usize = refused.values().sum();
    let lines = wait_for_records(site, n_wanted - n_refused.min(n_wanted))?;
    println!("sacct: {} jobs, {n_runs} runs, on {n_wanted} nodes in all", runs.len());
    println!("ledger: {} records; flagged: {}", lines.len(), flagged(&lines));
    println!("runs that slurmd refused, so that no hook ran: {n_refused}");
    let seen = seen(&lines);
    let mut problems = compare(&runs, lines, &refused);
    problems.extend(unknown);
    problems.extend(outcomes(site, &runs, &refused, deeds));
    problems.extend(reconcile(site)?);
    Ok((problems, seen))
}

/// How many records there are of each run on each node.
pub(crate) type Seen = BTreeMap<String, usize>;

/// Records that came later than all had been compared.
pub(crate) fn since(site: &Site, before: &Seen) -> Result<Vec<String>> {
    let now = seen(&of_ledger(site)?);
    let late = now.into_iter().filter(|(run, n)| before.get(run).is_none_or(|before| n > before));
    Ok(late.map(|(run, _)| format!("{run}: another record later")).collect())
}

fn seen(lines: &[Value]) -> Seen {
    let mut seen = Seen::new();
    for line in lines {
        let run = format!("job {} run {} on {}", line["job_id"], line["restart"], line["node"]);
        *seen.entry(run).or_default() += 1;
    }
    seen
}

/// Runs that did not end as their kind does, and had no fault of Slurm's beside them: what is left are
/// faults of ours, which are to change nothing of a job.
fn outcomes(site: &Site, runs: &Runs, refused: &Refused, deeds: &Deeds) -> Vec<String> {
    let node_of = |name: &str| (1..=site.cluster.n_nodes()).find(|n| site.cluster.node(*n) == name);
    let is_excused = |run: &Run| {
        let Some(begin) = at(&run.start).map(|start| start.and_utc()) else { return true };
        let end = begin + TimeDelta::milliseconds((run.elapsed_s * 1000.0) as i64 + 1000);
        let is_beside = |(node, since, until): &Shown| {
            let is_there = run.nodes.iter().any(|name| node_of(name) == Some(*node));
            is_there && begin < *until && *since < end
        };
        deeds.of_slurm.iter().any(is_beside)
    };
    let (mut problems, mut n_judged, mut n_excused) = (Vec::new(), 0, 0);
    for (id, run) in runs.iter().flat_map(|(id, runs)| runs.iter().map(move |run| (id, run))) {
        let kind = deeds.arrays.get(&run.array).filter(|kind| kind.treatment == Treatment::None);
        let Some(kind) = kind.filter(|_| !refused.contains_key(id)) else { continue };
        n_judged += 1;
        let (state, exit_code) = kind.ends;
        if (run.state.as_str(), run.exit_code.as_str()) == (state, exit_code) {
            continue;
        }
        match is_excused(run) {
            true => n_excused += 1,
            false => problems.push(format!(
                "job {id} ({}) on {:?} from {} is {} {}, expected {state} {exit_code}",
                kind.name, run.nodes, run.start, run.state, run.exit_code
            )),
        }
    }
    println!(
        "{n_judged} runs to which nothing was done ended as their kind does, but for {n_excused} beside \
         a slurmd that was restarted and {} others",
        problems.len()
    );
    problems
}

fn wait_for_records(site: &Site, n_wanted: usize) -> Result<Vec<Value>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let lines = of_ledger(site)?;
        if lines.len() >= n_wanted || Instant::now() > end {
            return Ok(lines);
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The lines of jobs, but for those torn by a full ledger.
fn of_ledger(site: &Site) -> Result<Vec<Value>> {
    let text = site.ledger_text()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["kind"] == "job").collect())
}

fn flagged(lines: &[Value]) -> String {
    let n_of =
        |text: &str| lines.iter().filter(|l| l["warnings"].to_string().contains(text)).count();
    let each: Vec<String> =
        FLAGS.iter().map(|(name, text, _)| format!("{} {name}", n_of(text))).collect();
    each.join(", ")
}

fn compare(runs: &Runs, lines: Vec<Value>, refused: &Refused) -> Vec<String> {
    let mut records = Records::new();
    for line in lines {
        let (id, restart) = (line["job_id"].as_u64(), line["restart"].as_u64());
        let of_job = records.entry(id.unwrap_or(0)).or_default();
        of_job.entry(restart.unwrap_or(0)).or_default().push(line);
    }
    let mut problems = Vec::new();
    for (id, of_sacct) in runs {
        let of_ledger = records.remove(id).unwrap_or_default();
        let n_refused = refused.get(id).copied().unwrap_or(0);
        problems
            .extend(compare_job(of_sacct, &of_ledger, n_refused).map(|p| format!("job {id}: {p}")));
    }
    problems.extend(records.keys().map(|id| format!("job {id} is not known to sacct")));
    problems
}

/// What is wrong with the records of one job, by run.
///
/// Runs are found by what they are, not by their order: sacct was seen to give a run that was sent back a
/// start after that of the run which came after it.
fn compare_job(
    of_sacct: &[Run],
    of_ledger: &OfJob,
    n_refused: usize,
) -> impl Iterator<Item = String> {
    let mut runs = of_sacct.to_vec();
    let mut problems = Vec::new();
    let mut unknown = Vec::new();
    for (restart, of_run) in of_ledger {
        let found = runs.iter().position(|run| is_of(run, of_run));
        match found.or_else(|| runs.iter().position(|run| had_ended(run, of_run))) {
            Some(place) => {
                let run = runs.remove(place);
                problems.extend(of_run.iter().filter_map(|record| compare_record(&run, record)));
            }
            None => unknown.push((restart, reasons(of_run))),
        }
    }
    for _ in 0..n_refused {
        if let Some(place) = runs.iter().position(|run| run.elapsed_s <= 1.0) {
            runs.remove(place);
        }
    }
    if !unknown.is_empty() || !runs.is_empty() {
        problems.push(format!("records of runs {unknown:?} beside runs by sacct {runs:?}"));
    }
    problems.into_iter()
}

/// Whether the records of a run, one by node, are of this run of sacct's.
fn is_of(run: &Run, records: &[Value]) -> bool {
    // One that never began is sent back at once; that its node had failed Slurm may say only later.
    let was_sent_back = run.state == "node_fail" && run.start == "None";
    let is_so =
        |reason: &Value| *reason == run.state.as_str() || (was_sent_back && *reason == "requeued");
    is_on_its_nodes(run, records) && records.iter().all(|r| is_so(&r["end_reason"]))
}

/// Whether they are of a run that had ended by itself when it was sent back: Slurm calls it `requeued`
/// from then on, and told us before how it had ended.
fn had_ended(run: &Run, records: &[Value]) -> bool {
    let is_ended = |record: &Value| {
        let started = record["start"].as_str().and_then(|text| text.get(..19)).and_then(at);
        let apart = started.zip(at(&run.start)).map(|(ours, theirs)| (ours - theirs).num_seconds());
        record["end_reason"] == "completed" && apart.is_some_and(|s| s.abs() <= MOST_APART_S)
    };
    run.state == "requeued" && is_on_its_nodes(run, records) && records.iter().all(is_ended)
}

fn at(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S").ok()
}

fn is_on_its_nodes(run: &Run, records: &[Value]) -> bool {
    let mut seen: Vec<&str> = records.iter().filter_map(|r| r["node"].as_str()).collect();
    seen.sort_unstable();
    let mut nodes = run.nodes.clone();
    nodes.sort_unstable();
    seen == nodes
}

fn reasons(records: &[Value]) -> Vec<String> {
    records.iter().map(|r| format!("{} on {}", r["end_reason"], r["node"])).collect()
}

fn compare_record(run: &Run, record: &Value) -> Option<String> {
    let text = |key: &str| record[key].as_str().unwrap_or("none").to_owned();
    let node = text("node");
    // How it ended is what it was found by.
    let ours = [text("user"), text("account")];
    let theirs = [run.user.clone(), run.account.clone()];
    if ours != theirs {
        return Some(format!("on {node} {ours:?}, by sacct {theirs:?}; {}", record["warnings"]));
    }
    let warnings = record["warnings"].to_string();
    let allowed = FLAGS.iter().filter(|(_, text, _)| warnings.contains(text)).map(|(.., s)| *s);
    let slack = allowed.fold(SLACK_S, f64::max);
    let elapsed_s = record["elapsed_s"].as_f64().unwrap_or(f64::NAN);
    let is_off = elapsed_s.is_nan() || (elapsed_s - run.elapsed_s).abs() > slack;
    is_off.then(|| format!("on {node} {elapsed_s} s, by sacct {} s; {warnings}", run.elapsed_s))
}

/// To the microjoule, outside of gaps that are flagged.
fn reconcile(site: &Site) -> Result<Option<String>> {
    let (program, ledger) = (site.bin("ct-report"), site.ledger().display().to_string());
    let program = program.display().to_string();
    // The clock was off by a day.
    let args = ["reconcile", "--ledger", &ledger, "-S", "2000-01-01"];
    let output = site.cluster.command(&User::root(), &program).args(&args).run()?;
    println!("{}", output.stdout_unchecked().trim_end());
    // 3: lines torn by a full ledger were skipped.
    Ok((!matches!(output.code(), Some(0 | 3))).then(|| format!("reconcile: {output}")))
}
