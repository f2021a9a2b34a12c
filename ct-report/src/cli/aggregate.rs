//! `ct-report aggregate`.

use anyhow::Result;
use clap::Args;

use super::LogPaths;
use crate::diagnostic::{Outcome, note};
use crate::load::{self, logs};
use crate::render::{json, sentence};
use crate::total::{Simulated, Total, count};
use crate::upstream;

/// Arguments of `ct-report aggregate`.
#[derive(Debug, Args)]
pub(crate) struct AggregateArgs {
    #[command(flatten)]
    logs: LogPaths,
    /// Count energies as logged, even where a log has the mean over devices
    #[arg(long)]
    as_logged: bool,
    /// Print what carbontracker 2.4.7 itself adds up, its defects included
    #[arg(long, conflicts_with = "as_logged")]
    as_upstream: bool,
    /// Print JSON, with what was counted of each run and why
    #[arg(long)]
    json: bool,
}

/// Adds up the logs and prints upstream's sentence.
pub(crate) fn run(args: &AggregateArgs) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    if args.as_upstream {
        return run_as_upstream(args, outcome);
    }
    let sets = logs::find(&args.logs.paths, args.logs.recursive, &mut outcome)?;
    outcome.matched = sets.len();
    let mut total = Total::new(args.json);
    load::for_each(
        &sets,
        &mut outcome,
        |set, loaded, outcome| {
            let record = loaded.record(set, outcome);
            let run = loaded.sum(set, outcome);
            if record.is_none() {
                outcome.warn_orphan(set, &run);
            }
            count(&set.stem(), record.as_ref(), &run)
        },
        |runs, outcome| {
            if !args.json {
                outcome.tell();
            }
            total.add(runs);
            Ok(())
        },
    )?;
    total.settle();
    if args.json {
        json::print(&total.to_json(&outcome.skipped))?;
    } else if outcome.matched > 0 {
        tell_difference(&total, args.as_logged);
        tell_modelled(&total);
        tell_simulated(total.simulated());
        sentence::print(total.sum(!args.as_logged))?;
    }
    Ok(outcome)
}

fn run_as_upstream(args: &AggregateArgs, mut outcome: Outcome) -> Result<Outcome> {
    let mut sum = upstream::Aggregate::default();
    for dir in upstream::dirs(&args.logs, &mut outcome)? {
        outcome.matched += sum.add_dir(&dir)?;
    }
    if args.json {
        json::print(&sum)?;
    } else {
        sentence::print(&sum.into_amount())?;
    }
    Ok(outcome)
}

/// Says on stderr what the sentence's "measured" does not hold for.
fn tell_modelled(total: &Total) {
    if let Some(share) = total.modelled_share().filter(|share| *share >= 0.005) {
        let percent = 100.0 * share;
        note(&format!(
            "{percent:.0} % of the energy of jobs with a record is modelled, not measured"
        ));
    }
}

/// Says on stderr which runs showed simulated components, and what is counted of them.
fn tell_simulated(runs: Simulated) {
    if runs.n_records > 0 {
        note(&format!(
            "{} run(s) showed simulated components: counted is their record's energy, not what their \
             blocks show",
            runs.n_records
        ));
    }
    if runs.n_logs > 0 {
        note(&format!(
            "{} run(s) without a record showed simulated components: counted is the simulated energy \
             of their blocks",
            runs.n_logs
        ));
    }
}

/// Says on stderr where logs hold the mean over devices, and what that means for the sum.
fn tell_difference(total: &Total, is_as_logged: bool) {
    let (all, logged) = (total.sum(true).energy_kwh, total.sum(false).energy_kwh);
    let n = total.n_means();
    if n > 0 {
        let (counted, other) = if is_as_logged { (logged, all) } else { (all, logged) };
        let (what, rest) = if is_as_logged {
            ("as logged", "all devices used")
        } else {
            ("of all devices", "as logged it is")
        };
        note(&format!(
            "{n} run(s) logged the mean over several devices: counted {counted:.6} kWh {what}, \
             {rest} {other:.6} kWh"
        ));
    }
    for stem in total.unclear() {
        note(&format!("{stem}: energy of all devices cannot be told, counted as logged"));
    }
}
