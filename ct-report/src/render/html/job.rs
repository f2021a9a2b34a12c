//! The page of one job.

use anyhow::Result;
use maud::{Markup, html};

use super::{document, figure, figures, list, meter, table};
use crate::amount::{energy, mass, percent, time};
use crate::job::beside::Beside;
use crate::job::share::NodeShare;
use crate::job::{Run, notes, summary};
use crate::query::time::Zone;
use crate::render::job::facts::{components, facts, node_shares, prediction, title};
use crate::render::job::{NODE_SHARE, list as list_of_runs, log_files, runs_heading};
use crate::render::job_charts::charts;
use ct_core::text::printable;

/// The page of a job: all of its last run, one line for each where there are several.
///
/// # Errors
///
/// Those of drawing charts.
pub(crate) fn page(runs: &[Run], beside: &[Beside], zone: Zone) -> Result<String> {
    let body =
        runs.last().map(|run| body(runs, run, beside, zone)).transpose()?.unwrap_or_default();
    let name = runs.last().map(title).unwrap_or_default();
    Ok(document(&name, &body))
}

fn body(runs: &[Run], run: &Run, beside: &[Beside], zone: Zone) -> Result<Markup> {
    let charts = charts(run, zone).iter().map(figure).collect::<Result<Vec<_>>>()?;
    Ok(html! {
        h1 { (printable(&title(run))) }
        (figures(&headline(run)))
        (pairs(&facts(run, zone)))
        @if runs.len() > 1 {
            section { h2 { (runs_heading(runs)) } (table(&list_of_runs(runs, zone))) }
        }
        section { h2 { "Energy by component" } (table(&components(run))) }
        @for chart in charts { (chart) }
        @let foretold = prediction(run);
        @if !foretold.is_empty() { section { h2 { "Prediction" } (pairs(&foretold)) } }
        @if let Some(share) = beside.last().and_then(Beside::known_share) { (shares(share)) }
        (list("Notes", &notes::notes(run)))
        (list("Warnings", &summary::warnings(run)))
        (list("Log files", &log_files(runs, beside)))
    })
}

/// The figures at the top, here and in PDF.
pub(crate) fn headline(run: &Run) -> Vec<(String, &'static str)> {
    let sums = &run.sums;
    let mut all = vec![
        (energy(sums.energy_uj()), "energy"),
        (mass(sums.co2e_g()), "footprint with PUE"),
        (time(run.elapsed_s()), "elapsed"),
    ];
    all.extend(sums.measured_share().map(|share| (percent(share), "of the energy measured")));
    all.extend(notes::gpu_unused_share(run).map(|share| (percent(share), "of GPU time unused")));
    all
}

fn pairs(facts: &[(&str, String)]) -> Markup {
    html! { dl { @for (name, text) in facts { dt { (name) } dd { (printable(text)) } } } }
}

fn shares(share: &NodeShare) -> Markup {
    html! {
        section {
            h2 { (NODE_SHARE) }
            div.table { table { tbody {
                @for (name, part) in node_shares(share) {
                    tr { td { (name) } td { (percent(part)) } td.bars { (meter(part)) } }
                }
            } } }
        }
    }
}
