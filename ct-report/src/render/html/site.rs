//! The page of a site.

use anyhow::Result;
use ct_core::energy::Component;
use maud::{Markup, html};

use super::{document, figure, figures, list, meter};
use crate::aggregate::{Report, Sums};
use crate::amount::{Scale, energy, grouped, mass, percent};
use crate::html::{Day, Site, top};
use crate::reconcile::{Balance, Rows};
use crate::render::chart::{BarChart, COMPONENTS, Series};
use ct_core::text::printable;

/// Users and accounts that are shown; the rest is one line.
const TOP: usize = 15;
/// Nodes that are shown, those that do not fit first.
const NODES: usize = 100;
/// Warnings that are shown, the most frequent first.
const WARNINGS: usize = 20;

/// The page.
///
/// # Errors
///
/// Those of drawing charts.
pub(crate) fn page(site: &Site, nodes: &Option<Rows>, zone: &str) -> Result<String> {
    let title = title(site);
    let Some(all) = site.all() else { return Ok(document(&title, &html! {})) };
    let (what, periods) = site.periods();
    let charts = [by_energy(what, &periods), by_mass(what, &periods)];
    let charts = charts.iter().map(figure).collect::<Result<Vec<_>>>()?;
    let body = html! {
        h1 { (printable(&title)) }
        p.lead { (span(site)) " (" (zone) ")" }
        (figures(&headline(all)))
        @for chart in charts { (chart) }
        (groups("Users", "user", &site.users, all))
        (groups("Accounts", "account", &site.accounts, all))
        (groups("Partitions", "partition", &site.partitions, all))
        (groups("How jobs ended", "end", &site.ends, all))
        (methods(site, all))
        @if let Some(rows) = nodes { (reconciled(rows)) }
        (method(site, all))
        (list("Warnings in the records", &warnings(site)))
    };
    Ok(document(&title, &body))
}

fn title(site: &Site) -> String {
    let (clusters, _, _) = top(&site.clusters, 5);
    let names: Vec<_> = clusters.into_iter().map(|(name, _)| name).collect();
    format!("Energy and carbon of {}", names.join(", "))
}

fn span(site: &Site) -> String {
    let days = site.span().map(|(first, last)| format!("{first} to {last}"));
    days.unwrap_or_else(|| "no energy".to_owned())
}

fn headline(all: &Sums) -> Vec<(String, &'static str)> {
    let mut figures = vec![
        (energy(all.energy_uj()), "energy"),
        (mass(all.co2e_g()), "operational footprint"),
        (grouped(all.n_jobs() as f64), "jobs"),
        (grouped(all.core_hours()), "core-hours"),
        (grouped(all.gpu_hours()), "GPU-hours"),
        (energy(all.gpu_unused_uj), "in GPUs held and not used"),
        (energy(all.failed_uj), "in jobs that failed"),
    ];
    figures.extend(all.embodied_g().map(|g| (mass(g), "embodied footprint")));
    figures.extend(all.water_l().map(|l| (format!("{l:.0} l"), "water")));
    figures.extend(all.measured_share().map(|share| (percent(share), "of the energy measured")));
    figures.extend(
        all.coverage().map(|share| (percent(share), "of the jobs' time with meters that answered")),
    );
    figures
}

fn by_energy(what: &str, periods: &[(String, Day)]) -> BarChart {
    let max = periods.iter().map(|(_, day)| day.energy_uj.iter().sum()).max().unwrap_or(0);
    let scale = Scale::energy(max);
    let title = format!("Energy by {what} [{}]", scale.unit);
    stacked(title, periods, |day, at| scale.of(day.energy_uj[at] as f64))
}

fn by_mass(what: &str, periods: &[(String, Day)]) -> BarChart {
    let max = periods.iter().map(|(_, day)| day.co2e_g.iter().sum()).fold(0.0, f64::max);
    let scale = Scale::mass(max);
    let title = format!("Footprint by {what}, with PUE [{} CO2e]", scale.unit);
    stacked(title, periods, |day, at| scale.of(day.co2e_g[at]))
}

fn stacked(
    title: String,
    periods: &[(String, Day)],
    value: impl Fn(&Day, usize) -> f64,
) -> BarChart {
    let series = Component::ALL.into_iter().enumerate().map(|(at, component)| Series {
        name: component.as_str(),
        color: COMPONENTS[at],
        values: periods.iter().map(|(_, day)| value(day, at)).collect(),
    });
    let is_drawn = |series: &Series| series.values.iter().any(|value| *value > 0.0);
    let labels = periods.iter().map(|(label, _)| label.clone()).collect();
    BarChart { title, labels, series: series.filter(is_drawn).collect() }
}

