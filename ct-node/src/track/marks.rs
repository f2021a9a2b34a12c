//! Marks and questions of a job to ct-noded. Whatever goes wrong, the job goes on: exit 0; only
//! where its owner wants it to end, it ends.

use std::process::ExitCode;

use ct_core::protocol::{JobStatus, Reply, Request};
use ct_core::record::{BudgetUse, PredictedBy, Prediction};
use ct_core::text::printable_json;
use serde_json::json;

use super::client::{Tracker, print, say};
use super::confirm;

/// Marks the start of an epoch.
pub(super) fn epoch_start() -> ExitCode {
    mark(|job_id| Request::EpochStart { job_id })
}

/// Marks the end of an epoch; prints what upstream prints then.
pub(super) fn epoch_end() -> ExitCode {
    mark(|job_id| Request::EpochEnd { job_id })
}

/// Ends the monitoring of epochs.
pub(super) fn stop() -> ExitCode {
    mark(|job_id| Request::Stop { job_id })
}

fn mark(request: impl Fn(u32) -> Request) -> ExitCode {
    match Tracker::around() {
        None => say("no tracker around (is the carbontracker plugin loaded?); nothing is marked"),
        Some(tracker) => match tracker.mark(&request(tracker.job_id)) {
            Ok(reply) => return confirm::follow(&tracker, reply),
            Err(e) => say(&format!("nothing is marked: {e:#}")),
        },
    }
    ExitCode::SUCCESS
}

/// Shows how a job stands.
pub(super) fn status(job: Option<u32>, as_json: bool) -> ExitCode {
    let Some(tracker) = Tracker::around() else {
        let message =
            "no tracker around; ask from within the job (srun --jobid=N --overlap ct-track status)";
        say(message);
        return no_status(as_json, job, Some(false), message);
    };
    let job_id = job.unwrap_or(tracker.job_id);
    match tracker.ask(&Request::Status { job_id }) {
        Ok(Reply::Status(status)) if as_json => {
            let json = serde_json::to_string_pretty(&status).unwrap_or_default();
            print(&format!("{json}\n"));
            ExitCode::SUCCESS
        }
        Ok(Reply::Status(status)) => {
            print(&show(&status));
            ExitCode::SUCCESS
        }
        Ok(_) => {
            let message = "ct-noded answered something else";
            say(message);
            no_status(as_json, Some(job_id), None, message)
        }
        Err(e) => {
            let message = format!("no status: {e:#}");
            say(&message);
            no_status(as_json, Some(job_id), None, &message)
        }
    }
}

/// What a program that reads JSON is given in place of a status; whether the job is tracked is `null`
/// where nobody answers that.
fn no_status(as_json: bool, job_id: Option<u32>, tracked: Option<bool>, message: &str) -> ExitCode {
    if as_json {
        let json = json!({ "job_id": job_id, "tracked": tracked, "message": message });
        print(&format!("{}\n", printable_json(&format!("{json:#}"))));
    }
    ExitCode::SUCCESS
}

fn show(status: &JobStatus) -> String {
    let energy = &status.energy_j;
    let total = energy.cpu + energy.dram + energy.gpu + energy.rest;
    let mut lines = vec![
        format!("Job {}: {:.0} s on this node", status.job_id, status.elapsed_s),
        format!(
            "  Energy     {total} J (cpu {}, dram {}, gpu {}, rest {})",
            energy.cpu, energy.dram, energy.gpu, energy.rest
        ),
        format!("  Power      {:.0} W on average", status.power_w),
        format!("  Footprint  {:.3} gCO2e (PUE included)", status.co2e_g),
        format!(
            "  Intensity  {:.1} gCO2e/kWh, {} ({})",
            status.intensity.g_per_kwh, status.intensity.zone, status.intensity.source
        ),
    ];
    let of = status.epochs_declared.map(|n| format!(" of {n}")).unwrap_or_default();
    let running = if status.epoch_running { ", one is running" } else { "" };
    lines.push(format!("  Epochs     {}{of} done{running}", status.epochs_done));
    lines.extend(status.prediction.as_ref().map(show_prediction));
    lines.extend(status.budget.as_ref().map(|budget| show_budget("", budget)));
    if let Some(of) = &status.account_budget {
        let month = of.month.as_deref().unwrap_or("this month");
        lines.push(show_budget(&format!("account {} {month}, ", of.account), &of.budget));
    }
    if let Some(seconds) = status.waits_s {
        lines.push(format!("  Waits      {seconds:.0} s for an answer: ct-track confirm y, or n"));
    }
    let methods: Vec<String> = status.method.iter().map(|(c, m)| format!("{c} {m}")).collect();
    lines.push(format!("  Measured   {}", methods.join(", ")));
    lines.extend(status.warnings.iter().map(|w| format!("  Note       {w}")));
    lines.join("\n") + "\n"
}

fn show_prediction(p: &Prediction) -> String {
    let of = match p.by {
        PredictedBy::Epochs => format!("{} epochs, from {}", p.epochs, p.from_epochs),
        PredictedBy::TimeLimit => "its time limit".to_owned(),
    };
    let interval = match (p.energy_j_low, p.energy_j_high) {
        (Some(low), Some(high)) => format!(" (95 %: {low:.0} to {high:.0} J)"),
        _ => String::new(),
    };
    let (seconds, joules, grams) = (p.duration_s, p.energy_j, p.co2e_g);
    format!("  Predicted  {seconds:.0} s, {joules:.0} J{interval}, {grams:.3} gCO2e for {of}")
}

fn show_budget(whose: &str, budget: &BudgetUse) -> String {
    let energy = budget.max_energy_kwh.map(|kwh| format!("{kwh} kWh"));
    let co2 = budget.max_co2_g.map(|g| format!("{g} gCO2e"));
    let limits: Vec<String> = [energy, co2].into_iter().flatten().collect();
    let state = match (budget.exceeded_at, budget.by) {
        (Some(_), _) => "exceeded",
        (None, Some(_)) => "passed by the prediction",
        (None, None) => "not passed",
    };
    format!("  Budget     {whose}{}: {state}", limits.join(", "))
}
