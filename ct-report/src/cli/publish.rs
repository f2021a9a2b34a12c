//! `ct-report publish`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use ct_core::config::Config;
use ct_core::record::Brief;

use crate::cli::output::OutputArgs;
use crate::cli::selection::Selection;
use crate::diagnostic::{Outcome, note};
use crate::load::groups::Order;
use crate::load::jobs::{self, Place};
use crate::progress::Progress;
use crate::publish::accounting::{Accounting, Refusal, Row, own_cluster};
use crate::publish::job::{Job, Jobs, LOOKBACK};
use crate::publish::memory::Memory;
use crate::publish::{Action, comment};
use crate::row::{Cell, Head};

/// Jobs that are named one by one; the rest is counted.
const NAMED: usize = 20;

/// So many refusals in a row are taken for one of all jobs.
const PATIENCE: usize = 5;

/// Arguments of `ct-report publish`.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    selection: Selection,
    /// Print what would be written for each job, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace comments that are not ours, too
    #[arg(long)]
    overwrite: bool,
    /// Change at most so many jobs a second
    #[arg(long, value_name = "N", default_value = "2", value_parser = rate)]
    rate: f64,
    /// Remember in this file what was written, not in `published.jsonl` of node.state_dir
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 1000.0);
    rate.ok_or_else(|| "expected changes a second, above 0 and up to 1000".to_owned())
}

/// A job, its comment, and what is to be done.
struct Plan {
    job: Job,
    text: String,
    action: Action,
    done: Done,
}

/// Whether it was done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    No,
    Yes,
    Refused,
}

/// Writes the comments of the jobs asked for and says how many.
pub(crate) fn run(args: &PublishArgs) -> Result<Outcome> {
    let query = args.selection.query_from(Some("now-7days"))?;
    if query.names_runs() {
        bail!("a comment is of all runs of a job: name jobs without a restart, 42 for 42.1");
    }
    let mut outcome = Outcome::default();
    let mut sources = args.selection.sources(&query)?;
    sources.since = sources.since.map(|since| since - LOOKBACK);
    sources.wants_whole_jobs = false;
    let add = |jobs: &mut Jobs, record: &Brief<'_>, _: Place<'_>, _: &mut Outcome| {
        jobs.add(record, &query);
    };
    let jobs = jobs::fold(&sources, Order::OfNames, &mut outcome, add, Jobs::append)?.ended(&query);
    outcome.matched = jobs.len();
    let path = args.state()?;
    let now = Utc::now();
    let open = if args.dry_run { Memory::look } else { Memory::open };
    let mut memory = open(&path, now)?;
    let mut plans = plan(args, jobs, &memory, now)?;
    if args.dry_run {
        args.output.print(&DRY_HEADS, &plans.iter().map(dry_row).collect::<Vec<_>>())?;
        return Ok(outcome);
    }
    let result = write(args, &mut plans, &mut memory, &mut outcome);
    if outcome.matched > 0 {
        args.output.print(&HEADS, &count(&plans))?;
    }
    tell(&plans);
    result.map(|()| outcome)
}

