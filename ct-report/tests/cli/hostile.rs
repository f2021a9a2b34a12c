//! What users choose, names and warnings, in every output: nothing in it is obeyed by a terminal, a
//! spreadsheet, a browser, a PDF reader or a collector of metrics.

use std::fs;

use ct_core::record::Record;

use crate::ct_report;
use crate::ledger::{Ledger, record};

/// C0, C1, an OSC that sets a window's title, direction marks, zero width, invisible letters.
const ESCAPES: &str =
    "a\x1b[2J\u{9b}31m\x1b]0;t\x07\r\n\x08\x7f\u{202e}\u{200b}\u{2066}\u{feff}\u{e0041}z";
/// What ends the text around it, in each of the forms.
const ENDS: &str = "\"'|,;`\\</title></style></svg><script>alert(1)</script><i>&) Tj ET\\\n# EOF";

/// One job of a user with each of these names.
fn ledger(names: &[&str]) -> Ledger {
    let ledger = Ledger::new();
    let records = names.iter().zip(1..).map(|(name, id)| Record {
        user: (*name).to_owned(),
        account: Some((*name).to_owned()),
        partition: Some((*name).to_owned()),
        qos: Some((*name).to_owned()),
        job_name: Some((*name).to_owned()),
        warnings: vec![(*name).to_owned()],
        ..record("n1", id, "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", &[3_600_000_000])
    });
    ledger.write(&[], &records.collect::<Vec<_>>());
    ledger
}

fn said(ledger: &Ledger, args: &[&str]) -> String {
    let args = [args, &["--ledger", "ledger"]].concat();
    let ran = ct_report(ledger.base(), &args);
    assert!([0, 2].contains(&ran.code), "{args:?}: {}{}", ran.stdout, ran.stderr);
    ran.stdout + &ran.stderr
}

fn written(ledger: &Ledger, args: &[&str], file: &str) -> Vec<u8> {
    let args = [args, &[file, "--ledger", "ledger"]].concat();
    let ran = ct_report(ledger.base(), &args);
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{args:?}");
    fs::read(ledger.base().join(file)).unwrap()
}

#[track_caller]
fn assert_obeyed_by_none(text: &str, what: &str) {
    let is_bad = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
    };
    assert_eq!(text.chars().find(is_bad), None, "{what}: {text:?}");
}

const BY: &[&str] = &["usage", "--by", "user,account,partition,qos,job_name"];

#[test]
fn no_output_holds_what_a_terminal_obeys_or_hides() {
    let both = format!("{ESCAPES}{ENDS}");
    let ledger = ledger(&[ESCAPES, &both]);
    let lines = fs::read_to_string(ledger.dir().join("2026-10/n1.jsonl")).unwrap();
    assert_obeyed_by_none(&lines, "the ledger");
    assert_eq!(lines.lines().count(), 2);
    for form in [&[][..], &["-P"], &["--csv"], &["--json"], &["--openmetrics"]] {
        let args = [BY, form].concat();
        assert_obeyed_by_none(&said(&ledger, &args), &args.join(" "));
    }
    for args in [
        &["job", "1"][..],
        &["job", "1", "--json"],
        &["export", "--openmetrics", "-S", "2026-10-01"],
        &["reconcile"],
        &["reconcile", "--json"],
        &["job", "\x1b[2J\u{202e}"],
        &["usage", "--by", "user\x1b[2J"],
        &["usage", "-S", "\u{9b}2J"],
    ] {
        assert_obeyed_by_none(&said(&ledger, args), &args.join(" "));
    }
    for (args, file) in [
        (&["job", "1", "--html"][..], "job.html"),
        (&["job", "1", "--svg"], "job.svg"),
        (&["html", "-o"], "site.html"),
    ] {
        let text = String::from_utf8(written(&ledger, args, file)).unwrap();
        assert_obeyed_by_none(&text, file);
    }
}

#[test]
fn json_has_the_names_as_they_are() {
    let both = format!("{ESCAPES}{ENDS}");
    let ledger = ledger(&[&both]);
    let rows: serde_json::Value =
        serde_json::from_str(&said(&ledger, &[BY, &["--json"]].concat())).unwrap();
    for key in ["user", "account", "partition", "qos", "job_name"] {
        assert_eq!(rows[0][key], both.as_str(), "{key}");
    }
}

