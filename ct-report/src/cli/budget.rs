//! `ct-report budget`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chrono::Utc;
use clap::Args;
use ct_core::account::{AccountUse, FILE_NAME};
use ct_core::config::{ANY_ACCOUNT, Config};
use ct_core::record::{Brief, Record};

use crate::account::{Month, Sums};
use crate::cli::output::{OutputArgs, write_file};
use crate::diagnostic::{Outcome, note};
use crate::load::groups::Order;
use crate::load::jobs::{self, Place, Sources};
use crate::load::live;
use crate::load::pieces::Ledger;
use crate::row::{Cell, Head};

/// Arguments of `ct-report budget`.
#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// Read the ledger in this directory
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Take ledger and budgets from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read what ct-report compact made of the ledger from this directory, not from LEDGER/parquet
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
    /// Write the sums to LEDGER/budgets.json, which every node reads, and print nothing
    #[arg(short, long)]
    write: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Adds up this month by account, and prints it beside the budgets or writes it for the nodes.
pub(crate) fn run(args: &BudgetArgs) -> Result<Outcome> {
    let config = Config::load(args.config.as_deref())?;
    let now = Utc::now();
    let month = Month::of(&config.budget.timezone, now)?;
    let dir = args.ledger.clone().unwrap_or_else(|| config.ledger.dir.clone());
    let sources = Sources {
        ledger: Some(Ledger::new(dir.clone(), args.parquet.as_deref())),
        since: Some(month.from),
        ..Sources::default()
    };
    let mut outcome = Outcome::default();
    // Before the ledger: a job that ends meanwhile is found in both, and counts there.
    let running = Running::read(&dir, &mut outcome);
    let add = |sums: &mut Sums, record: &Brief<'_>, _: Place<'_>, outcome: &mut Outcome| {
        running.note_ended(record);
        outcome.matched += usize::from(sums.add(record, &month));
    };
    let ended = jobs::fold(&sources, Order::OfNames, &mut outcome, add, Sums::append)?;
    let running = running.sums(&month);
    let used = month.with(now, ended, running);
    // A month without a job is no failure.
    outcome.matched = outcome.matched.max(1);
    if args.write {
        let mut text = serde_json::to_string_pretty(&used)?;
        text.push('\n');
        write_file(&dir.join(FILE_NAME), text.as_bytes())?;
    } else {
        print(args, &config, &used)?;
    }
    Ok(outcome)
}

/// A run of a job, whatever its node.
type RunKey = (String, u32, u32);

fn run_key(record: &Brief<'_>) -> RunKey {
    (record.cluster.as_ref().to_owned(), record.job_id, record.restart)
}

/// The jobs that run: the record of the first node, what the others have drawn, and whether the
/// ledger has the job, too.
struct Running(HashMap<RunKey, (Record, u128, AtomicBool)>);

impl Running {
    fn read(ledger: &Path, outcome: &mut Outcome) -> Self {
        let with_others = |record: Record| {
            let others_uj = live::drawn_by_others(ledger, &record);
            (run_key(&Brief::from(&record)), (record, others_uj, AtomicBool::new(false)))
        };
        Self(live::records(ledger, outcome).into_iter().map(with_others).collect())
    }

    fn note_ended(&self, record: &Brief<'_>) {
        if let Some((_, _, has_ended)) = self.0.get(&run_key(record)) {
            has_ended.store(true, Ordering::Relaxed);
        }
    }

    fn sums(self, month: &Month) -> Sums {
        let mut sums = Sums::default();
        for (record, others_uj, has_ended) in self.0.into_values() {
            if !has_ended.into_inner() {
                sums.add_with(&Brief::from(&record), others_uj, month);
            }
        }
        sums
    }
}

const HEADS: [Head; 9] = [
    Head::text("account"),
    Head::text("month"),
    Head::number("used_kwh"),
    Head::number("running_kwh"),
    Head::number("max_kwh"),
    Head::number("used_g"),
    Head::number("running_g"),
    Head::number("max_g"),
    Head::text("on_budget"),
];

/// Every account that used something, or has a budget by name.
fn print(args: &BudgetArgs, config: &Config, used: &AccountUse) -> Result<()> {
    let named = config.budget.account.keys().filter(|name| *name != ANY_ACCOUNT);
    let accounts: BTreeSet<&String> =
        used.accounts.keys().chain(used.running.keys()).chain(named).collect();
    let row = |account: &String| {
        let of = used.accounts.get(account).copied().unwrap_or_default();
        let runs = used.running.get(account).copied().unwrap_or_default();
        let budget = config.budget.of(account);
        let action = budget.map(|b| if b.on_budget.is_stop() { "stop" } else { "warn" });
        vec![
            Cell::Text(Some(account.clone())),
            Cell::Text(Some(used.month.clone())),
            Cell::Number(Some(of.energy_kwh), 3),
            Cell::Number(Some(runs.energy_kwh), 3),
            Cell::Number(budget.and_then(|b| b.energy_kwh), 3),
            Cell::Number(Some(of.co2e_g), 1),
            Cell::Number(Some(runs.co2e_g), 1),
            Cell::Number(budget.and_then(|b| b.co2_g), 1),
            Cell::Text(action.map(str::to_owned)),
        ]
    };
    let rows: Vec<_> = accounts.into_iter().map(row).collect();
    if rows.is_empty() {
        note(
            "no account has used energy this month, and none has a budget: that is set by \
             [budget.account.NAME] in carbontracker.toml",
        );
    }
    args.output.print(&HEADS, &rows)
}
