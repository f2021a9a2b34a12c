//! A job's page in the terminal.

mod charts;
pub(crate) mod facts;

use std::io::{self, Write};

use anyhow::Result;
use unicode_width::UnicodeWidthStr;

use crate::amount::{Scale, percent, time};
use crate::job::beside::Beside;
use crate::job::notes::notes;
use crate::job::summary::warnings;
use crate::job::{Run, run_id, shown_id};
use crate::query::time::Zone;
use crate::render::terminal::Terminal;

/// What [`facts::node_shares`] is.
pub(crate) const NODE_SHARE: &str = "Whose the nodes' energy was, in the node lines of these hours";

/// The lines of a page.
pub(super) struct Page {
    terminal: Terminal,
    zone: Zone,
    lines: Vec<String>,
}

impl Page {
    fn new(terminal: Terminal, zone: Zone) -> Self {
        Self { terminal, zone, lines: Vec::new() }
    }

    /// Adds a line of which every part is harmless.
    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into().trim_end().to_owned());
    }

    /// Adds a heading, a blank line before it.
    fn heading(&mut self, text: &str) {
        self.line("");
        let lines = self.terminal.wrap("", text);
        self.lines.extend(lines);
    }

    /// Adds facts behind their names.
    fn facts(&mut self, facts: &[(&str, String)]) {
        for (name, text) in facts {
            let lines = self.terminal.wrap(&format!("  {name:<10} "), text);
            self.lines.extend(lines);
        }
    }

    /// Adds a list, if there is anything in it.
    fn items(&mut self, heading: &str, texts: &[String]) {
        if texts.is_empty() {
            return;
        }
        self.heading(heading);
        for text in texts {
            let lines = self.terminal.wrap("  - ", text);
            self.lines.extend(lines);
        }
    }

    /// Adds parts of a whole as bars.
    fn shares(&mut self, parts: &[(String, f64)]) {
        let width = self.terminal.width.saturating_sub(28).min(40);
        for (name, part) in parts {
            let bar = self.terminal.bar(*part, 1.0, width);
            self.line(format!("  {name:<15} {:>7}  {bar}", percent(*part)));
        }
    }

    /// Adds a table: the first column to the left, the others to the right. Columns that the
    /// terminal has no room for are left out, the last one first.
    fn table(&mut self, rows: &[Vec<String>]) {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| self.terminal.text(cell)).collect())
            .collect();
        let n_columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |at: usize| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..n_columns).map(width).collect();
        let used = |n: usize| widths.iter().take(n).map(|w| w + 2).sum::<usize>();
        let shown = (2..=n_columns).rev().find(|n| used(*n) <= self.terminal.width).unwrap_or(2);
        for row in &rows {
            let cell = |(at, cell): (usize, &String)| {
                let blank = " ".repeat(widths[at].saturating_sub(cell.width()));
                if at == 0 { format!("  {cell}{blank}") } else { format!("  {blank}{cell}") }
            };
            let line: String = row.iter().enumerate().take(shown).map(cell).collect();
            self.line(line);
        }
    }

    fn print(&self) -> Result<()> {
        let mut out = io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        Ok(())
    }
}

/// Prints the page of one job: its runs, and all that is known of the last one.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print(runs: &[Run], beside: &[Beside], zone: Zone) -> Result<()> {
    page(runs, beside, Terminal::detect(), zone).print()
}

/// Prints one line for each of several jobs.
///
/// # Errors
///
/// Those of writing to stdout.
pub(crate) fn print_list(runs: &[Run], zone: Zone) -> Result<()> {
    let mut page = Page::new(Terminal::detect(), zone);
    page.table(&list(runs, zone));
    page.print()
}

fn page(runs: &[Run], beside: &[Beside], terminal: Terminal, zone: Zone) -> Page {
    let mut page = Page::new(terminal, zone);
    let Some(run) = runs.last() else { return page };
    let share = beside.last().and_then(Beside::known_share);
    let title = page.terminal.wrap("", &facts::title(run));
    page.lines.extend(title);
    page.facts(&facts::facts(run, zone));
    if runs.len() > 1 {
        page.heading(&runs_heading(runs));
        page.table(&list(runs, zone));
    }
    page.heading("Energy by component");
    page.table(&facts::components(run));
    if let Some(share) = share {
        page.heading(NODE_SHARE);
        page.shares(&facts::node_shares(share));
    }
    charts::power(&mut page, run);
    charts::epochs(&mut page, run);
    let prediction = facts::prediction(run);
    if !prediction.is_empty() {
        page.heading("Prediction");
        page.facts(&prediction);
    }
    page.items("Notes", &notes(run));
    page.items("Warnings", &warnings(run));
    page.items("Log files", &log_files(runs, beside));
    page
}

/// Says which run the page is of, and how to have another.
pub(crate) fn runs_heading(runs: &[Run]) -> String {
    let first = runs.first().map(|run| run_id(run.head())).unwrap_or_default();
    format!("Runs; all else here is of the last one (`ct-report job {first}` shows the first)")
}

/// The log files, behind the run they are of where there are several.
pub(crate) fn log_files(runs: &[Run], beside: &[Beside]) -> Vec<String> {
    let of_run = |(run, beside): (&Run, &Beside)| {
        let before = if runs.len() > 1 { run_id(run.head()) + ": " } else { String::new() };
        let names = beside.log_names().into_iter();
        names.map(|name| format!("{before}{name}")).collect::<Vec<_>>()
    };
    runs.iter().zip(beside).flat_map(of_run).collect()
}

/// A table of runs.
pub(crate) fn list(runs: &[Run], zone: Zone) -> Vec<Vec<String>> {
    let scale = Scale::energy(runs.iter().map(|run| run.sums.energy_uj()).max().unwrap_or(0));
    let mass = Scale::mass(runs.iter().map(|run| run.sums.co2e_g()).fold(0.0, f64::max));
    let head = [
        "job",
        "restart",
        &format!("energy [{}]", scale.unit),
        &format!("[{} CO2e]", mass.unit),
        "end",
        "elapsed",
        "start",
        "nodes",
        "user",
    ];
    let row = |run: &Run| {
        let head = run.head();
        vec![
            shown_id(head),
            head.restart.to_string(),
            scale.show(run.sums.energy_uj() as f64),
            mass.show(run.sums.co2e_g()),
            head.end_reason.as_str().to_owned(),
            time(run.elapsed_s()),
            zone.wall(run.start()).format("%Y-%m-%d %H:%M").to_string(),
            head.n_nodes.to_string(),
            head.user.clone(),
        ]
    };
    let head = head.map(ToOwned::to_owned).to_vec();
    [head].into_iter().chain(runs.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::tests::{gpu_run, hostile_run};

    fn lines(width: usize, is_utf8: bool, run: Run) -> Vec<String> {
        page(&[run], &[], Terminal { width, is_utf8 }, Zone::Utc).lines
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        for width in [26, 40, 60, 80, 110] {
            for run in [gpu_run(), hostile_run()] {
                for line in lines(width, true, run) {
                    assert!(line.width() <= width, "{width}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn without_utf8_all_is_ascii_and_nothing_is_obeyed() {
        for line in lines(80, false, hostile_run()) {
            assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        }
        let text = lines(80, true, hostile_run()).join("\n");
        assert!(text.contains("\\u{1b}[2J") && !text.contains('\x1b'), "{text}");
    }
}
