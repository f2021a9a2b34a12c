//! Pages of HTML: one file each, no script, nothing from elsewhere. Every text is escaped by maud.

mod job;
mod site;
#[cfg(test)]
mod tests;

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

#[cfg(feature = "pdf")]
pub(crate) use job::headline;
pub(crate) use job::page as job_page;
pub(crate) use site::page as site_page;

use crate::render::chart::BarChart;
use crate::render::svg;
use ct_core::text::printable;

/// The page's own style.
const STYLE: &str = include_str!("html/style.css");

/// The page around `body`.
fn document(title: &str, body: &Markup) -> String {
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="color-scheme" content="light dark";
                title { (printable(title)) }
                style { (PreEscaped(STYLE)) (PreEscaped(svg::colors("", ""))) }
            }
            body {
                main { (body) }
                footer {
                    "Written by ct-report " (env!("CARGO_PKG_VERSION"))
                    ". Energies are those of the equipment, without PUE; grams include it."
                }
            }
        }
    };
    page.into_string()
}

/// A chart, drawn for wide and for narrow pages; the style shows one of them.
fn figure(chart: &BarChart) -> Result<Markup> {
    let (wide, narrow) = (svg::chart(chart, svg::WIDE)?, svg::chart(chart, svg::NARROW)?);
    Ok(html! {
        figure role="img" aria-label=(chart.title) {
            div.wide { (PreEscaped(wide)) }
            div.narrow { (PreEscaped(narrow)) }
        }
    })
}

/// Headline figures: a value, and what it is.
fn figures(all: &[(String, &str)]) -> Markup {
    html! {
        div.figures {
            @for (value, what) in all {
                div { strong { (value) } span { (what) } }
            }
        }
    }
}

/// A table of texts: the first column to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> Markup {
    let (head, body) = rows.split_at(rows.len().min(1));
    html! {
        div.table { table {
            @for row in head { thead { tr { @for cell in row { th { (printable(cell)) } } } } }
            tbody {
                @for row in body { tr { @for cell in row { td { (printable(cell)) } } } }
            }
        } }
    }
}

/// A part of a whole, as a bar.
fn meter(part: f64) -> Markup {
    let percent = (100.0 * part).clamp(0.0, 100.0);
    html! { span.bar { span style=(format!("width:{percent:.1}%")) {} } }
}

/// A list, if there is anything in it.
fn list(heading: &str, items: &[String]) -> Markup {
    html! {
        @if !items.is_empty() {
            section { h2 { (heading) } ul { @for item in items { li { (printable(item)) } } } }
        }
    }
}