fn groups(heading: &str, what: &str, report: &Report, all: &Sums) -> Markup {
    let (rows, n_rest, rest_uj) = top(report, TOP);
    let total = all.energy_uj().max(1) as f64;
    let scale = Scale::energy(all.energy_uj());
    let mass = Scale::mass(all.co2e_g());
    html! {
        section {
            h2 { (heading) }
            div.table { table {
                thead { tr {
                    th { (what) } th { "energy [" (scale.unit) "]" } th.bars {}
                    th { "[" (mass.unit) " CO2e]" } th { "jobs" } th { "core-hours" } th { "GPU-hours" }
                    th { "measured" }
                } }
                tbody {
                    @for (name, sums) in &rows { tr {
                        td { (printable(name)) }
                        td { (scale.show(sums.energy_uj() as f64)) }
                        td.bars { (meter(sums.energy_uj() as f64 / total)) }
                        td { (mass.show(sums.co2e_g())) }
                        td { (grouped(sums.n_jobs() as f64)) }
                        td { (grouped(sums.core_hours())) }
                        td { (grouped(sums.gpu_hours())) }
                        td { (sums.measured_share().map(percent).unwrap_or_default()) }
                    } }
                    @if n_rest > 0 { tr {
                        td { (n_rest) " more" }
                        td { (scale.show(rest_uj as f64)) }
                        td.bars { (meter(rest_uj as f64 / total)) }
                        td {} td {} td {} td {} td {}
                    } }
                }
            } }
        }
    }
}

fn methods(site: &Site, all: &Sums) -> Markup {
    let total = all.energy_uj().max(1) as f64;
    html! {
        section {
            h2 { "Measured and modelled" }
            div.table { table {
                thead { tr { th { "component" } th { "method" } th { "energy" } th { "share" } th.bars {} } }
                tbody { @for ((component, method), uj) in &site.methods { tr {
                    td { (component) }
                    td { (printable(method)) }
                    td { (energy(*uj)) }
                    td { (percent(*uj as f64 / total)) }
                    td.bars { (meter(*uj as f64 / total)) }
                } } }
            } }
        }
    }
}

fn reconciled(rows: &Rows) -> Markup {
    let mut nodes: Vec<(&Vec<String>, &Balance)> = rows.iter().collect();
    // Stable, so those with the same answer stay in the order of their names.
    nodes.sort_by_key(|(_, balance)| balance.difference_uj().is_none_or(|d| d == 0));
    let max =
        nodes.iter().map(|(_, balance)| balance.meter_uj.max(balance.jobs_uj)).max().unwrap_or(0);
    let scale = Scale::energy(max);
    html! {
        section {
            h2 { "Jobs against the meters of the nodes [" (scale.unit) "]" }
            @if nodes.is_empty() { p { "The ledger has no lines of nodes for this time." } }
            @else { div.table { table {
                thead { tr {
                    th { "node" } th { "meters" } th { "jobs" } th { "system" } th { "held by no job" }
                    th { "still open" } th { "not explained [µJ]" } th { "gap [s]" }
                } }
                tbody { @for (names, balance) in nodes.iter().take(NODES) { (node(names, balance, scale)) } }
            } } }
            @if nodes.len() > NODES { p { (nodes.len() - NODES) " more nodes: ct-report reconcile shows all." } }
        }
    }
}

fn node(names: &[String], balance: &Balance, scale: Scale) -> Markup {
    let show = |uj: u128| scale.show(uj as f64);
    let difference = balance.difference_uj();
    html! {
        tr {
            td { (printable(&names.join(" "))) }
            td { (show(balance.meter_uj)) }
            td { (show(balance.jobs_uj)) }
            td { (show(balance.system_uj)) }
            td { (show(balance.unallocated_uj)) }
            td { (show(balance.open_uj)) }
            td.bad[difference.is_some_and(|d| d != 0)] {
                (difference.map_or_else(|| "policy node".to_owned(), |d| d.to_string()))
            }
            td { (balance.gap_s()) }
        }
    }
}

fn method(site: &Site, all: &Sums) -> Markup {
    let total = all.energy_uj().max(1) as f64;
    let part = |uj: &u128| percent(*uj as f64 / total);
    html! {
        section {
            h2 { "Method and sources" }
            p {
                "Energy is what the meters of the nodes counted, split among the jobs on a node by what \
                 each held (idle energy) and did (the rest); what no job held is charged to none. "
                "Footprint is energy × PUE × carbon intensity. "
                "A job over midnight is split by its hours."
            }
            ul {
                @for (intensity, uj) in &site.intensities {
                    li { (printable(intensity)) " (" (part(uj)) " of the energy)" }
                }
                @for (policy, uj) in &site.policies {
                    li { "attribution by the policy " (policy) " (" (part(uj)) " of the energy)" }
                }
            }
        }
    }
}

fn warnings(site: &Site) -> Vec<String> {
    let mut all: Vec<_> = site.warnings.iter().collect();
    all.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let text = |(warning, n): &(&String, &usize)| format!("{warning} ({n} records)");
    all.iter().take(WARNINGS).map(text).collect()
}