impl PublishArgs {
    fn state(&self) -> Result<PathBuf> {
        if let Some(path) = &self.state {
            return Ok(path.clone());
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let config = Config::load(self.selection.config())?.for_node(&host, &host);
        Ok(config.node.state_dir.join("published.jsonl"))
    }
}

/// What is to be done for each job: Slurm is asked about those that are not known to be done.
fn plan(
    args: &PublishArgs,
    jobs: Vec<Job>,
    memory: &Memory,
    now: DateTime<Utc>,
) -> Result<Vec<Plan>> {
    let mut plans: Vec<Plan> = jobs
        .into_iter()
        .map(|job| {
            let text = comment::text(&job.used);
            let action = if job.is_waiting(now) { Action::Wait } else { Action::Keep };
            Plan { job, text, action, done: Done::No }
        })
        .collect();
    let is_open = |plan: &Plan| plan.action == Action::Keep && !memory.has(&plan.job, &plan.text);
    // They are sorted by cluster.
    for plans in plans.chunk_by_mut(|a, b| a.job.cluster == b.job.cluster) {
        let open: Vec<&Job> = plans.iter().filter(|p| is_open(p)).map(|p| &p.job).collect();
        let Some(first) = open.first() else { continue };
        let rows = Accounting::rows(&first.cluster, &open)?;
        for plan in plans.iter_mut().filter(|plan| is_open(plan)) {
            let row: Option<&Row> = rows.get(&plan.job.job_id);
            plan.action = Action::of(&plan.job, &plan.text, row, args.overwrite);
        }
    }
    Ok(plans)
}

/// Changes the jobs that need it, one after another.
fn write(
    args: &PublishArgs,
    plans: &mut [Plan],
    memory: &mut Memory,
    outcome: &mut Outcome,
) -> Result<()> {
    let is_due = |plan: &Plan| matches!(plan.action, Action::Write | Action::Replace);
    for plan in plans.iter().filter(|plan| plan.action == Action::Keep) {
        // What Slurm had already need not be asked again.
        if !memory.has(&plan.job, &plan.text) {
            memory.note(&plan.job, &plan.text)?;
        }
    }
    let own = plans.iter().any(is_due).then(own_cluster).transpose()?.unwrap_or_default();
    let mut pace = Pace::new(args.rate);
    let progress = Progress::new("jobs", plans.iter().filter(|plan| is_due(plan)).count());
    let mut n_refused = 0;
    for plans in plans.chunk_by_mut(|a, b| a.job.cluster == b.job.cluster) {
        let Some(first) = plans.iter().find(|plan| is_due(plan)) else { continue };
        let accounting = Accounting::open(&first.job.cluster, &own)?;
        for plan in plans.iter_mut().filter(|plan| is_due(plan)) {
            pace.wait();
            progress.step();
            match accounting.write(&plan.job, &plan.text) {
                Ok(()) => {
                    (plan.done, n_refused) = (Done::Yes, 0);
                    memory.note(&plan.job, &plan.text)?;
                }
                Err(Refusal::Job(reason)) if n_refused + 1 < PATIENCE => {
                    (plan.done, n_refused) = (Done::Refused, n_refused + 1);
                    let job = PathBuf::from(format!("job {}", plan.job.id()));
                    outcome.skip_part(&job, None, reason);
                }
                Err(Refusal::Job(reason)) => {
                    return Err(anyhow!(reason))
                        .context(format!("{PATIENCE} jobs in a row failed"));
                }
                Err(Refusal::All(error)) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Lets so many changes happen a second.
struct Pace {
    pause: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { pause: Duration::from_secs_f64(1.0 / rate), next: Instant::now() }
    }

    fn wait(&mut self) {
        let now = Instant::now();
        thread::sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + self.pause;
    }
}

const DRY_HEADS: [Head; 4] =
    [Head::text("cluster"), Head::text("job"), Head::text("action"), Head::text("comment")];

fn dry_row(plan: &Plan) -> Vec<Cell> {
    let text = |text: &str| Cell::Text(Some(text.to_owned()));
    vec![
        text(&plan.job.cluster),
        text(&plan.job.id()),
        text(plan.action.as_str()),
        text(&plan.text),
    ]
}

const HEADS: [Head; 9] = [
    Head::text("cluster"),
    Head::number("jobs"),
    Head::number("written"),
    Head::number("replaced"),
    Head::number("unchanged"),
    Head::number("foreign"),
    Head::number("unknown"),
    Head::number("waiting"),
    Head::number("failed"),
];

/// How many jobs of each cluster are in which state.
fn count(plans: &[Plan]) -> Vec<Vec<Cell>> {
    let mut clusters: BTreeMap<&str, Vec<&Plan>> = BTreeMap::new();
    for plan in plans {
        clusters.entry(&plan.job.cluster).or_default().push(plan);
    }
    let row = |(cluster, plans): (&str, Vec<&Plan>)| {
        let of = |wanted: &dyn Fn(&Plan) -> bool| {
            Cell::Count(plans.iter().filter(|plan| wanted(plan)).count())
        };
        let did = |action: Action| {
            of(&move |plan: &Plan| plan.action == action && plan.done == Done::Yes)
        };
        let is = |action: Action| of(&move |plan: &Plan| plan.action == action);
        vec![
            Cell::Text(Some(cluster.to_owned())),
            Cell::Count(plans.len()),
            did(Action::Write),
            did(Action::Replace),
            is(Action::Keep),
            is(Action::Foreign),
            is(Action::Unknown),
            is(Action::Wait),
            of(&|plan: &Plan| plan.done == Done::Refused),
        ]
    };
    clusters.into_iter().map(row).collect()
}

/// Says which jobs were left alone, and why.
fn tell(plans: &[Plan]) {
    for (action, why) in [
        (Action::Foreign, "have a comment of somebody else's, which --overwrite would replace"),
        (Action::Unknown, "are not in Slurm's accounting"),
        (Action::Wait, "wait for records of other nodes"),
    ] {
        let ids: Vec<String> =
            plans.iter().filter(|p| p.action == action).map(|p| p.job.id()).collect();
        if ids.is_empty() {
            continue;
        }
        let more = ids.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = ids.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" ");
        note(&format!("{} job(s) {why}: {named}{more}", ids.len()));
    }
}