#[test]
fn a_spreadsheet_takes_no_name_for_a_formula() {
    let formulas =
        ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=1,\"=2\""];
    let ledger = ledger(&formulas);
    let text = said(&ledger, &[BY, &["--csv"]].concat());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), formulas.len());
    for row in &rows {
        for cell in row.iter().take(5) {
            let first = cell.chars().next();
            assert!(!matches!(first, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n')), "{row:?}");
        }
    }
    assert!(rows.iter().any(|row| &row[0] == "'=1,\"=2\""), "{rows:?}");
}

#[test]
fn a_name_with_a_bar_is_one_value_of_parsable_output() {
    let ledger = ledger(&["a|b|c", ENDS]);
    let text = said(&ledger, &[BY, &["-P"]].concat());
    let n_bars: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
    assert_eq!(n_bars.len(), 3, "{text}");
    assert!(n_bars.iter().all(|n| *n == n_bars[0]), "{text}");
}

#[test]
fn pages_charts_and_metrics_hold_names_as_text() {
    let ledger = ledger(&[ENDS]);
    for (args, file) in [
        (&["job", "1", "--html"][..], "job.html"),
        (&["job", "1", "--svg"], "job.svg"),
        (&["html", "-o"], "site.html"),
    ] {
        let page = String::from_utf8(written(&ledger, args, file)).unwrap().to_lowercase();
        assert!(!page.contains("<script") && !page.contains("<i>"), "{file}: {page}");
        assert!(page.contains("&lt;script&gt;"), "{file}: {page}");
        assert!(page.matches("</title>").count() <= 1, "{file}");
    }
    let metrics = said(&ledger, &[BY, &["--openmetrics"]].concat());
    assert_eq!(metrics.matches("# EOF").count(), 1 + metrics.matches("\\u{a}# EOF").count());
    let line = metrics.lines().find(|l| l.starts_with("carbontracker_jobs{")).unwrap();
    // Every quote of the name is escaped: what is left are those around five labels.
    let bare = line.replace("\\\\", "").replace("\\\"", "");
    assert_eq!(bare.matches('"').count(), 10, "{line}");
}

#[cfg(feature = "pdf")]
#[test]
fn a_pdf_holds_names_as_text() {
    let ledger = ledger(&[&format!("{ESCAPES}{ENDS}")]);
    let pdf = written(&ledger, &["job", "1", "--pdf"], "job.pdf");
    assert!(!pdf.contains(&0x1b) && !pdf.contains(&0x07));
    let text = String::from_utf8_lossy(&pdf);
    assert!(!text.contains("/JavaScript") && !text.contains("/URI"), "{text}");
    assert!(!text.contains("<i>&) Tj ET"), "the name ends its string");
}

/// Formulas in the first column of a CSV; the bytes of a line that begins a cell.
#[track_caller]
fn assert_no_formula(csv: &str) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv.as_bytes());
    for row in reader.records().map(|row| row.unwrap()) {
        let is_formula = |cell: &str| {
            cell.starts_with(['=', '@', '\t', '\r'])
                || (cell.starts_with(['+', '-']) && cell.parse::<f64>().is_err())
        };
        assert!(!row.iter().any(is_formula), "{row:?}");
    }
}

#[test]
fn logs_that_users_wrote_are_shown_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs\x1b[2J");
    fs::create_dir(&logs).unwrap();
    let case = crate::upstream().join("v231-power-none/logs");
    for entry in fs::read_dir(case).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let text =
            text.replace("NVIDIA A100", &format!("{}\x1b]0;t\x07", ESCAPES.replace('\n', "")));
        let garbage = format!("2023-04-05 06:07:14 - {ESCAPES}\n{ENDS}\n\x1b[31m{ESCAPES}\n");
        let name = name.replace("19582", "\x1b]0;t\x07\u{202e}=1");
        fs::write(logs.join(name), text + &garbage).unwrap();
    }
    for args in [&["parse"][..], &["aggregate"], &["aggregate", "--json"]] {
        let args = [args, &["logs\x1b[2J"]].concat();
        let ran = ct_report(dir.path(), &args);
        assert!([0, 3].contains(&ran.code), "{args:?}: {ran:?}");
        assert_obeyed_by_none(&(ran.stdout + &ran.stderr), args[0]);
    }
    // The name of a device reaches the reader as it was written.
    let parsed = ct_report(dir.path(), &["parse", "logs\x1b[2J"]).stdout;
    let parsed: serde_json::Value = serde_json::from_str(&parsed).unwrap();
    assert!(parsed.to_string().contains("]0;t"), "{parsed:#}");
    let ran = ct_report(dir.path(), &["parse", "no\x1b[2J"]);
    assert_obeyed_by_none(&ran.stderr, "a directory that is not there");
}

