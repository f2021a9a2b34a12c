//! Marks and questions of a job to ct-noded. Whatever goes wrong, the job goes on: exit 0.

use std::process::ExitCode;

use ct_core::protocol::{JobStatus, Reply, Request};

use super::client::{Tracker, print, say};

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
        Some(tracker) => match tracker.ask(&request(tracker.job_id)) {
            Ok(Reply::Text { text, .. }) => print(&text),
            Ok(_) => say("ct-noded answered something else; nothing is marked"),
            Err(e) => say(&format!("nothing is marked: {e:#}")),
        },
    }
    ExitCode::SUCCESS
}

/// Shows how a job stands.
pub(super) fn status(job: Option<u32>, as_json: bool) -> ExitCode {
    let Some(tracker) = Tracker::around() else {
        say(
            "no tracker around; ask from within the job (srun --jobid=N --overlap ct-track status)",
        );
        return ExitCode::SUCCESS;
    };
    let job_id = job.unwrap_or(tracker.job_id);
    match tracker.ask(&Request::Status { job_id }) {
        Ok(Reply::Status(status)) if as_json => {
            let json = serde_json::to_string_pretty(&status).unwrap_or_default();
            print(&format!("{json}\n"));
        }
        Ok(Reply::Status(status)) => print(&show(&status)),
        Ok(_) => say("ct-noded answered something else"),
        Err(e) => say(&format!("no status: {e:#}")),
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
    if let Some(p) = &status.prediction {
        lines.push(format!(
            "  Predicted  {:.0} s, {:.0} J, {:.3} gCO2e for {} epochs",
            p.duration_s, p.energy_j, p.co2e_g, p.epochs
        ));
    }
    let methods: Vec<String> = status.method.iter().map(|(c, m)| format!("{c} {m}")).collect();
    lines.push(format!("  Measured   {}", methods.join(", ")));
    lines.extend(status.warnings.iter().map(|w| format!("  Note       {w}")));
    lines.join("\n") + "\n"
}