#[test]
fn budgets_intensities_and_checks_show_names_as_text() {
    let hour =
        chrono::DurationRound::duration_trunc(chrono::Utc::now(), chrono::TimeDelta::hours(1));
    let hour: chrono::DateTime<chrono::Utc> = hour.unwrap();
    let [start, end] = [hour, hour + chrono::TimeDelta::minutes(1)].map(|t| t.to_rfc3339());
    let ledger = Ledger::new();
    let formula = format!("=1+{ESCAPES}");
    let of_account = |(name, id): (&str, u32)| Record {
        account: Some(name.to_owned()),
        ..record("n1", id, &start, &end, &[3_600_000_000])
    };
    let records: Vec<Record> =
        [ESCAPES, &formula, "a|b"].into_iter().zip(1..).map(of_account).collect();
    ledger.write(&[crate::ledger::line("n1\x1b[2J\u{202e}", &start, &end, &[])], &records);
    fs::write(ledger.base().join("ct.toml"), "").unwrap();
    let series = format!(
        "time,zone,g_per_kwh,source\n2026-10-01T00:00:00Z,DE,200,=1+\u{202e}\"\n\
         2026-10-01T01:00:00Z,DE,200,@X\n2026-10-01T02:00:00Z,\x1b]0;t\x07,200,X\n\
         x{ESCAPES},DE,1,X\n2026-10-01T03:00:00Z,D\u{202e},1,X\n"
    );
    fs::write(ledger.base().join("series\x1b[2J.csv"), series).unwrap();
    let series = ["intensity", "show", "--series", "series\x1b[2J.csv"];
    let intensity = [&series[..], &["-S", "2026-10-01", "--zone", "DE"]].concat();
    let budget = ["budget", "--config", "ct.toml", "--ledger", "ledger"];
    let check = ["check", "--cluster", "--config", "ct.toml", "--ledger", "ledger"];
    for args in [
        &budget[..],
        &[&budget[..], &["-P"]].concat(),
        &[&budget[..], &["--csv"]].concat(),
        &[&budget[..], &["--json"]].concat(),
        &intensity,
        &[&intensity[..], &["--csv"]].concat(),
        &[&intensity[..], &["--json"]].concat(),
        &[&series[..], &["--zone", "E\x1b[2J"]].concat(),
        &check,
        &[&check[..], &["--json"]].concat(),
    ] {
        let ran = ct_report(ledger.base(), args);
        assert!([0, 3].contains(&ran.code) || args.contains(&"E\x1b[2J"), "{args:?}: {ran:?}");
        if args.contains(&"--csv") {
            assert_no_formula(&ran.stdout);
        }
        assert_obeyed_by_none(&(ran.stdout + &ran.stderr), &args.join(" "));
    }
    let said = ct_report(ledger.base(), &[&budget[..], &["-P"]].concat()).stdout;
    assert!(said.contains("a\\u{7c}b"), "{said}");
}

#[cfg(feature = "parquet")]
#[test]
fn what_was_compacted_is_shown_as_text_too() {
    let ledger = ledger(&[ESCAPES, ENDS]);
    let shown = said(&ledger, &[BY, &["-P"]].concat());
    assert_obeyed_by_none(&said(&ledger, &["compact", "--prune"]), "compact");
    assert!(!ledger.dir().join("2026-10/n1.jsonl").exists(), "the dataset is all there is");
    let from_dataset = said(&ledger, &[BY, &["-P"]].concat());
    assert_obeyed_by_none(&from_dataset, "usage of the dataset");
    assert_eq!(from_dataset, shown);
    assert_obeyed_by_none(&said(&ledger, &["job", "1"]), "job of the dataset");
}
